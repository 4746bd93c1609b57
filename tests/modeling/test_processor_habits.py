"""Processors behave as those of transformers do.

The reference is `ProcessorTesterMixin` in tests/test_processing_common.py of transformers. The table lists its
properties, and the tests that check them for every processor of this project:

    Property in transformers' tests                             Test here
    ----------------------------------------------------------  -------------------------------------------------------
    processor_to_json_string                                    test_a_saved_processor_is_the_same
    processor_from_and_save_pretrained (also as a nested dict)  test_a_saved_processor_is_the_same
    processor_from_pretrained_vs_from_components                test_a_saved_processor_is_the_same
    save_load_pretrained_additional_features                    test_settings_can_be_changed_on_loading
    model_input_names                                           test_model_input_names_are_the_keys_of_a_batch
    image_processor_defaults, tokenizer_defaults                test_parts_work_as_they_do_alone
    tokenizer_decode_defaults                                   test_parts_work_as_they_do_alone
    processor_with_multiple_inputs                              test_parts_work_as_they_do_alone
    processor_text_has_no_visual                                in test_common_processing.py: test_any_posts_make_...
    kwargs_overrides_default_tokenizer_kwargs                   test_options_reach_tokenizer_and_image_processor
    kwargs_overrides_default_image_processor_kwargs             test_options_reach_tokenizer_and_image_processor
    unstructured_kwargs, unstructured_kwargs_batched            test_options_reach_tokenizer_and_image_processor
    structured_kwargs_nested (also from a dict)                 test_options_reach_tokenizer_and_image_processor
    tokenizer_defaults_preserved_by_kwargs                      test_settings_of_the_parts_are_kept
    image_processor_defaults_preserved_by_image_kwargs          test_settings_of_the_parts_are_kept
    doubly_passed_kwargs                                        test_an_option_given_twice_is_an_error
    overlapping_text_image_kwargs_handling                      test_an_option_given_twice_is_an_error

One property differs: the processor, not its tokenizer, has the settings for padding and for the length of a text. Chat
templates, audio and video do not apply.
"""

import json

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset, Image, List
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, Trainer, TrainingArguments

from mmsent.modeling import ARCHITECTURES

CASES = [*((name, "own") for name in ARCHITECTURES), ("comn", "transformers"), ("mimn", "timm")]
INVERTED = {"do_rescale": True, "rescale_factor": -1.0}  # makes every pixel value negative
TEXT, IMAGE = "good coffee", tiny.picture(0)


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def processor(request, backbones):
    return tiny.build(*request.param, backbones)[0]


@pytest.fixture(scope="module")
def comn(backbones):
    return tiny.build("comn", "transformers", backbones)


def test_a_saved_processor_is_the_same(processor, tmp_path):
    files = processor.save_pretrained(tmp_path)
    settings = json.loads(processor.to_json_string())
    assert json.loads((tmp_path / "processor_config.json").read_text()) == settings
    assert all(str(tmp_path) in name for name in files)
    parts = AutoImageProcessor.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert repr(parts[0]) == repr(processor.image_processor)
    own = {name: settings[name] for name in ("max_length", "max_aspect_length", "max_images", "text_steps")}
    batch = processor(**tiny.posts())
    for other in (
        AutoProcessor.from_pretrained(tmp_path),
        type(processor).from_pretrained(tmp_path),
        type(processor)(*parts, **own),
    ):
        assert type(other) is type(processor)
        assert {name: getattr(other, name) for name in own} == own
        assert all(torch.equal(value, batch[name]) for name, value in other(**tiny.posts()).items())


def test_settings_can_be_changed_on_loading(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path, cls_token="(CLS)", do_normalize=False, max_length=7)
    assert loaded.tokenizer.cls_token == "(CLS)"
    assert loaded.image_processor.do_normalize is False
    assert loaded.max_length == 7


def test_model_input_names_are_the_keys_of_a_batch(processor):
    columns = dict.fromkeys(processor.columns, f"(S {TEXT})")  # it is also a parse
    assert list(processor(images=IMAGE, text=TEXT, aspect="coffee", **columns)) == processor.model_input_names
    names = [name for name in processor.model_input_names if not name.startswith(("aspect", *processor.text_columns))]
    assert list(processor(images=IMAGE, text=TEXT)) == list(processor(images=IMAGE)) == names


def test_parts_work_as_they_do_alone(processor):
    batch = processor(images=IMAGE, text=[TEXT], padding=False, return_tensors="pt")
    pixels = processor.image_processor(IMAGE, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"][0], pixels)
    assert batch["input_ids"].tolist() == processor.tokenizer([TEXT])["input_ids"]
    ids = [[1, 4, 5, 8, 1, 0, 8], [3, 4, 3, 1, 1, 8, 9]]
    assert processor.batch_decode(ids) == processor.tokenizer.batch_decode(ids)
    assert processor.decode(ids[0]) == processor.tokenizer.decode(ids[0])
    with pytest.raises(ValueError, match="Pass text, images or both"):
        processor()


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "max_length", "max_length": 76, **INVERTED},
        {"text_kwargs": {"padding": "max_length", "max_length": 76}, "images_kwargs": INVERTED},
        {
            "padding": "max_length",
            "max_length": 76,
            "images_kwargs": INVERTED,
            "common_kwargs": {"return_tensors": "np"},
        },
    ],
)
def test_options_reach_tokenizer_and_image_processor(processor, options):
    for batch in (
        processor(images=IMAGE, text=TEXT, aspect="coffee", **options),
        processor(images=[IMAGE, [IMAGE]], text=[TEXT, "day"], **options),
    ):
        assert batch["input_ids"].shape[1] == 76
        assert batch["pixel_values"].max() < 0
    size = processor(images=[[IMAGE], []], size={"height": 16, "width": 24})["pixel_values"].shape
    assert size == (2, 1, 3, 16, 24)
    assert processor(text=TEXT, size={"height": 16, "width": 24})["pixel_values"].shape[-2:] == (16, 24)


def test_text_options(comn):
    processor, _ = comn
    batch = processor(text=[TEXT, "day"], aspect=["day", TEXT], padding="max_length")
    assert batch["input_ids"].shape[1] == processor.max_length
    assert batch["aspect_input_ids"].shape[1] == processor.max_aspect_length
    assert (
        processor(text=["day", "good"], padding_side="left", max_length=4, padding="max_length")["input_ids"][0, 0]
        == 0
    )
    assert processor(text="good " * 9, truncation=False, max_length=None)["input_ids"].shape[1] == 11
    assert processor(text=TEXT, add_special_tokens=False)["input_ids"].shape[1] == 2
    assert "token_type_ids" in processor(text=TEXT, return_token_type_ids=True)
    assert "attention_mask" not in processor(text=TEXT, return_attention_mask=False)
    batch = processor(text=TEXT, aspect="day", pad_to_multiple_of=8, max_length=16)
    assert (batch["input_ids"].shape[1], batch["aspect_input_ids"].shape[1]) == (8, 3)
    with pytest.raises(ValueError, match="padding=True"):
        processor(text=[TEXT, "day"], padding=False)


def test_settings_of_the_parts_are_kept(processor):
    parts = processor.image_processor.to_dict() | INVERTED
    other = type(processor)(type(processor.image_processor)(**parts), processor.tokenizer, max_length=3)
    batch = other(images=IMAGE, text="good " * 9)
    assert batch["pixel_values"].max() < 0
    assert batch["input_ids"].shape[1] == 3
    batch = other(images=IMAGE, text="good " * 9, rescale_factor=1.0, max_length=5)
    assert batch["pixel_values"].max() > 1
    assert batch["input_ids"].shape[1] == 5


@pytest.mark.parametrize(
    "options",
    [
        {"images_kwargs": INVERTED, "do_rescale": True},
        {"padding": "max_length", "text_kwargs": {"padding": "do_not_pad"}},
    ],
)
def test_an_option_given_twice_is_an_error(processor, options):
    with pytest.raises(ValueError, match="passed two times"):
        processor(images=IMAGE, text=[TEXT], **options)


@pytest.mark.parametrize(("return_tensors", "kind"), [("pt", torch.Tensor), ("np", np.ndarray), (None, list)])
def test_kinds_of_tensors(processor, return_tensors, kind):
    expected = processor(**tiny.posts())
    batch = processor(**tiny.posts(), return_tensors=return_tensors)
    for name, value in batch.items():
        assert type(value) is kind
        np.testing.assert_array_equal(np.stack(list(value)), expected[name].numpy())
    ids = processor(text=[TEXT, "day"], padding=False, return_tensors=None)["input_ids"]
    assert [len(row) for row in ids] == [len(row) for row in processor.tokenizer([TEXT, "day"])["input_ids"]]


def test_order_of_the_arguments(processor, tmp_path):
    tiny.picture(0).save(tmp_path / "a.png")
    posts = tiny.posts()
    images, text, aspect = posts["images"], posts["text"], posts["aspect"]
    expected = processor(images=images, text=text, aspect=aspect)
    for batch in (
        processor(images, text, aspect),
        processor(text, images, aspect),
        processor(aspect=aspect, text=text, images=images),
    ):
        assert all(torch.equal(value, expected[name]) for name, value in batch.items())
    paths = processor(str(tmp_path / "a.png"), TEXT), processor(TEXT, tmp_path / "a.png")
    assert torch.equal(paths[0]["pixel_values"], paths[1]["pixel_values"])


# ---------------------------------------------------------------------------------------------- data sets and Trainer


@pytest.fixture
def dataset() -> Dataset:
    posts = tiny.posts(8) | {"label": [row % 3 for row in range(8)]}
    return Dataset.from_dict(posts).cast_column("images", List(Image()))


def test_map_and_set_transform(comn, dataset):
    processor, _ = comn
    names = ["images", "text"]
    expected = processor(**dict(tiny.posts(8)) | {"aspect": None})
    for return_tensors in ("pt", "np", None):
        mapped = dataset.map(
            lambda batch, kind=return_tensors: processor(*(batch[name] for name in names), return_tensors=kind),
            batched=True,
            remove_columns=dataset.column_names,
        ).with_format("torch")
        assert mapped.column_names == list(expected)
        assert all(torch.equal(mapped[:][name], value) for name, value in expected.items())
    transformed = dataset.with_transform(lambda batch: processor(*(batch[name] for name in names)))
    assert all(torch.equal(transformed[:][name], value) for name, value in expected.items())
    columns = processor(dataset["images"], dataset["text"])
    assert all(torch.equal(columns[name], value) for name, value in expected.items())


def test_a_trainer_takes_the_processor(comn, dataset, tmp_path):
    processor, model = comn

    def encode(posts: dict) -> dict:
        return {**processor(posts["images"], posts["text"], padding="max_length"), "labels": posts["label"]}

    arguments = {"max_steps": 2, "per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(tmp_path, remove_unused_columns=False, disable_tqdm=True, **arguments),
        processing_class=processor,
        train_dataset=dataset.with_transform(encode),
    )
    assert trainer.train().global_step == 2
    trainer.save_model()
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert torch.equal(loaded(text=TEXT)["input_ids"], processor(text=TEXT)["input_ids"])

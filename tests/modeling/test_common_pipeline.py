"""The pipeline "image-text-sentiment": every kind of post, one or many, and what it refuses."""

import multiprocessing
import os
import subprocess
import sys

import pytest
import tiny
import torch
from datasets import Dataset
from torch.utils.data import get_worker_info
from transformers import pipeline
from transformers.utils import logging

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_images import BadImageError
from mmsent.modeling.common_pipeline import TASK, ImageTextSentimentPipeline


@pytest.fixture(scope="module")
def built(backbones):
    return tiny.build("comn", "own", backbones)


@pytest.fixture(scope="module")
def classify(built) -> ImageTextSentimentPipeline:
    processor, model = built
    return pipeline(TASK, model=model, processor=processor, device="cpu")


def posts() -> list[dict]:
    columns = tiny.posts()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def scores(result: list[dict]) -> torch.Tensor:
    """Return the scores in the order of the classes."""
    by_label = {entry["label"]: entry["score"] for entry in result}
    return torch.tensor([by_label[name] for name in ("negative", "neutral", "positive")])


def assert_same(results, expected) -> None:
    """Check that several results have the same scores."""
    results, expected = (torch.stack([scores(result) for result in several]) for several in (results, expected))
    torch.testing.assert_close(results, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def probabilities(built, **parts) -> torch.Tensor:
    processor, model = built
    return model(**processor(**parts)).logits.softmax(-1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_those_of_the_model(architecture, backbones):
    built = processor, model = tiny.build(architecture, "own", backbones)
    read = [{"text": "text", "image": "images"}[modality] for modality in ARCHITECTURES[architecture].modalities]
    rows = [post for post in posts() if any(post[part] for part in read)]
    results = pipeline(TASK, model=model, processor=processor)(rows, batch_size=4)
    expected = probabilities(built, **{name: [post[name] for post in rows] for name in rows[0]})
    torch.testing.assert_close(torch.stack([scores(result) for result in results]), expected, rtol=0, atol=1e-5)
    for result in results:
        assert [entry["score"] for entry in result] == sorted((entry["score"] for entry in result), reverse=True)


def test_a_post_a_list_a_generator_and_a_data_set(classify):
    rows = posts()
    expected = classify(rows)
    assert isinstance(expected, list)
    assert classify([]) == []
    assert_same([classify(rows[0])], expected[:1])
    for batch_size in (2, 4, 100):
        assert_same(classify(rows, batch_size=batch_size), expected)

    consumed = []
    stream = classify((consumed.append(row) or row for row in rows), batch_size=2)
    assert consumed == []
    assert_same([next(stream)], expected[:1])
    assert len(consumed) == 2, "a stream is read one batch at a time"
    assert_same(stream, expected[1:])

    dataset = Dataset.from_dict({**tiny.posts(), "id": [str(row) for row in range(6)]})
    for source in (dataset, dataset.to_iterable_dataset()):
        assert_same(classify(source, batch_size=4), expected)


def test_workers_read_every_post_once(classify):
    rows = [{"text": f"good {word}"} for word in tiny.WORDS]
    for source in (rows, iter(rows)):
        assert_same(classify(source, num_workers=2, batch_size=4), classify(rows))


@pytest.mark.slow
def test_a_call_may_do_without_the_workers_of_the_constructor(built):
    processor, model = built

    class Posts(list):
        def __getitem__(self, index):
            assert get_worker_info() is None, "a worker reads"
            return super().__getitem__(index)

    classify = pipeline(TASK, model=model, processor=processor, num_workers=1)
    with pytest.raises(AssertionError, match="a worker reads"):
        classify(Posts(posts()))
    assert len(classify(Posts(posts()), num_workers=0)) == 6


@pytest.mark.slow
def test_workers_may_be_spawned(classify):
    """This is how macOS and Windows start processes: what a worker needs must be picklable."""
    started = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        assert_same(classify(posts(), num_workers=1, batch_size=4), classify(posts()))
    finally:
        multiprocessing.set_start_method(started, force=True)


def test_parts_may_be_missing(classify, built):
    picture = tiny.picture(0)
    for post, parts in (
        ({"text": "good day"}, {"text": ["good day"]}),
        ({"image": picture}, {"images": [[picture]]}),
        ({"images": [picture, tiny.picture(1)]}, {"images": [[picture, tiny.picture(1)]]}),
        ({"text": None, "image": picture, "aspect": None}, {"images": [[picture]]}),
        ({"text": "good day", "images": []}, {"text": ["good day"]}),
    ):
        torch.testing.assert_close(scores(classify(post)), probabilities(built, **parts)[0], rtol=0, atol=1e-5)


def test_an_aspect_reaches_the_model(backbones):
    processor, model = tiny.build("mimn", "own", backbones)
    classify = pipeline(TASK, model=model, processor=processor)
    rows = [{"text": "good coffee", "aspect": "coffee"}, {"text": "good coffee", "aspect": None}]
    results = torch.stack([scores(result) for result in classify(rows, batch_size=2)])
    assert (results[0] - results[1]).abs().max() > 1e-4
    expected = probabilities((processor, model), text=["good coffee"], aspect=["coffee"])
    torch.testing.assert_close(results[:1], expected, rtol=0, atol=1e-5)


def test_a_model_that_was_trained_with_aspects_needs_one(backbones):
    processor, model = tiny.build("mimn", "own", backbones, aspects=["coffee"])
    classify = pipeline(TASK, model=model, processor=processor)
    assert classify({"text": "good coffee", "aspect": "cafe"})
    for aspect in (None, " "):
        with pytest.raises(ValueError, match="needs the key 'aspect'"):
            classify([{"text": "good coffee", "aspect": "coffee"}, {"text": "good", "aspect": aspect}], batch_size=2)


def test_an_aspect_for_a_model_without_aspects_warns_once(classify, caplog):
    expected = classify([{"text": "good coffee"}] * 2)
    logging.get_logger("transformers").warning_once.cache_clear()
    caplog.clear()
    assert_same(classify([{"text": "good coffee", "aspect": "coffee"}] * 2), expected)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["This model does not read an aspect: the aspects of posts are ignored."]


@pytest.mark.parametrize("post", [{"text": " "}, {"text": None, "images": []}, {"text": "http://a.b", "aspect": "a"}])
def test_a_post_that_says_nothing(built, post):
    processor = ARCHITECTURES["comn"].processor(
        built[0].image_processor, built[0].tokenizer, text_steps=["strip_links"]
    )
    classify = pipeline(TASK, model=built[1], processor=processor)
    with pytest.raises(ValueError, match="neither text nor an image"):
        classify([{"text": "good"}, post], batch_size=2)
    with pytest.raises(ValueError, match="neither text nor an image"):
        classify.preprocess([post])
    assert len(classify(post, allow_empty=True)) == 3
    assert len(pipeline(TASK, model=built[1], processor=processor, allow_empty=True)(post)) == 3


@pytest.mark.parametrize(
    ("architecture", "config", "read"),
    [
        ("deep_fusion", {"branch": "text"}, "text"),
        ("deep_fusion", {"branch": "image"}, "image"),
        ("comn", {"modalities": "text"}, "text"),
        ("comn", {"modalities": "image"}, "image"),
    ],
)
def test_a_part_that_the_model_does_not_read_says_nothing(architecture, config, read, backbones):
    processor, model = tiny.build(architecture, "own", backbones, **config)
    classify = pipeline(TASK, model=model, processor=processor)
    post = {"text": "good day", "image": tiny.picture(0)}
    other = "image" if read == "text" else "text"
    assert classify(post) == classify({read: post[read]})
    assert classify(post, modality_scores=True)[other] is None
    with pytest.raises(ValueError, match=f"no {read}, which is all that this model reads, so no label"):
        classify({other: post[other]})
    assert len(classify({other: post[other]}, allow_empty=True)) == 3


def test_scores_that_are_not_finite_are_an_error(built):
    processor, model = tiny.build("comn", "own", {})
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
    with pytest.raises(ValueError, match="The post at position 0 gets scores that are not finite numbers"):
        pipeline(TASK, model=model, processor=processor)({"text": "good", "image": tiny.picture(0)})
    model = built[1]

    def overflow_of_the_last(model, args, output):
        output.logits[-1, 0] = -torch.inf

    with model.register_forward_hook(overflow_of_the_last):
        classify = pipeline(TASK, model=model, processor=processor)
        with pytest.raises(ValueError, match="The post at position 2 gets"):
            list(classify(iter(posts()[:4]), batch_size=3))


def test_an_overflow_in_half_precision_is_an_error(backbones):
    processor, model = tiny.build("comn", "own", backbones)
    with torch.no_grad():
        model.classifier.weight.mul_(6e4)
        model.classifier.bias.fill_(6e4)
    post = {"text": "good", "image": tiny.picture(0)}
    assert len(pipeline(TASK, model=model, processor=processor)(post)) == 3  # float32 has a larger range
    with torch.no_grad():
        model.to(torch.float16).classifier.bias.fill_(torch.finfo(torch.float16).max)
        model.classifier.weight.fill_(torch.finfo(torch.float16).max)
    with pytest.raises(ValueError, match="The post at position 0 gets scores that are not finite numbers"):
        pipeline(TASK, model=model, processor=processor)(post)


@pytest.mark.parametrize(
    ("logits", "label"), [([0.0, 1e-9, 0.0], "neutral"), ([0.0, 0.0, 0.0], "negative"), ([-1.0, 2.0, 2.0], "neutral")]
)
def test_the_first_label_is_that_of_the_largest_logit(built, logits, label):
    processor, model = built
    classify = pipeline(TASK, model=model, processor=processor)
    assert classify.postprocess({"both": torch.tensor([logits])})[0][0]["label"] == label


def test_top_k(classify):
    every = classify(posts()[5])
    assert classify(posts()[5], top_k=1) == every[:1]
    assert classify(posts()[5], top_k=99) == every
    with pytest.raises(ValueError, match="top_k=0"):
        classify(posts()[5], top_k=0)
    with pytest.raises(TypeError, match="no parameter topk"):
        classify(posts()[5], topk=1)


def test_scores_of_each_modality_alone(classify, built):
    rows = posts()
    results = classify(rows, batch_size=4, modality_scores=True)
    for row, result, expected in zip(rows, results, classify(rows, batch_size=4), strict=True):
        assert result["both"] == expected
        for part, key in (("text", "text"), ("image", "images")):
            if not row[key]:
                assert result[part] is None
                continue
            alone = probabilities(built, **{key: [row[key]]}, aspect=[row["aspect"]])[0]
            torch.testing.assert_close(scores(result[part]), alone, rtol=0, atol=1e-5)


def test_a_model_with_logits_of_one_modality(classify):
    def add_text_logits(model, args, output):
        output.text_logits = torch.tensor([[0.0, 0.0, 9.0]])

    with classify.model.register_forward_hook(add_text_logits):
        result = classify({"text": "good", "image": tiny.picture(0)}, modality_scores=True, top_k=1)
    assert result["text"][0]["label"] == "positive"
    assert result["text"][0]["score"] > 0.99
    assert result["image"][0]["score"] < 0.99


def test_a_model_in_training_mode_applies_no_dropout(built):
    processor, model = built
    classify = pipeline(TASK, model=model.train(), processor=processor)
    assert classify(posts()[5]) == classify(posts()[5])


def test_half_precision(built, tmp_path):
    processor, model = built
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    half = pipeline(TASK, model=str(tmp_path), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    expected = pipeline(TASK, model=str(tmp_path))(posts()[5])
    torch.testing.assert_close(scores(half(posts()[5])), scores(expected), rtol=0, atol=0.05)


# ---------------------------------------------------------------------------------------------------------- bad input


def test_a_bad_image_is_named(classify, tmp_path):
    path = tmp_path / "noise.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 this is not an image")
    with pytest.raises(BadImageError, match="noise.jpg"):
        classify({"text": "good", "image": path})


@pytest.mark.parametrize(
    ("post", "message"),
    [
        ("good day", "this one is str"),
        ({"txt": "good day"}, "the keys txt"),
        ({"text": float("nan")}, "text of a post is a string or None, not nan"),
        ({"text": "good", "aspect": 3}, "aspect of a post"),
        ({"image": "a.png", "images": ["b.png"]}, "not both"),
    ],
)
def test_malformed_posts(classify, post, message):
    with pytest.raises(ValueError, match=message):
        classify([post])


@pytest.mark.parametrize("inputs", ["good day", b"good", None, 7])
def test_inputs_that_are_not_posts(classify, inputs):
    with pytest.raises(TypeError, match="takes a post, a dictionary with at least one of text, image, images, or an"):
        classify(inputs)


@pytest.mark.slow
def test_importing_the_package_loads_no_heavy_library():
    command = [sys.executable, "-c", "import sys, mmsent; print(*sys.modules)"]
    environment = os.environ | {"PYTHONPATH": str(tiny.ROOT)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert {"timm", "sklearn", "evaluate", "peft", "matplotlib", "gradio"}.isdisjoint(output.split())

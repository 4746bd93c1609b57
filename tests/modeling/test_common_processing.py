"""Posts of every kind become batches: texts and images of every kind, and parts that are missing."""

import pytest
import tiny
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsent.modeling.common_images import BadImageError
from mmsent.modeling.comn import CoMNProcessor
from mmsent.modeling.mimn import MIMNProcessor


def build(texts: str = " ".join(tiny.WORDS), processor=CoMNProcessor, **kwargs) -> CoMNProcessor:
    return processor.from_backbones("word_vectors", "small_cnn", [texts], **kwargs)


PROCESSOR = build(max_images=2)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 3), (1, 3), (4, 1)])
def test_tiny_images(size):
    batch = PROCESSOR(text="good day", images=Image.new("RGB", size, (255, 0, 0)))
    assert batch["pixel_values"].shape == (1, 1, 3, 64, 64)
    red, green, _ = batch["pixel_values"][0, 0]
    torch.testing.assert_close(red, torch.ones(64, 64))  # (1 - mean) / std, both of which are 0.5
    torch.testing.assert_close(green, -torch.ones(64, 64))


def test_the_policy_for_bad_images(tmp_path, caplog):
    (tmp_path / "bad.jpg").write_bytes(b"")
    posts = {"text": ["a", "a"], "images": [[tmp_path / "bad.jpg", tiny.picture(0)], tmp_path / "bad.jpg"]}
    with pytest.raises(BadImageError, match="bad.jpg"):
        PROCESSOR(**posts)
    batch = PROCESSOR(**posts, on_bad_image="missing")
    assert batch["image_mask"].tolist() == [[True], [False]]
    assert [("bad.jpg" in record.message) for record in caplog.records] == [True, True]
    with pytest.raises(StrictDataclassFieldValidationError, match="'on_bad_image' .* got skip"):
        PROCESSOR(text="a", on_bad_image="skip")


@pytest.mark.parametrize(
    ("calls", "mask"),
    [
        ([("good day", 1), ("good day", [1]), (["good day"], 1), (["good day"], [1])], [[True]]),
        ([("good day", [1, 2]), (None, [1, 2]), (["good day"], [[1, 2]]), (None, [(1, 2)])], [[True, True]]),
        ([(["good day", None], [[1], []]), (["good day", None], [1, None]), (None, [[1], None])], [[True], [False]]),
    ],
    ids=["one image", "two images", "two posts"],
)
def test_ways_to_pass_images(calls, mask):
    pictures = {1: tiny.picture(0), 2: tiny.picture(1)}

    def replaced(images):
        return type(images)(map(replaced, images)) if isinstance(images, list | tuple) else pictures.get(images)

    batches = [PROCESSOR(text=text, images=replaced(images)) for text, images in calls]
    for batch in batches:
        assert batch["image_mask"].tolist() == mask
        assert torch.equal(batch["pixel_values"], batches[0]["pixel_values"])


def test_only_the_first_images_are_kept():
    pictures = [tiny.picture(seed) for seed in range(5)]
    batch = PROCESSOR(text="a", images=pictures)
    assert torch.equal(batch["pixel_values"], PROCESSOR(text="a", images=pictures[:2])["pixel_values"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"text": ["a", "b"], "images": [None]}, "'text': 2, 'images': 1"),
        ({"text": ["a", "b"], "images": tiny.picture(0)}, "'text': 2, 'images': 1"),
        ({"text": ["a"], "aspect": ["a", "b"]}, "'aspect': 2"),
        ({"text": "food", "aspect": ["f", "o", "o", "d"]}, "'text': 1, 'aspect': 4"),
        ({"text": []}, "lists are empty"),
        ({"text": [], "images": [], "aspect": []}, "lists are empty"),
        ({"text": "a", "images": {}}, "'bytes' or a 'path'"),
        *(({"text": text}, "text: pass a string, or a list of") for text in (3, b"good", float("nan"), {"text": "a"})),
        ({"text": ["a", ["b"]]}, r"list of strings and None, not \['b'\]"),
        ({"text": ["a"], "aspect": [3]}, "aspect: pass a string, or a list of strings and None, not 3"),
    ],
)
def test_calls_without_a_batch(kwargs, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PROCESSOR(**kwargs)


@pytest.mark.parametrize("parts", [{"text": ["a", "day", "was", "good"]}, {"images": [[tiny.picture(0)], [], [], []]}])
def test_one_aspect_is_that_of_every_post(parts):
    batch, expected = PROCESSOR(**parts, aspect="food"), PROCESSOR(**parts, aspect=["food"] * 4)
    assert batch["aspect_input_ids"].shape[0] == 4
    assert all(torch.equal(value, expected[name]) for name, value in batch.items())


texts = st.one_of(st.none(), st.just(""), st.just(" \n"), st.text(max_size=30), st.sampled_from(tiny.WORDS))
posts = st.lists(st.tuples(texts, st.integers(0, 3), st.one_of(st.none(), st.sampled_from(tiny.WORDS))), min_size=1)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(posts.filter(lambda rows: len(rows) <= 6))
def test_any_posts_make_a_batch_of_the_contract(rows):
    texts, counts, aspects = (list(column) for column in zip(*rows, strict=True))
    images = [[tiny.picture(slot, 8, 8) for slot in range(count)] for count in counts]
    batch = PROCESSOR(text=texts, images=images, aspect=aspects)
    count, slots = len(rows), max(1, min(2, max(counts)))
    assert batch["pixel_values"].shape == (count, slots, 3, 64, 64)
    assert batch["image_mask"].sum(1).tolist() == [min(2, number) for number in counts]
    assert batch["image_mask"].dtype == torch.bool
    assert (batch["pixel_values"][~batch["image_mask"]] == 0).all()
    for prefix, column, limit in (("", texts, 50), ("aspect_", aspects, 4)):
        ids, mask = batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"]
        assert ids.shape == mask.shape
        assert ids.dtype == mask.dtype == torch.int64
        assert 1 <= ids.shape[1] <= limit
        assert [bool(row.any()) for row in mask] == [bool(text and text.strip()) for text in column]
    for row in range(count):  # a post does not depend on its neighbours
        alone = PROCESSOR(text=texts[row], images=images[row], aspect=aspects[row])
        length = alone["attention_mask"].sum()
        assert torch.equal(batch["input_ids"][row, :length], alone["input_ids"][0, :length])
        filled = alone["image_mask"].sum()
        assert torch.equal(batch["pixel_values"][row, :filled], alone["pixel_values"][0, :filled])
        assert batch["attention_mask"][row].sum() == length


@pytest.mark.parametrize("encoders", ["own", "transformers"])
def test_texts_of_every_kind(backbones, encoders):
    processor, _ = tiny.build("comn", encoders, backbones)
    odd = ["\ud83d good \udc00", "\x00good", "😀👍🏽", "\u202eמה مرحبا", "\u200b", "a" * 5000, "\ufeffday", "e\u0301"]
    assert processor(text=odd)["input_ids"].shape[0] == len(odd)
    batch = processor(text="good day " * 120_000)  # 1 MB
    assert batch["attention_mask"].sum() == processor.max_length


CHINESE = "这款手机的屏幕效果很好,电池续航也不错"


def test_chinese_is_cut_into_words():
    assert build(CHINESE)(text=CHINESE)["attention_mask"].sum() == 3, "a clause is one word without a text step"
    batch = build(CHINESE, text_steps=["rjieba"])(text=CHINESE, aspect="屏幕效果")
    assert batch["attention_mask"].sum() > 8
    assert (batch["input_ids"] > 1).all()
    assert (batch["aspect_input_ids"] > 1).all()


def test_steps_of_aspects(tmp_path):
    """As for Multi-ZOL: the texts are cut into words already, and the aspects become words of the texts."""
    options = {"pre_cut": True, "aspect_steps": ["rjieba"], "aspects": ["电池续航"]}
    processor = build("这款 手机 的 屏幕效果 很 好 屏幕 HTC", MIMNProcessor, **options)
    processor.save_pretrained(tmp_path)
    for one in (processor, MIMNProcessor.from_pretrained(tmp_path)):
        ids = one(text="屏幕效果 HTC", aspect="屏幕效果")

        def words(name: str, ids=ids, one=one) -> list[str]:
            return one.tokenizer.convert_ids_to_tokens(ids[name][0].tolist())

        assert words("input_ids") == ["屏幕效果", "HTC"]
        assert words("aspect_input_ids") == ["屏幕", "[UNK]"]
        assert (one(text="", aspect="电池续航")["aspect_input_ids"] > 1).all()
    with pytest.raises(ValueError, match="aspect_steps='rjieba': pass a list"):
        build(aspect_steps="rjieba")
    with pytest.raises(ValueError, match="'cut' is unknown"):
        build(aspect_steps=["cut"])


def test_a_transformer_cuts_words_itself(backbones):
    with pytest.raises(ValueError, match="pre_cut=True: .*bert has a tokenizer of its own"):
        CoMNProcessor.from_backbones(backbones["bert"], "small_cnn", pre_cut=True)


@pytest.mark.parametrize("image_encoder", ["small_cnn", "vit"])
def test_the_centre_of_an_image(backbones, image_encoder, tmp_path):
    """Of 140 x 70 pixels, the 61 of 70 rows and the 61 columns in the middle are left, which are blue."""
    image = Image.new("RGB", (140, 70), (255, 0, 0))
    image.paste((0, 0, 255), (36, 2, 104, 68))
    options = {"image": backbones.get(image_encoder, image_encoder), "texts": ["good"]}
    whole, centre = (CoMNProcessor.from_backbones("word_vectors", **options, crop=crop) for crop in (False, True))
    centre.save_pretrained(tmp_path)
    for processor in (centre, CoMNProcessor.from_pretrained(tmp_path)):
        assert processor.image_size == whole.image_size
        pixels = processor(images=image)["pixel_values"][0, 0]
        assert pixels.shape[1:] == whole.image_size
        torch.testing.assert_close(pixels[0], torch.full(whole.image_size, -1.0), rtol=0, atol=0.1)
    assert whole(images=image)["pixel_values"][0, 0, 0].max() == 1


def test_cutting_a_long_text_is_logged_once(caplog):
    processor = build(max_length=7)
    for _ in range(2):
        assert processor(text=["good " * 8, "bad"])["input_ids"].shape == (2, 7)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["A text or aspect has over 7 tokens: the first 7 are kept."]
    caplog.clear()
    processor(text=["good " * 7], aspect=["bad"])
    assert not caplog.records


def test_an_architecture_has_the_lengths_of_its_paper():
    processor = build(processor=MIMNProcessor)
    assert (processor.max_length, processor.max_aspect_length, processor.max_images) == (320, 4, 5)

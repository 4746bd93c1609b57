"""Images of every kind, texts of every kind, and posts with parts missing."""

import contextlib
import io
import struct
import time
import zlib

import numpy as np
import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from transformers import AutoProcessor

from mmsent.modeling.common_images import BadImageError, load_image
from mmsent.modeling.common_word_vectors import build_word_tokenizer
from mmsent.modeling.comn import CoMNProcessor
from mmsent.modeling.mimn import MIMNProcessor


@pytest.fixture(scope="module")
def processor() -> CoMNProcessor:
    return CoMNProcessor.from_backbones("word_vectors", "small_cnn", [" ".join(tiny.WORDS)], max_images=2)


# ----------------------------------------------------------------------------------------------------------- images


def reopened(image: Image.Image, file_format: str, **kwargs) -> Image.Image:
    file = io.BytesIO()
    image.save(file, file_format, **kwargs)
    return Image.open(io.BytesIO(file.getvalue()))


def pixel(source, at=(0, 0)) -> tuple[int, int, int]:
    image = load_image(source)
    assert image.mode == "RGB"
    return image.getpixel(at)


def test_modes_become_rgb():
    assert pixel(Image.new("L", (3, 2), 200)) == (200, 200, 200)
    assert pixel(Image.new("1", (3, 2), 1)) == (255, 255, 255)
    assert pixel(Image.new("RGB", (3, 2), (1, 2, 3)).quantize()) == (1, 2, 3)
    assert pixel(reopened(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[0] > 200
    assert pixel(Image.new("I;16", (3, 2), 32768)) in [(127,) * 3, (128,) * 3]
    assert pixel(reopened(Image.new("I;16", (3, 2), 65535), "PNG")) == (255, 255, 255)
    assert pixel(Image.new("I", (3, 2), 65535)) == (255, 255, 255)
    assert pixel(Image.new("F", (3, 2), 0.5)) in [(127,) * 3, (128,) * 3]


def test_transparency_becomes_white():
    assert pixel(Image.new("RGBA", (3, 2), (9, 9, 9, 0))) == (255, 255, 255)
    assert pixel(Image.new("LA", (3, 2), (9, 0))) == (255, 255, 255)
    assert pixel(Image.new("RGBA", (3, 2), (9, 9, 9, 255))) == (9, 9, 9)
    palette = Image.new("P", (3, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert pixel(reopened(palette, "PNG", transparency=0)) == (255, 255, 255)
    assert pixel(reopened(palette, "PNG")) == (10, 20, 30)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_come_out_upright(orientation):
    """A picture stored turned or mirrored, with the tag that says so, is the picture."""
    upright = Image.new("RGB", (6, 4), "white")
    upright.putpixel((0, 0), (255, 0, 0))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that makes what a camera stores
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(reopened(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(upright))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 3), (1, 3), (4, 1)])
def test_tiny_images(processor, size):
    batch = processor(text="good day", images=Image.new("RGB", size, (255, 0, 0)))
    assert batch["pixel_values"].shape == (1, 1, 3, 64, 64)
    red, green, _ = batch["pixel_values"][0, 0]
    torch.testing.assert_close(red, torch.ones(64, 64))  # (1 - mean) / std with both of 0.5
    torch.testing.assert_close(green, -torch.ones(64, 64))


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    red, _, blue = pixel(reopened(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert red > 200 > blue


def test_arrays_in_every_layout():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    want = picture.tobytes()
    assert load_image(picture).tobytes() == want
    assert load_image(picture.transpose(2, 0, 1)).tobytes() == want
    assert load_image(torch.from_numpy(picture)).tobytes() == want
    assert load_image((picture / 255).astype(np.float32)).tobytes() == want
    assert load_image(picture.astype(np.int64)).tobytes() == want
    assert load_image(picture.astype(np.uint16) * 257).tobytes() == want
    opaque = np.concatenate([picture, np.full((5, 7, 1), 255, np.uint8)], 2)
    assert load_image(opaque).tobytes() == want
    grey = picture[..., 0]
    assert load_image(grey).tobytes() == load_image(grey[..., None]).tobytes() == np.stack([grey] * 3, 2).tobytes()
    assert pixel(np.ones((2, 2), bool)) == (255, 255, 255)


def test_path_picture_and_array_are_the_same(processor, tmp_path):
    picture = tiny.picture(0)
    picture.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    as_row = [{"path": str(tmp_path / "a.png"), "bytes": None}, {"path": None, "bytes": content}]
    sources = [picture, str(tmp_path / "a.png"), tmp_path / "a.png", np.asarray(picture), *as_row]
    batches = [processor(images=[[source]])["pixel_values"] for source in sources]
    assert all(torch.equal(batch, batches[0]) for batch in batches)


def bomb() -> bytes:
    """A PNG of a few bytes that says it is 30,000 pixels wide and high."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated_jpeg() -> bytes:
    file = io.BytesIO()
    tiny.picture(0, 200, 200).save(file, "JPEG")
    return file.getvalue()[:2000]


@pytest.mark.parametrize(
    "content", [truncated_jpeg(), b"<html>404</html>", b"", bomb()], ids=["truncated", "text", "empty", "bomb"]
)
def test_what_cannot_be_decoded_is_named(tmp_path, content):
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    for source in (path, {"path": str(path), "bytes": None}, {"path": str(path), "bytes": content}):
        with pytest.raises(BadImageError, match="picture.jpg: "):
            load_image(source)


@pytest.mark.parametrize(
    "source",
    [
        "nowhere.jpg",
        7,
        np.full((2, 2), np.nan),
        np.zeros((2, 2, 2, 3)),
        np.zeros((5, 4, 2)),
        np.zeros((0, 4, 3)),
        -np.ones((2, 2)),
    ],
    ids=str,
)
def test_what_is_no_image(source):
    with pytest.raises(BadImageError):
        load_image(source)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]), st.data())
def test_damaged_files_decode_or_are_bad_images(file_format, data):
    file = io.BytesIO()
    tiny.picture(0, 16, 16).save(file, file_format)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(BadImageError):
        assert load_image({"path": "x", "bytes": bytes(content)}).mode == "RGB"


def test_pils_settings_are_left_alone(tmp_path):
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)
    (tmp_path / "a.jpg").write_bytes(truncated_jpeg())
    with pytest.raises(BadImageError):
        load_image(tmp_path / "a.jpg")
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)


def test_the_policy_for_bad_images(processor, tmp_path, caplog):
    (tmp_path / "bad.jpg").write_bytes(b"")
    images = [[tmp_path / "bad.jpg", tiny.picture(0)], tmp_path / "bad.jpg"]
    with pytest.raises(BadImageError, match="bad.jpg"):
        processor(text=["a", "a"], images=images)
    batch = processor(text=["a", "a"], images=images, on_bad_image="missing")
    assert batch["image_mask"].tolist() == [[True], [False]]
    assert [("bad.jpg" in record.message) for record in caplog.records] == [True, True]
    with pytest.raises(ValueError, match="on_bad_image='skip'"):
        processor(text="a", on_bad_image="skip")


# ------------------------------------------------------------------------------------------------------------ posts


def test_every_way_to_say_images(processor):
    one, two = tiny.picture(0), tiny.picture(1)
    ways = {
        "one post": [("good day", one), ("good day", [one])],
        "one post, two images": [("good day", [one, two])],
        "two posts": [(["good day", None], [[one], []]), (["good day", None], [one, None])],
    }
    masks = {"one post": [[True]], "one post, two images": [[True, True]], "two posts": [[True], [False]]}
    for name, calls in ways.items():
        batches = [processor(text=text, images=images) for text, images in calls]
        for batch in batches:
            assert batch["image_mask"].tolist() == masks[name]
            assert torch.equal(batch["pixel_values"], batches[0]["pixel_values"])
    assert processor(images=[[one], None])["image_mask"].tolist() == [[True], [False]]
    assert processor(images=[one, two])["image_mask"].tolist() == [[True, True]]


def test_only_the_first_images_are_kept(processor):
    pictures = [tiny.picture(seed) for seed in range(5)]
    batch = processor(text="a", images=pictures)
    assert torch.equal(batch["pixel_values"], processor(text="a", images=pictures[:2])["pixel_values"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"text": ["a", "b"], "images": [None]}, "'text': 2, 'images': 1"),
        ({"text": ["a"], "aspect": ["a", "b"]}, "'aspect': 2"),
        ({}, "Give text, images or both"),
        ({"text": "a", "return_tensors": "np"}, "only 'pt'"),
    ],
)
def test_calls_that_make_no_batch(processor, kwargs, message):
    with pytest.raises(ValueError, match=message):
        processor(**kwargs)


texts = st.one_of(st.none(), st.just(""), st.just(" \n"), st.text(max_size=30), st.sampled_from(tiny.WORDS))
posts = st.lists(st.tuples(texts, st.integers(0, 3), st.one_of(st.none(), st.sampled_from(tiny.WORDS))), min_size=1)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(posts.filter(lambda rows: len(rows) <= 6))
def test_any_posts_make_a_batch_of_the_contract(rows):
    processor = _WORDS_PROCESSOR
    texts, counts, aspects = (list(column) for column in zip(*rows, strict=True))
    images = [[tiny.picture(slot, 8, 8) for slot in range(count)] for count in counts]
    batch = processor(text=texts, images=images, aspect=aspects)
    assert set(batch) == set(processor.model_input_names)
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
    for row in range(count):  # what a post is does not depend on its neighbours
        alone = processor(text=texts[row], images=images[row], aspect=aspects[row])
        length = alone["attention_mask"].sum()
        assert torch.equal(batch["input_ids"][row, :length], alone["input_ids"][0, :length])
        assert batch["attention_mask"][row].sum() == length


_WORDS_PROCESSOR = CoMNProcessor.from_backbones("word_vectors", "small_cnn", [" ".join(tiny.WORDS)], max_images=2)


@pytest.mark.parametrize("encoders", ["own", "transformers"])
def test_texts_of_every_kind(backbones, encoders):
    processor, _ = tiny.build("comn", encoders, backbones)
    odd = ["\ud83d", "a\ud83d b", "\x00", "😀😀", "مرحبا بالعالم", "​", "a" * 5000, "\ufeffday", "e\u0301"]
    batch = processor(text=odd)
    assert batch["input_ids"].shape[0] == len(odd)
    started = time.perf_counter()
    batch = processor(text="good day " * 120_000)  # 1 MB
    assert batch["attention_mask"].sum() == processor.max_length
    assert time.perf_counter() - started < 30


# ------------------------------------------------------------------------------------------------------------ words


def words(tokenizer, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def test_words_of_a_tweet():
    text = "RT @user_1: Don't MISS #love-it https://t.co/a?b=1 well-made 😀!"
    want = ["rt", "@user_1", ":", "don't", "miss", "#love-it", "https://t.co/a?b=1", "well-made", "😀", "!"]
    assert words(build_word_tokenizer([text]), text) == want


def test_the_vocabulary_is_that_of_the_texts():
    texts = ["b b b a a c", "d c"]
    tokenizer = build_word_tokenizer(texts, vocab_size=5)
    assert tokenizer.get_vocab() == build_word_tokenizer(iter(texts), vocab_size=5).get_vocab()
    assert tokenizer.get_vocab() == build_word_tokenizer(texts[::-1], vocab_size=5).get_vocab()
    assert set(tokenizer.get_vocab()) == {"[PAD]", "[UNK]", "a", "b", "c"}
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert words(tokenizer, "a d e") == ["a", "[UNK]", "[UNK]"]


CHINESE = "这款手机的屏幕效果很好,电池续航也不错"


@pytest.mark.parametrize("step", ["characters", "jieba", "rjieba"])
def test_chinese_is_cut_into_words(tmp_path, step):
    processor = CoMNProcessor.from_backbones("word_vectors", "small_cnn", [CHINESE], text_steps=[step])
    batch = processor(text=CHINESE, aspect="屏幕效果")
    assert batch["attention_mask"].sum() > 8
    assert (batch["input_ids"] > 1).all()
    assert (batch["aspect_input_ids"] > 1).all()
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert torch.equal(loaded(text=CHINESE)["input_ids"], batch["input_ids"])


def test_without_segmentation_a_clause_is_a_word():
    processor = CoMNProcessor.from_backbones("word_vectors", "small_cnn", [CHINESE])
    assert processor(text=CHINESE)["attention_mask"].sum() == 3  # two clauses and the comma


def test_a_long_text_is_cut_and_that_is_said_once(caplog):
    processor = CoMNProcessor.from_backbones("word_vectors", "small_cnn", [" ".join(tiny.WORDS)], max_length=7)
    for _ in range(2):
        assert processor(text=["good " * 8, "bad"])["input_ids"].shape == (2, 7)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["A text or aspect has over 7 tokens: the first 7 are kept."]
    caplog.clear()
    processor(text=["good " * 7], aspect=["bad"])
    assert not caplog.records


def test_each_architecture_keeps_the_lengths_of_its_paper(tmp_path):
    processor = MIMNProcessor.from_backbones("word_vectors", "small_cnn", ["good"], max_images=3)
    assert (processor.max_length, processor.max_aspect_length, processor.max_images) == (320, 4, 3)
    processor.save_pretrained(tmp_path)
    loaded = MIMNProcessor.from_pretrained(tmp_path)
    assert (loaded.max_length, loaded.max_aspect_length, loaded.max_images) == (320, 4, 3)

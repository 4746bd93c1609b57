"""Posts that two splits share, and the clean variants without them."""

from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from standins import draw

from mmsent.dataset_scripts.common_corpus import corpus_notes
from mmsent.dataset_scripts.common_leaks import (
    KINDS,
    MAX_EXAMPLES,
    MAX_REPEATS,
    Traces,
    find_leaks,
    leaking_rows,
)

LONG = "The quick brown fox jumps over the lazy dog while the farmer sleeps in the yard behind the house"


def post(number, text="", images=(), group=None, aspect=None):
    return {"id": str(number), "text": text, "images": [str(i) for i in images], "group": group, "aspect": aspect}


def leaks_of(one: list[dict], other: list[dict]) -> dict[str, list]:
    """Return the kinds of leaks between two splits, and the pairs of rows that are their examples."""
    leaks = find_leaks(Traces.of(one, len(one), "one"), Traces.of(other, len(other), "other"))
    assert list(leaks) == list(KINDS)
    for leak in leaks.values():
        if len(leak.examples) < MAX_EXAMPLES:  # The examples are all pairs.
            assert leak[:2] == ({a for a, _ in leak.examples}, {b for _, b in leak.examples})
    return {kind: leak.examples for kind, leak in leaks.items() if leak.examples}


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("Good morning", "Good morning", "exact_text"),
        ("RT @someone: Good morning!", "good  morning http://t.co/abc", "normalised_text"),
        ("#Goodmorning all", "GoodMorning ALL", "normalised_text"),
        ("ＧＯＯＤ", "good", "normalised_text"),
        (LONG, LONG.replace("lazy", "lame"), "near_text"),
        ("今天的屏幕效果真的很好我非常喜欢这个手机", "今天的屏幕效果真的很好我非常喜欢这个手机啊", "near_text"),
        ("Good morning", "Good evening", None),
        (LONG, LONG[: len(LONG) // 2], None),
        ("", "", None),
        ("@a", "@b", None),
        (None, None, None),
    ],
)
def test_texts(one, other, kind):
    assert leaks_of([post(0, one)], [post(0, other)]) == ({kind: [(0, 0)]} if kind else {})


def test_targets_and_groups():
    assert leaks_of([post(0, "I like $T$", aspect="tea")], [post(0, "I like $T$", aspect="rain")]) == {}
    assert leaks_of([post(0, "I like $T$", aspect="tea")], [post(0, "I like tea")]) == {"exact_text": [(0, 0)]}
    one, other = [post(0, group="a"), post(1, group="b"), post(2)], [post(0, group="b"), post(1)]
    assert leaks_of(one, other) == {"group": [(1, 0)]}


@pytest.fixture
def image_file(tmp_path) -> Path:
    draw(tmp_path / "original.png", 7, (320, 240))
    return tmp_path / "original.png"


def with_caption(image):
    ImageDraw.Draw(image).text((10, 10), "so true")
    return image


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("copy.bmp", lambda image: image, "near_image"),  # The pixels are the same.
        ("jpeg.jpg", lambda image: image, "near_image"),
        ("small.jpg", lambda image: image.resize((100, 75)), "near_image"),
        ("captioned.jpg", with_caption, "near_image"),
        ("mirrored.png", lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), None),
        ("negative.png", lambda image: image.point(lambda value: 255 - value), None),
        ("other_colours.png", lambda image: Image.merge("RGB", image.split()[::-1]), None),
    ],
)
def test_images(image_file, name, change, kind):
    other = image_file.with_name(name)
    with Image.open(image_file) as image:
        change(image.convert("RGB")).save(other)
    assert leaks_of([post(0, images=[image_file])], [post(0, images=[other])]) == ({kind: [(0, 0)]} if kind else {})


def test_identical_images(image_file, tmp_path):
    copy = tmp_path / "renamed.png"
    copy.write_bytes(image_file.read_bytes())
    assert leaks_of([post(0, images=[image_file])], [post(0), post(1, images=[copy])]) == {"identical_image": [(0, 1)]}
    draw(tmp_path / "second.png", 8, (320, 240))
    two = [post(0, images=[tmp_path / "second.png", image_file])]
    assert leaks_of(two, [post(0, images=[image_file])]) == {"identical_image": [(0, 0)]}
    for name, colour in {"red": "#c00", "blue": "#00c"}.items():
        Image.new("RGB", (50, 50), colour).save(tmp_path / f"{name}.png")
    assert leaks_of([post(0, images=[tmp_path / "red.png"])], [post(0, images=[tmp_path / "blue.png"])]) == {}


def test_a_placeholder_image_is_not_a_leak(image_file):
    """Copies of the Twitter corpora have an image "not found" in hundreds of posts."""
    one = [post(number, images=[image_file]) for number in range(MAX_REPEATS - 1)]
    assert len(leaks_of(one, [post(0, images=[image_file])])["identical_image"]) == MAX_REPEATS - 1
    assert leaks_of([*one, post(99, images=[image_file])], [post(0, images=[image_file])]) == {}


def test_absent_and_broken_images(image_file, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(image_file.read_bytes()[:80])
    images = [tmp_path / "absent.jpg", tmp_path / "broken.jpg"]
    traces = Traces.of([post(0, images=images)], 1, "one")
    absent, broken = traces.images[0]
    assert absent is None
    assert "broken.jpg" in broken.error
    assert find_leaks(traces, traces)["identical_image"].examples == [(0, 0)]
    assert find_leaks(traces, traces)["near_image"].examples == []


def test_leaking_rows():
    train = Traces.of([post(0, "a b c"), post(1, "d e f"), post(2, "g h i", group="x")], 3, "train")
    others = [Traces.of([post(0, "d e f")], 1, "dev"), Traces.of([post(0, "D E F", group="x")], 1, "test")]
    assert leaking_rows(train, others) == {1, 2}
    assert leaking_rows(train, [Traces()]) == set()


def test_clean_variant(release, posts, write_release, load, tmp_path):
    """One of five train posts has the text of a test post, another one has the image of a validation post."""
    ids = list(posts)
    for number, post_id in enumerate(ids):
        draw(release / "data" / f"{post_id}.jpg", number, (64, 48))
    (release / "data" / f"{ids[0]}.txt").write_text("RT @me: " + (release / "data" / f"{ids[7]}.txt").read_text())
    (release / "data" / f"{ids[2]}.jpg").write_bytes((release / "data" / f"{ids[5]}.jpg").read_bytes())
    for post_id in ids:  # The other texts are not nearly the same.
        if post_id not in (ids[0], ids[7]):
            (release / "data" / f"{post_id}.txt").write_text(f"{post_id} " + chr(97 + int(post_id) % 26) * 9)
    plain = load("mvsa_single", data_dir=str(release))
    for how in ({}, {"streaming": True}):
        clean = load("mvsa_single", "clmlf_clean", data_dir=str(release), **how)
        assert [row["id"] for row in clean["train"]] == [ids[1], ids[3], ids[4]]
        for split in ("validation", "test"):
            assert [row["id"] for row in clean[split]] == plain[split]["id"][:]
    notes = corpus_notes(clean)
    assert notes[0].startswith("posts that are not in data_dir could not be compared")
    assert notes[1] == f"2 posts that leak were dropped from train, 3 are left: {ids[0]}, {ids[2]}"

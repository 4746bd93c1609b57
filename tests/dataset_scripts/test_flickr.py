"""VSO and MVSO."""

from collections import Counter
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from standins import MVSO_LIST, VSO_LIST, flickr_posts, write_flickr_folder, write_flickr_post, write_flickr_table

from mmsent.dataset_scripts import common_language
from mmsent.dataset_scripts.common_anp import read_mvso, read_vector, read_vso
from mmsent.dataset_scripts.common_corpus import corpus_notes
from mmsent.dataset_scripts.common_splits import hash_position, hash_split


@pytest.fixture(params=[write_flickr_table, write_flickr_folder])
def write(request, tmp_path):
    """Write posts in either form, and return their folder."""
    return lambda count=70: str(request.param(tmp_path / "release", count))


def by_photo(loaded) -> dict:
    return {row["group"]: row for posts in loaded.values() for row in posts}


def test_vso(write, load):
    loaded = load("vso", data_dir=write())
    rows = by_photo(loaded)
    scores = {"beautiful_flower": 1.77, "beautiful_sky": 2.0, "drab_city": -1.35}
    anps = {post["id"]: (post, post["anp"].lower().replace(" ", "_")) for post in flickr_posts(70)}
    expected = {i for i, (post, anp) in anps.items() if anp in scores and len(post["description"].split()) > 5}
    assert set(rows) == expected
    assert len(rows) > 15
    for photo, row in rows.items():
        post, anp = anps[photo]
        assert row["text"] == post["description"]  # with quotes and comma
        assert (row["anp"], row["tags"], row["label"]) == (anp, "sky blue", scores[anp] > 0)
        assert row["anp_score"] == pytest.approx(scores[anp])
        assert (row["images"][0].size, row["aspect"]) == ((24, 18), None)
    assert loaded["train"].features["label"].names == ["negative", "positive"]
    notes = "\n".join(corpus_notes(loaded))
    assert "30 posts were left out, their ANPs are not in the list: long_race, no_such, old_books" in notes
    assert "10 posts were left out, the scores of their ANPs lie between the thresholds" in notes


@pytest.mark.parametrize("corpus", ["vso", "mvso"])
def test_the_label_can_be_the_anp(write, load, corpus):
    """Every photo counts, also those with a neutral ANP or without a description."""
    loaded = load(corpus, "anps", data_dir=write())
    known = {"beautiful_flower", "beautiful_sky", "drab_city", "plain_wall"}
    known |= {"old_books", "long_race"} if corpus == "mvso" else set()
    names = loaded["train"].features["label"].names
    assert names == sorted(known)
    rows = by_photo(loaded)
    assert len(rows) == 10 * len(known)
    assert all(names[row["label"]] == row["anp"] for row in rows.values())
    assert set(loaded) == {"train", "validation", "test"}


STUDY_LABELS = {
    **dict.fromkeys(["beautiful_flower", "beautiful_sky", "old_books"], "positive"),
    **dict.fromkeys(["drab_city", "long_race"], "negative"),
}


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        # Scores > 0.16 and < -0.1; the thresholds themselves are excluded.
        ("deep_fusion", {"beautiful_flower": "positive", "drab_city": "negative"}),
        ("study", STUDY_LABELS | {"plain_wall": "neutral"}),
        ("study_two_classes", STUDY_LABELS),
    ],
)
def test_mvso(write, load, config, labels):
    loaded = load("mvso", config, data_dir=write(140))
    names = loaded["train"].features["label"].names
    assert names == (["negative", "neutral", "positive"] if config == "study" else ["negative", "positive"])
    assert {row["anp"]: names[row["label"]] for posts in loaded.values() for row in posts} == labels
    assert set(loaded) == ({"train", "test"} if config == "deep_fusion" else {"train", "validation", "test"})
    texts = [text for posts in loaded.values() for text in posts["text"]]
    if config == "deep_fusion":
        assert not any(text.startswith("Photo") for text in texts)
    else:  # The text is "title. description". The ten words include title and tags: 2 + 2 + n + 3 words.
        assert all(text.startswith("Photo ") and ". " in text for text in texts)
        assert min(len(text.split()) for text in texts) == 2 + 6


@pytest.mark.parametrize(("corpus", "left_out"), [("vso", {4, 5, 150, 151}), ("mvso", {4, 151})])
def test_word_limits(tmp_path, load, corpus, left_out):
    """Deep Fusion keeps more than 5 and fewer than 150 words of VSO, and 5 to 150 words of MVSO."""
    counts = [4, 5, 6, 149, 150, 151, *[7] * 20]
    changes = [{"description": " ".join(["w"] * count), "anp": "beautiful_flower"} for count in counts]
    rows = [post | change for post, change in zip(flickr_posts(26), changes, strict=True)]
    folder = write_flickr_table(tmp_path / "flickr", rows=rows)
    kept = by_photo(load(corpus, data_dir=str(folder)).remove_columns("images"))
    assert {len(row["text"].split()) for row in kept.values()} == set(counts) - left_out


def test_balanced_by_class(write, load, tmp_path):
    """The classes are balanced after the words are counted; a post stays if the hash of its id is among the lowest."""
    whole = load("mvso", "study", data_dir=write(140)).remove_columns("images")
    loaded = load("mvso", "study", data_dir=write(140), balanced=True).remove_columns("images")
    kept, before = by_photo(loaded), by_photo(whole)
    counts = Counter(row["label"] for row in before.values())
    assert len(set(counts.values())) > 1
    assert Counter(row["label"] for row in kept.values()) == dict.fromkeys(range(3), min(counts.values()))
    for label in range(3):
        ids = {row["id"] for row in before.values() if row["label"] == label}
        lowest = sorted(ids, key=lambda post_id: hash_position(f"balanced/{post_id}"))[: min(counts.values())]
        assert {row["id"] for row in kept.values() if row["label"] == label} == set(lowest)
    split_of = {photo: split for split, posts in whole.items() for photo in posts["group"]}
    assert all(split_of[photo] == split for split, posts in loaded.items() for photo in posts["group"])
    assert f"every class has {min(counts.values())} posts" in "\n".join(corpus_notes(loaded))


TEXTS = {
    "english": "We walked along the beach and watched the beautiful sunset over the quiet sea.",
    "misspelled": "We wolked alonk the beech and wotched the beutifull sunsett ower the qwiet see.",
    "german": "Wir gingen am Strand entlang und sahen den schönen Sonnenuntergang über dem Meer.",
}


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, set(TEXTS)), ({"english": True}, {"english", "misspelled"}), ({"spelled": 0.9}, {"english"})],
)
def test_language_and_spelling(tmp_path, load, options, kept):
    rows = [
        flickr_posts(1)[0] | {"id": f"{name}{n}", "description": text, "title": "", "tags": ""}
        for name, text in TEXTS.items()
        for n in range(40)
    ]
    folder = write_flickr_table(tmp_path / "mvso", rows=rows)
    loaded = load("mvso", "study", data_dir=str(folder), **options).remove_columns("images")
    assert {text for posts in loaded.values() for text in posts["text"]} == {TEXTS[name] for name in kept}


def test_the_spelling_needs_a_share_and_a_package(tmp_path, load, monkeypatch):
    folder = str(write_flickr_table(tmp_path / "mvso", 10))
    with pytest.raises(ValueError, match="spelled=2: give a share from 0 to 1"):
        load("mvso", "study", data_dir=folder, spelled=2)

    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(common_language, "version", version)
    with pytest.raises(ImportError, match=r'pyspellchecker: pip install "mmsent\[spelling\]"'):
        load("mvso", "study", data_dir=folder, spelled=0.9)


def test_vectors_in_place_of_images(write, load, tmp_path):
    """Vectors of the photos lie where the images would, and a post without one has none."""
    folder = Path(write(20))
    images = sorted((folder / "images").glob("*.jpg")) or sorted((folder / "posts").rglob("*.jpg"))
    for number, path in enumerate(images):
        vector = path.with_suffix(".npy") if "posts" in path.parts else folder / "image_features" / f"{path.stem}.npy"
        vector.parent.mkdir(exist_ok=True)
        if path.stem != "p7":
            np.save(vector, np.full(3, number, np.float64))
        path.unlink()
    rows = by_photo(load("mvso", "study", data_dir=str(folder), image_features=True))
    place = {path.stem: number for number, path in enumerate(images)}
    assert len(rows) > 10
    for photo, row in rows.items():
        assert row["images"] == []
        assert row["image_features"] == ([] if photo == "p7" else [[place[photo]] * 3])


@pytest.mark.parametrize(
    ("content", "message"), [(np.eye(2), r"holds float64 of shape \(2, 2\)"), (np.array(["a"]), "holds <U1 of shape")]
)
def test_bad_vector(tmp_path, content, message):
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(ValueError, match=message):
        read_vector(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="this is not a NumPy file"):
        read_vector(tmp_path / "a.npy")


def test_split_by_hash_survives_a_partial_crawl(write, tmp_path, load):
    whole = load("mvso", "study", data_dir=write(200))
    part = load("mvso", "study", data_dir=str(write_flickr_table(tmp_path / "part", 60)))
    where = {photo: split for split, posts in whole.items() for photo in posts["group"]}
    for split, posts in part.items():
        assert all(where[photo] == split for photo in posts["group"])
    sizes = [len(posts) / len(where) for posts in whole.values()]
    assert sizes == pytest.approx([0.7, 0.2, 0.1], abs=0.08)


def test_hash_split_is_the_same_everywhere():
    shares = {"train": 0.8, "test": 0.2}
    assert [hash_split(str(key), shares) for key in range(4)] == ["train", "train", "test", "train"]
    counts = [hash_split(str(n), shares) for n in range(20_000)].count("train")
    assert counts == pytest.approx(16_000, rel=0.01)


def test_a_photo_of_two_anps_is_in_one_split(tmp_path, load):
    folder = write_flickr_folder(tmp_path / "vso", 0)
    for photo in range(30):
        for anp in ("beautiful_sky", "drab_city"):
            write_flickr_post(folder, anp, str(photo), photo, {"description": "one two three four five six"})
    loaded = load("vso", data_dir=str(folder))
    assert sum(loaded.num_rows.values()) == 60
    assert not set(loaded["train"]["group"]) & set(loaded["test"]["group"])


def test_posts_without_image_or_text(tmp_path, load):
    folder = write_flickr_folder(tmp_path / "vso")
    (folder / "posts" / "beautiful_flower" / "p7.jpg").unlink()
    (folder / "posts" / "beautiful_flower" / "p14.json").unlink()
    loaded = load("vso", data_dir=str(folder))
    assert "p7" in by_photo(loaded.remove_columns("images"))
    notes = corpus_notes(loaded)
    assert "1 posts were left out, they have an image without a .json file" in notes
    assert "1 posts have a .json file without an image" in notes


def test_new_posts_of_a_known_anp_are_seen(tmp_path, load):
    folder = write_flickr_folder(tmp_path / "vso")
    before = sum(load("vso", data_dir=str(folder)).num_rows.values())
    write_flickr_post(folder, "beautiful_flower", "new", 99, {"description": "one two three four five six"})
    assert sum(load("vso", data_dir=str(folder)).num_rows.values()) == before + 1


@pytest.mark.parametrize(
    ("content", "message"), [("{", "p7.json: this is not JSON"), ("[]", "p7.json: a post is a JSON object")]
)
def test_bad_json(tmp_path, load, content, message):
    folder = write_flickr_folder(tmp_path / "vso")
    (folder / "posts" / "beautiful_flower" / "p7.json").write_text(content)
    with pytest.raises(Exception, match="error occurred while generating") as error:
        load("vso", data_dir=str(folder))
    assert message in str(error.value.__cause__)


def test_other_language(tmp_path, load):
    folder = write_flickr_table(tmp_path / "mvso")
    (folder / "english.csv").rename(folder / "german.csv")
    (folder / "german.csv").write_text("schöne_blume,0.9\nbeautiful_flower,-0.9\n", encoding="utf-8")
    loaded = load("mvso", language="german", data_dir=str(folder))
    assert {row["label"] for posts in loaded.values() for row in posts} == {0}


# The ANP lists


def test_lists(tmp_path):
    (tmp_path / "list.txt").write_text(VSO_LIST)
    expected = {"beautiful_flower": 1.77, "beautiful_sky": 2.0, "drab_city": -1.35, "plain_wall": 0.0}
    assert read_vso(tmp_path / "list.txt") == expected
    (tmp_path / "list.csv").write_text(MVSO_LIST)
    assert read_mvso(tmp_path / "list.csv")["long_race"] == -0.1


SCORE = "[sentiment: 2.00]"


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_vso, VSO_LIST.replace(SCORE, "[sentiment: 2,00]"), "line 5: the score '2,00' is not a number"),
        (read_vso, VSO_LIST.replace(SCORE, "[sentiment: nan]"), "line 5: the score 'nan' is not a number"),
        (read_vso, VSO_LIST.replace(SCORE, "sentiment: 2.00"), "line 5: .* does not have the form"),
        (read_vso, VSO_LIST.replace("_sky", "_flower"), "line 5: an earlier line .* beautiful_flower"),
        (read_vso, VSO_LIST.replace("sentiment: -1.00", "sentiment: x"), "line 6: the score 'x' is not a number"),
        (read_mvso, MVSO_LIST + "new_anp,\n", "line 7: the score '' is not a number"),
        (read_mvso, MVSO_LIST + "new_anp,1.2.3\n", "line 7: the score '1.2.3' is not a number"),
        (read_mvso, MVSO_LIST + "new_anp,inf\n", "line 7: the score 'inf' is not a number"),
        (read_mvso, MVSO_LIST + "new_anp\n", "line 7: 'new_anp' does not have the form 'adjective_noun,score'"),
        (read_mvso, MVSO_LIST + ",0.5\n", "line 7: ',0.5' does not have the form"),
        (read_mvso, MVSO_LIST + "Drab City,0.5\n", "line 7: an earlier line has a score of drab_city too"),
        (read_vso, "\n", " holds no adjective-noun pairs"),
        (read_mvso, "\n", " holds no adjective-noun pairs"),
    ],
)
def test_bad_list(tmp_path, read, content, message):
    (tmp_path / "list").write_text(content)
    with pytest.raises(ValueError, match=f"^{tmp_path / 'list'},? ?.*{message.strip()}"):
        read(tmp_path / "list")


def test_real_lists(shared_data):
    folder = shared_data("anp")
    vso, mvso = read_vso(folder / "vso_3244ANPs.txt"), read_mvso(folder / "mvso_english.csv")
    assert len(vso) == 3244
    assert (vso["beautiful_flower"], vso["enthusiastic_artist"]) == (1.77, 1.76)
    assert (min(vso.values()), max(vso.values())) == (-2.0, 2.0)
    assert len(mvso) == 4421
    assert mvso["tiny_dog"] == 0.125

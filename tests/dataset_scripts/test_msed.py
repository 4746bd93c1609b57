"""MSED."""

import pytest
from standins import write_msed

from mmsent.dataset_scripts.common_corpus import corpus_notes, undecoded


@pytest.fixture
def release(tmp_path):
    return write_msed(tmp_path / "MSED")


def test_rows(release, load):
    loaded = load("msed", data_dir=str(release))
    for split, (name, count) in {"train": ("train", 5), "validation": ("dev", 2), "test": ("test", 3)}.items():
        assert list(undecoded(loaded[split])) == [
            {
                "id": f"{split}-{number}",
                "text": f"Title {number}, of {name}\nA caption\nof two lines {number}",
                "images": [{"bytes": None, "path": f"{release}/{name}/images/{number}.jpg"}],
                "label": [2, 1, 0][number % 3],
                **dict.fromkeys(["aspect", "text_label", "image_label"]),
                **{"emotion": "happiness", "desire": "family", "inference_sequence": "a; b"},
            }
            for number in range(1, count + 1)
        ]
    assert f"{release}/dev/dev.csv has 2 posts, the release 1021" in corpus_notes(loaded)


def test_the_caption_apart(release, load):
    train = load("msed", data_dir=str(release), caption_apart=True)["train"]
    assert (train["text"][0], train["caption"][0]) == ("Title 1, of train", "A caption\nof two lines 1")
    assert "caption" not in load("msed", data_dir=str(release))["train"].column_names


def test_published_counts_are_not_noted(release, load):
    table = release / "dev" / "dev.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n" + "t,c,neutral,e,d,i\n" * 1021)
    loaded = load("msed", data_dir=str(release))
    assert loaded["validation"].num_rows == 1021
    notes = "\n".join(corpus_notes(loaded))
    assert "dev.csv has" not in notes
    assert "1019 of 1021 images are not in" in notes


@pytest.mark.parametrize("name", ["valid", "validation", "val"])
def test_other_names_of_dev(release, load, name):
    (release / "dev" / "dev.csv").rename(release / "dev" / f"{name}.csv")
    (release / "dev").rename(release / name)
    assert load("msed", data_dir=str(release))["validation"].num_rows == 2

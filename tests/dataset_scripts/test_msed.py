"""MSED."""

import pytest
from standins import write_msed

from mmsent.dataset_scripts.common_corpus import corpus_notes, undecoded


@pytest.fixture
def release(tmp_path):
    return write_msed(tmp_path / "MSED")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("how", [{}, {"streaming": True}, {"num_proc": 2}])
def test_rows(tmp_path, load, end, how):
    folder = write_msed(tmp_path / "MSED", end=end)
    (folder / "test" / "test.csv").write_bytes(b"\xef\xbb\xbf" + (folder / "test" / "test.csv").read_bytes())
    loaded = load("msed", data_dir=str(folder), **how)
    for split, (name, count) in {"train": ("train", 5), "validation": ("dev", 2), "test": ("test", 3)}.items():
        rows = list(undecoded(loaded[split]))
        assert len(rows) == count
        for number, row in enumerate(rows, start=1):
            assert row["id"] == f"{split}-{number}"
            assert row["text"] == f"Title {number}, of {name}\nA caption\nof two lines {number}"
            assert [image["path"] for image in row["images"]] == [f"{folder}/{name}/images/{number}.jpg"]
            assert row["label"] == [2, 1, 0][number % 3]
            assert (row["emotion"], row["desire"], row["inference_sequence"]) == ("happiness", "family", "a; b")
    assert f"{folder}/dev/dev.csv has 2 posts, the release 1021" in corpus_notes(loaded)


def test_published_counts_are_not_noted(tmp_path, load):
    folder = write_msed(tmp_path / "MSED", {"dev": 1})
    table = folder / "dev" / "dev.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n" + "t,c,neutral,e,d,i\n" * 1021)
    loaded = load("msed", data_dir=str(folder))
    assert loaded["validation"].num_rows == 1021
    assert not any("the release" in note for note in corpus_notes(loaded))
    assert any("1020 of 1021 images are not in" in note for note in corpus_notes(loaded))


@pytest.mark.parametrize("name", ["valid", "validation", "val"])
def test_other_names_of_dev(release, load, name):
    (release / "dev" / "dev.csv").rename(release / "dev" / f"{name}.csv")
    (release / "dev").rename(release / name)
    assert load("msed", data_dir=str(release))["validation"].num_rows == 2


def test_a_split_is_absent(release, load):
    (release / "test" / "test.csv").unlink()
    loaded = load("msed", data_dir=str(release))
    assert set(loaded) == {"train", "validation"}
    assert "data_dir has no test/test.csv: there is no test split" in corpus_notes(loaded)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("t,c,happy,e,d,i", "test.csv, line 8: sentiment 'happy' is not one of negative, neutral, positive"),
        ("t,c,positive", "test.csv, line 8: 3 columns where the header names 6"),
        ("a, b,c,positive,e,d,i", "test.csv, line 8: 7 columns where the header names 6; put"),
    ],
)
def test_bad_row(release, load, row, message):
    with (release / "test" / "test.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(ValueError, match=message):
        load("msed", data_dir=str(release))


def test_columns_are_found_by_name(release, load):
    table = release / "test" / "test.csv"
    table.write_text("Sentiment,Title,Caption,Emotion,Desire\npositive,a,b,c,d\n")
    with pytest.raises(ValueError, match="test.csv, line 1: no column Inference Sequence; it has Sentiment, Title"):
        load("msed", data_dir=str(release))
    table.write_text("Sentiment,Inference Sequence,Title,Caption,Emotion,Desire,More\nPositive,x,a,b,c,d,e\n")
    assert load("msed", data_dir=str(release), split="test")["text"][:] == ["a\nb"]

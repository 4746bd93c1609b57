"""What is wrong with a table is one clear line, or a note."""

import pytest

from mmsent.dataset_scripts.common_corpus import corpus_notes

GOOD = [("good day", "positive"), ("bad day", "negative")]


def write(path, rows, header="text,label"):
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


def many(count=20):
    return [(f"day {i}", ["positive", "negative"][i % 2]) for i in range(count)]


@pytest.mark.parametrize(
    ("header", "rows", "options", "message"),
    [
        (
            "txet,label",
            many(),
            {},
            r"no column text, images or image; .*txet, label \(did you mean txet\?\).*--text_col",
        ),
        ("text,mood", many(), {}, "no column label; .*Columns with few different values are mood.*--label_column"),
        ("text,label", many(), {"label_column": "labl"}, r"no column labl; .*\(did you mean label\?\)"),
        ("text,label", [("a", "x"), ("b", "x")], {}, "all 2 posts have the label x; two classes or more are needed"),
        ("text,label", [("a", ""), ("b", " ")], {}, "no row has a label in the column label; choose another"),
        ("text,label", [], {}, "posts.csv: the table has no posts"),
        (
            "text,label",
            [(f"a {i}", f"word {i}") for i in range(300)],
            {},
            "more than 200 different labels.*--label_col",
        ),
        ("text,label", [(f"a {i}", f"word {i}") for i in range(30)], {}, "every row has another label"),
        ("text,label", GOOD, {}, "the split validation and test would be empty: 1 of the 2 posts belong together"),
        ("text,label", [("same", "ab"[i % 2]) for i in range(30)], {}, "would be empty: 30 of the 30 posts belong"),
        ("text,label,image", [("a", "b", "http://x.y/z.png")], {}, "posts.csv, row 1: http.* download the image"),
        ("text,label,image", [("a", "b", "/etc/passwd")], {}, "posts.csv, row 1: /etc/passwd is absolute or outside"),
        ("text,label,image", [("a", "b", "../x.png")], {}, "row 1: ../x.png is absolute or outside"),
        ("text,label", [*GOOD, ("a",)], {}, "row 3: line 4: 1 columns where the header names 2"),
        ("id,text,label", [("1", "a", "b"), ("1", "b", "c")], {}, "row 2: an earlier row has the id 1 too"),
        ("id,text,label", [("", "a", "b")], {}, "row 1: the id is empty; correct it, or choose another --id_column"),
        (
            "text,label,fold",
            [("a", "b", "3"), ("b", "c", "3")],
            {},
            "row 1: the column fold has '3', which is not one of train.* none",
        ),
        (
            "text,label",
            many(),
            {"label_names": ["bad", "good"]},
            "row 1: the label 'positive' is not one of bad, good",
        ),
        ("text,label", [("a", "YES")], {"label_names": ["yes", "Yes"]}, "row 1: the label 'YES' could be yes or Yes"),
        ("text,label", many(), {"label_names": ["a", " a"]}, "label_names=a, a: a name occurs twice"),
        ("text,label", many(), {"split_shares": [0.5, 0.1]}, "split_shares=.*give three shares that add up to 1"),
        ("text,label", many(), {"splits": "nowhere.json"}, "splits=nowhere.json does not exist"),
        ("text,label", many(), {"image_dir": "nowhere"}, "There is no folder nowhere, which --image_dir names"),
    ],
)
def test_errors(header, rows, options, message, tmp_path, load):
    with pytest.raises((ValueError, OSError), match=message):
        load("posts", data_files=write(tmp_path / "posts.csv", rows, header), streaming=True, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "read from a table of yours: pass data_files or data_dir"),
        ({"data_dir": "nowhere"}, "there is no folder nowhere"),
        ({"data_files": "nowhere.csv"}, "there is no file .*nowhere.csv"),
        ({"data_dir": "."}, "has no table of posts"),
        ({"data_files": {"holdout": "x.csv"}}, "data_files has the split holdout"),
    ],
)
def test_absent_files(arguments, message, tmp_path, load, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=message):
        load("posts", **arguments)


def test_notes(tmp_path, load):
    rows = [*many(40), ("", "positive"), ("unlabelled", ""), ("day 0", " Negative"), ("once", "rare")]
    path = write(tmp_path / "posts.csv", rows)
    corpus = load("posts", data_files=path)
    notes = "\n".join(corpus_notes(corpus))
    assert "1 of 44 rows have no label and are left out: rows 42" in notes
    assert "1 of 44 rows have neither a text nor an image and are left out: rows 41" in notes
    assert "1 labels that are written ' Negative' count as 'negative'" in notes
    assert "2 posts occur with different labels, each time on the same side: " in notes
    assert "a class with one post cannot be trained and tested: rare" in notes
    assert "the classes, in the order of their numbers: 0 negative, 1 positive, 2 rare" in notes
    assert sum(map(len, corpus.values())) == 42
    sides = [split for split, posts in corpus.items() for text in posts["text"] if text == "day 0"]
    assert len(sides) == 2
    assert len(set(sides)) == 1


def test_given_names_of_labels(tmp_path, load):
    path = write(tmp_path / "posts.csv", many(30))
    corpus = load("posts", data_files=path, label_names=["positive", "mixed", "negative"])
    assert corpus["train"].features["label"].names == ["positive", "mixed", "negative"]
    assert corpus["train"][0]["label"] == (0 if corpus["train"][0]["text"].endswith(tuple("02468")) else 2)

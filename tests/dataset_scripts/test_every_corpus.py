"""What holds for every corpus: ways of loading it, files of any editor, absent files, bad rows, options."""

import csv

import pytest
from standins import ASPECTS, WRITERS

import mmsent
from mmsent.dataset_scripts import common_corpus
from mmsent.dataset_scripts.common_corpus import corpus_notes, missing_report, rows_hash, undecoded

NAMES = ["mvsa_single", *WRITERS]


@pytest.fixture
def write(request, tmp_path):
    """Write the tiny release of a corpus, and return its folder."""

    def write(name: str):
        return request.getfixturevalue("release") if name == "mvsa_single" else WRITERS[name](tmp_path / name)

    return write


def rows_of(posts) -> list[dict]:
    """Return the rows with undecoded images."""
    return list(undecoded(posts))


@pytest.mark.parametrize("how", [{}, {"streaming": True}, {"num_proc": 2}])
@pytest.mark.parametrize("name", NAMES)
def test_ways_of_loading(name, how, write, load, tmp_path, monkeypatch):
    monkeypatch.setattr(common_corpus, "CHUNK_SIZE", 2)
    folder = write(name)
    expected = load(name, data_dir=str(folder))
    corpus = mmsent.load_corpus(name, data_dir=folder, cache_dir=tmp_path / "other", **how)
    assert set(corpus) == set(expected)
    for split, posts in expected.items():
        assert rows_of(corpus[split]) == rows_of(posts)
    assert min(next(iter(corpus["train"].skip(3)))["images"][0].size) > 0
    assert missing_report(corpus) == missing_report(expected)
    assert corpus_notes(corpus) == corpus_notes(expected)
    if "streaming" in how:
        assert corpus["train"].num_shards >= len(expected["train"]) / 2
    else:
        assert len(corpus["train"].cache_files) == how.get("num_proc", 1)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", NAMES)
def test_files_of_any_editor(name, end, bom, write, load):
    def rows():
        corpus = undecoded(load(name, data_dir=str(folder)))
        return [row | {"text": row["text"].splitlines()} for posts in corpus.values() for row in posts]

    folder = write(name)
    expected = rows()
    for path in folder.rglob("*"):
        if path.suffix in (".csv", ".tsv", ".txt", ".json"):
            path.write_bytes(bom + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", end) + end)
    assert rows() == expected


@pytest.mark.parametrize(
    ("name", "file", "split", "note"),
    [
        ("msed", "test/test.csv", "test", "data_dir has no test/test.csv: there is no test split"),
        ("multi_zol", "zol_Dev_jieba.txt", "validation", "data_dir has no zol_Dev_jieba.txt: its samples are in no"),
        ("twitter2015", "test.tsv", "test", "data_dir has no test.tsv: there is no test split"),
    ],
)
def test_file_of_a_split_is_absent(name, file, split, note, write, load):
    folder = write(name)
    (folder / file).unlink()
    loaded = load(name, data_dir=str(folder))
    assert set(loaded) == {"train", "validation", "test"} - {split}
    assert note in "\n".join(corpus_notes(loaded))


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("multi_zol", "*.txt", "has no zol_Train_jieba.txt: pass the folder of the unpacked"),
        ("mvsa_single", "data/*", "none of the posts of mvsa_single, split clmlf.*unpacked"),
        ("mvsa_single", "labelResultAll.txt", "has no labelResultAll.txt: pass the folder"),
        ("mvso", "posts.csv", "has no posts.csv: pass .*posts.csv or posts"),
        ("vso", "3244ANPs.txt", "has no 3244ANPs.txt: pass"),
    ],
)
def test_required_files_are_absent(name, files, message, write, load):
    folder = write(name)
    for path in folder.glob(files):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=message):
        load(name, data_dir=str(folder))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("mssed", {}, ValueError, "there is no corpus 'mssed'; choose from msed, multi_zol"),
        ("msed", {"classes": 10}, ValueError, "msed has no option classes"),
        ("multi_zol", {"classes": 5}, ValueError, "classes=5: Multi-ZOL has 8 classes or 10"),
        (
            "mvsa_single",
            {"data_dir": None},
            ValueError,
            "mvsa_single cannot be downloaded: pass data_dir.*labelResult",
        ),
        ("mvsa_single", {"translations": ["nowhere"]}, OSError, "translations=.*nowhere does not exist"),
        ("mvso", {"language": "german"}, OSError, "has no german.csv"),
        ("mvso", {"language": "klingon"}, ValueError, "language='klingon' is not one of arabic, chinese"),
        ("twitter2015", {"captions": "nowhere"}, OSError, "captions=.*nowhere does not exist"),
        ("twitter2015", {"image_dir": "nowhere"}, OSError, "image_dir=.*nowhere does not exist"),
    ],
)
def test_bad_options(name, options, error, message, write, tmp_path):
    folder = write(name) if name in NAMES else tmp_path
    with pytest.raises(error, match=message):
        mmsent.load_corpus(name, **({"data_dir": folder, "cache_dir": tmp_path / "cache"} | options))


@pytest.mark.parametrize(
    ("name", "option", "content", "message"),
    [
        ("mvsa_single", "translations", "{}", "translations are a JSON list"),
        ("mvsa_single", "translations", "[", "this is not JSON"),
        ("mvsa_single", "translations", '[{"id": 1}]', "translations are a JSON list"),
        ("mvsa_single", "translations", "[1]", "translations are a JSON list"),
        ("mvsa_single", "translations", '[{"id": 1, "text_translation": null}]', "translations are a JSON list"),
        (
            "mvsa_single",
            "translations",
            '[{"id": 1, "text_translation": "a"}, {"id": "1", "text_translation": "b"}]',
            "two entries for the id 1; remove one",
        ),
        ("twitter2015", "captions", "{", "this is not JSON"),
        ("twitter2015", "captions", "", "this is not JSON"),
        ("twitter2015", "captions", "[" * 60_000, "this is not JSON that can be read: maximum recursion"),
        ("twitter2015", "captions", "1" * 5_000, "this is not JSON that can be read: Exceeds the limit"),
        ("twitter2015", "captions", "\0{}", "line 1: the file is UTF-16"),
        ("twitter2015", "captions", "[1]", "captions are a JSON object"),
        ("twitter2015", "captions", '{"a.jpg": 1}', "captions are a JSON object"),
        ("twitter2015", "captions", '{"a.jpg": "x", "b.jpg": "y", "a.jpg": "z"}', "two entries for a.jpg; remove one"),
    ],
)
def test_bad_file_of_an_option(name, option, content, message, write, load, tmp_path):
    path = tmp_path / "option.json"
    path.write_text(content)
    value = [str(path)] if option == "translations" else str(path)
    with pytest.raises(ValueError, match=f"option.json[:,] {message}"):
        load(name, data_dir=str(write(name)), **{option: value})


def sample(images: str = "[]", aspect: str = ASPECTS[0], score: str = "1.0") -> str:
    """Return a sample of Multi-ZOL."""
    return f"好\n{images}\n{aspect}\n{score}"


BAD_ROWS = {
    ("msed", "test/test.csv"): [
        ("t,c,happy,e,d,i", "line 8: sentiment 'happy' is not one of negative, neutral, positive"),
        ("t,c,positive", "line 8: 3 columns where the header names 6"),
        ("a, b,c,positive,e,d,i", "line 8: 7 columns where the header names 6; put"),
    ],
    ("multi_zol", "zol_Dev_jieba.txt"): [
        (sample(score="7.5"), "line 4 of 4: score '7.5' is not one of 1, 2, 3, 4, 5, 6, 8, 10"),
        (sample(score="7.0"), "score '7.0' is not one of"),
        (sample(score="good"), "score 'good' is not one of"),
        (sample("__import__('os').system('touch pwned')"), 'line 2 of 4: "__import__.* is not a list of file names'),
        (sample("[" * 10_000), "is not a list of file names"),
        (sample("[1, 2]"), "is not a list of file names"),
        (sample(""), "is not a list of file names"),
        (sample("['../../etc/passwd']"), "'../../etc/passwd' is not a bare file name and could lead out"),
        (sample(aspect="价格"), "sample 7, which begins in line 25, line 3 of 4: aspect '价格' is not one of 性价比"),
        ("好\n[]\n屏幕效果", "line 25: the last sample has 3 of its 4 lines; the file is cut short"),
    ],
    ("mvsa_single", "labelResultAll.txt"): [
        ("777\tpositive,happy", "line 11: unknown label 'happy'; allowed are negative, neutral, positive"),
        ("777\tPositive,neutral", "line 11: unknown label 'Positive'"),
        ("777\tpositive", r"line 11: a row is 'ID<tab>text label,image label', not '777\\tpositive'"),
        ("777\tpositive,neutral,negative", "line 11: a row is"),
        ("777\tpositive,neutral\tpositive,neutral", "line 11: a row is"),
        ("777 positive,neutral", "line 11: a row is"),
        ("777\tpositive,neutral\n777\tneutral,neutral", "line 12: an earlier row has the id 777 too"),
    ],
    ("mvso", "posts.csv"): [
        ("p2,t,d,x,drab_city,1.jpg", "line 72: an earlier row has the id p2 too"),
        ("p6,t,d,x,drab_city,1.jpg", "line 72: an earlier row has the id p6 too"),  # p6 was left out
        ("a,t,d,x,drab_city", "line 72: 5 columns where the header names 6"),
        ("a,t,d,x,drab_city,1.jpg,x", "line 72: 7 columns where"),
        ('a,t,"never closed,x,drab_city,1.jpg', "line 72: unexpected end of data"),
        ("a,t,d,x,drab_city,../../etc/passwd", "line 72: '../../etc/passwd' is not a bare file name"),
        (",t,d,x,drab_city,1.jpg", "line 72: the id is empty"),
    ],
    ("twitter2015", "dev.tsv"): [
        ("9\t1\t3.jpg\tno target here\tOslo", r"line 3: the tweet has no \$T\$"),
        ("9\t1\t3.jpg\t$T$ is nice", "line 3: 4 columns instead of 5"),
        ("9\t1\t3.jpg\t$T$\tis\tnice", "line 3: 6 columns instead of 5"),
        ("9\t-1\t3.jpg\t$T$\tOslo", "line 3: label '-1' is not 0 .negative., 1 .neutral. or 2 .positive."),
        ("9\tpositive\t3.jpg\t$T$\tOslo", "line 3: label 'positive' is not 0"),
        ("1\t1\t3.jpg\t$T$\tOslo", "line 3: an earlier row has the index 1 too"),
        ("9\t1\t../../etc/passwd\t$T$\tOslo", "line 3: '../../etc/passwd' is not a bare file name"),
        ("9\t1\t\t$T$\tOslo", "line 3: '' is not a bare file name"),
    ],
}


@pytest.mark.parametrize(
    ("name", "file", "row", "message"), [(*where, *bad) for where, rows in BAD_ROWS.items() for bad in rows]
)
def test_bad_row(name, file, row, message, write, load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(name) / file
    with path.open("a", encoding="utf-8") as table:
        table.write(f"{row}\n")
    with pytest.raises(ValueError, match=message) as error:
        load(name, data_dir=str(tmp_path / path.relative_to(tmp_path).parts[0]), streaming=True)
    assert str(error.value).startswith(f"{path}")
    assert not (tmp_path / "pwned").exists()


HEADERS = {
    ("msed", "test/test.csv"): [
        ("Sentiment,Title,Caption", "no column Emotion, Desire, Inference Sequence; it has Sentiment, Title, Caption"),
        ("Title,Caption,Sentiment,Title", "two columns have the name 'Title'"),
    ],
    ("mvsa_single", "labelResultAll.txt"): [
        (header, "the header must be 'ID.ttext,image', not")
        for header in ("1\tpositive,positive", "ID" + "\ttext,image" * 3, "\n", "")
    ],
    ("mvso", "posts.csv"): [
        ("id,title,id", "two columns have the name 'id'"),
        ("id,title,text", "no column description, tags, anp, image; it has id, title, text"),
        ("", "no column id, .*; it has none"),
    ],
}


@pytest.mark.parametrize(
    ("name", "file", "header", "message"), [(*where, *bad) for where, headers in HEADERS.items() for bad in headers]
)
def test_bad_header(name, file, header, message, write, load):
    folder = write(name)
    (folder / file).write_text(header)
    with pytest.raises(ValueError, match=f"{file}, line 1: {message}"):
        load(name, data_dir=str(folder))


@pytest.mark.parametrize(("name", "file"), [("msed", "test/test.csv"), ("mvso", "posts.csv")])
def test_columns_are_found_by_name(name, file, write, load):
    folder = write(name)
    expected = rows_hash(load(name, data_dir=str(folder)))
    with (folder / file).open(encoding="utf-8", newline="") as table:
        rows = [[*row[::-1], "another column"] for row in csv.reader(table)]
    with (folder / file).open("w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows(rows)
    assert rows_hash(load(name, data_dir=str(folder))) == expected


@pytest.mark.parametrize(
    ("name", "file", "row", "dropped"),
    [
        (
            "multi_zol",
            "zol_Train_jieba.txt",
            f"Test 第 0 台 手机 屏幕 很 好 ， 电池 一般\n{sample()[2:]}",
            ["train-19"],
        ),
        (
            "twitter2015",
            "test.tsv",
            "3\t1\t5.jpg\tRT @ ltsChuckBass : Chuck Bass is $T$ # MCM\teverything",
            ["train-1", "train-2"],
        ),
        ("twitter2015", "test.tsv", "", []),
    ],
)
def test_clean_variant(name, file, row, dropped, write, load):
    folder = write(name)
    with (folder / file).open("a", encoding="utf-8") as table:
        table.write(f"{row}\n")
    plain, clean = (load(name, config, data_dir=str(folder)) for config in ("official", "official_clean"))
    assert [post_id for post_id in plain["train"]["id"] if post_id not in clean["train"]["id"]] == dropped
    assert clean["test"]["id"][:] == plain["test"]["id"][:]
    counts = f"{len(dropped)} posts that leak were dropped from train, {len(clean['train'])} are left"
    assert corpus_notes(clean)[-1].startswith(counts)

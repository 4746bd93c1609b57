"""Parquet files that are damaged: bad rows, or one line that names the file."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny

from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.inference import predict


def damage(path, kind):
    content = path.read_bytes()
    changed = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "magic": b"PAR1" + bytes(40) + b"PAR1",
        "footer": content[:-30] + b"\xff" * 22 + content[-8:],
        "page": content[:4] + b"\xff" * 12 + content[16:],
    }
    path.write_bytes(changed[kind])


@pytest.fixture
def table(tmp_path):
    pq.write_table(pa.table({"text": ["good day"] * 4}), tmp_path / "posts.parquet")
    return tmp_path / "posts.parquet"


@pytest.mark.parametrize("kind", ["empty", "half", "magic", "footer"])
def test_a_damaged_file_is_named(table, kind):
    damage(table, kind)
    with pytest.raises(ValueError, match="posts.parquet is damaged, or not a Parquet file"):
        open_posts(table)


def test_invalid_text_is_a_bad_row(tmp_path):
    texts = pa.array([b"good", b"\xff", b"day"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts, "id": ["1", "2", "3"]}), tmp_path / "posts.parquet")
    rows = [row for _, row in open_posts(tmp_path / "posts.parquet")]
    assert [rows[0], rows[2]] == [{"text": "good", "id": "1"}, {"text": "day", "id": "3"}]
    assert "column 'text': 'utf-8' codec can't decode byte 0xff" in str(rows[1])


def test_a_damaged_page_is_one_line_after_the_progress_bar(table, backbones, tmp_path, monkeypatch, capsys):
    for saved in tiny.build("comn", "own", backbones):
        saved.save_pretrained(tmp_path / "model")
    damage(table, "page")
    argv = ["--model", str(tmp_path / "model"), "--input", str(table), "--output", str(tmp_path / "out.jsonl")]
    monkeypatch.setattr("sys.argv", ["mmsent predict", *argv])
    with pytest.raises(SystemExit, match="2"):
        predict.main()
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert line.startswith(f"mmsent predict: error: {table} is damaged: ")


def test_the_reason_stays_where_a_path_is_long(tmp_path, backbones):
    processor, model = tiny.build("comn", "own", backbones)
    (tmp_path / "posts.csv").write_text(f"text,images\ngood,{'a' * 2000}.png\n")
    posts = open_posts(tmp_path / "posts.csv")
    pipe = predict.ImageTextSentimentPipeline(model, processor=processor)
    (record,) = predict.predict_rows(pipe, posts, dict(posts))
    assert "File name too long" in record["error"]
    assert "aaa ... aaa" in record["error"]
    assert len(record["error"]) <= predict.MAX_REASON

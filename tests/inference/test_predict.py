"""Test `mmsent predict`: file formats, bad rows, interruptions, several processes and long files."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from transformers import pipeline

from mmsent.inference import predict, writers
from mmsent.modeling.common_pipeline import TASK


@pytest.fixture(scope="module")
def model(backbones, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def run(model, monkeypatch, tmp_path):
    """Run the command in this process; return its exit code, its predictions and its bad rows."""

    def run(source: Path, *argv: str, output: Path = tmp_path / "out.jsonl") -> tuple[int, list[dict], list[dict]]:
        monkeypatch.setattr(sys, "argv", ["mmsent predict", *arguments(model, source, output, *argv)])
        code = predict.main()
        lines = read(output) if output.suffix == ".jsonl" else []
        return code, lines, read(output.with_name(output.name + ".bad.jsonl"))

    return run


def arguments(model: Path, source: Path, output: Path, *argv: str) -> list[str]:
    return ["--model", str(model), "--input", str(source), "--output", str(output), *argv]


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def usage_error(run, capsys, source: Path, *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run(source, *argv)
    assert stop.value.code == 2
    return capsys.readouterr().err


def write_csv(path: Path, rows: list[list], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def rows_of(lines: list[dict]) -> list[int]:
    return [line["row"] for line in lines]


def write_table(kind: str, folder: Path, posts: dict[str, list]) -> Path:
    """Write posts as a table of this kind, and their images beside it."""
    names = [[f"{post}-{slot}.png" for slot in range(len(images))] for post, images in enumerate(posts["images"])]
    for post, images in enumerate(posts["images"]):
        for name, image in zip(names[post], images, strict=True):
            image.save(folder / name)
    table = [
        {"id": f"é{row}", "text": text, "images": images, "aspect": aspect}
        for row, (text, images, aspect) in enumerate(zip(posts["text"], names, posts["aspect"], strict=True))
    ]
    source = folder / f"posts.{kind}"
    if kind == "jsonl":
        source.write_text("\n".join(map(json.dumps, table)) + "\n\n")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(table), source)
    else:  # some rows have a JSON list of images, others have semicolons between the names
        cells = [";".join(images) if row % 2 else json.dumps(images) for row, images in enumerate(names)]
        rows = [[post["id"], post["text"], cell, post["aspect"]] for post, cell in zip(table, cells, strict=True)]
        write_csv(source, [["id", "text", "images", "aspect"], *rows], "\t" if kind == "tsv" else ",")
    return source


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_give_what_the_pipeline_gives(run, model, tmp_path, kind):
    posts = tiny.posts()
    code, lines, bad = run(write_table(kind, tmp_path, posts), "--batch_size", "4")
    assert (code, bad) == (0, [])
    assert rows_of(lines) == [1, 2, 3, 4, 5, 6]
    assert [line["id"] for line in lines] == [f"é{row}" for row in range(6)]
    classify = pipeline(TASK, model=str(model))
    columns = zip(posts["text"], posts["images"], posts["aspect"], strict=True)
    expected = classify([{"text": text, "images": images, "aspect": aspect} for text, images, aspect in columns])
    for line, result in zip(lines, expected, strict=True):
        assert line["scores"] == pytest.approx({entry["label"]: entry["score"] for entry in result}, abs=1e-5)
        assert line["prediction"] == max(line["scores"], key=line["scores"].get)
        assert list(line["scores"]) == ["negative", "neutral", "positive"]


def test_chosen_columns(run, tmp_path):
    (tmp_path / "files").mkdir()
    tiny.picture(0).save(tmp_path / "files/a.png")
    source = write_csv(tmp_path / "posts.csv", [["nr", "tweet", "file", "target"], ["x", "good", "a.png", "coffee"]])
    columns = ["--text_column", "tweet", "--image_columns", "file", "--aspect_column", "target", "--id_column", "nr"]
    code, lines, _ = run(source, *columns, "--image_dir", str(tmp_path / "files"))
    assert (code, lines[0]["id"]) == (0, "x")


def test_wrong_use(run, tmp_path, capsys):
    source = write_csv(tmp_path / "posts.csv", [["text"], ["good"]])
    assert "There is no file" in usage_error(run, capsys, tmp_path / "none.csv")
    assert "--batch_size 0" in usage_error(run, capsys, source, "--batch_size", "0")
    assert "must end with one of" in usage_error(run, capsys, source, "--output", "out.txt")
    assert "no_such_model" in usage_error(run, capsys, source, "--model", str(tmp_path / "no_such_model"))
    (tmp_path / "out.jsonl").write_text("mine")
    assert "exists already" in usage_error(run, capsys, source)
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_csv_and_parquet_say_the_same_as_jsonl(run, tmp_path, monkeypatch):
    monkeypatch.setattr(writers, "PARQUET_ROWS", 2)
    source = write_csv(tmp_path / "posts.csv", [["id", "text"], *[[f"p,{row}", f"good {row}"] for row in range(5)]])
    _, lines, _ = run(source)
    expected = [
        {"row": line["row"], "id": line["id"], "prediction": line["prediction"]}
        | {f"score_{name}": score for name, score in line["scores"].items()}
        | {"reason": None}
        for line in lines
    ]
    run(source, output=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == expected
    run(source, output=tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [row["id"] for row in expected]
    assert list(tmp_path.glob("*.part-*")) == []
    assert list(tmp_path.glob("tmp-*")) == []


def test_no_rows(run, tmp_path):
    assert run(write_csv(tmp_path / "posts.csv", [["text"]])) == (0, [], [])
    run(tmp_path / "posts.csv", output=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


def test_bad_rows_go_to_a_side_file(run, tmp_path):
    tiny.picture(0).save(tmp_path / "a.png")
    (tmp_path / "page.jpg").write_text("<html></html>")
    source = tmp_path / "posts.csv"
    source.write_bytes(
        b"id,text,images\n"
        b"1,good,a.png\n"
        b"2,good,page.jpg\n"
        b"3,good\n"  # too few fields
        b'4,"good,a.png\n'  # a quote that is never closed
        b"5,good,a.png\n"
        b"6,caf\xe9,a.png\n"  # Latin-1
        b'7,"good\nday",a.png\n'  # two lines, one record
        b"8,good,none.png\n"
        b"\n"
        b"9,good,[not json\n"
        b"10,good,a.png,a.png\n"
        b"11,good,https://images.example/a.png\n"
        b"12,,a.png\n"
    )
    code, lines, bad = run(source, "--batch_size", "5")
    assert code == 1
    assert {line["row"]: line["id"] for line in lines} == {1: "1", 5: "5", 7: "7", 12: "12"}
    reasons = {line["row"]: line["error"] for line in bad}
    assert list(reasons) == [2, 3, 4, 6, 8, 9, 10, 11]
    for row, part in {
        2: "page.jpg: cannot identify",
        3: "line 4: 2 columns where the header names 3",
        4: "line 5: ",
        6: "line 7: not UTF-8",
        8: "none.png: No such file or directory",
        9: "not a JSON list",
        10: "line 13: 4 columns",
        11: "is a URL: download",
    }.items():
        assert part in reasons[row]
    assert bad[0]["id"] == "2"


def test_bad_lines_of_json(run, tmp_path):
    source = tmp_path / "posts.jsonl"
    good = {"text": "good", "id": "\ud83d"}
    broken = ["[1, 2]", "{", '{"tekst": "good"}', '{"text": 3}', "[" * 5000, '{"text": "\\ud800", "images": [7]}']
    source.write_text("\n".join([json.dumps(good), *broken, '{"text": "\\u0000 \\ud800 day"}']) + "\n")
    code, lines, bad = run(source)
    assert (code, rows_of(lines), rows_of(bad)) == (1, [1, 8], [2, 3, 4, 5, 6, 7])
    assert lines[0]["id"] == "\ufffd"
    assert "no text or images in this row; it has tekst" in bad[2]["error"]


def test_a_megabyte_of_text(run, tmp_path):
    source = write_csv(tmp_path / "posts.csv", [["text"], ["good " * 200_000], ["😀"], ["\u202eיום"], ["\x00"]])
    code, lines, bad = run(source)
    assert (code, rows_of(lines), bad) == (0, [1, 2, 3, 4], [])


def numbered_posts(path: Path, count: int) -> Path:
    """Write a CSV file of posts with a bad row in the middle."""
    texts = [[f"p{row}", f"good {tiny.WORDS[row % len(tiny.WORDS)]} {row}"] for row in range(count)]
    return write_csv(path, [["id", "text"], *texts[: count // 2], ["broken"], *texts[count // 2 :]])


def assert_same(lines: list[dict], expected: list[dict]) -> None:
    assert rows_of(lines) == rows_of(expected)
    for line, other in zip(lines, expected, strict=True):
        assert line["scores"] == pytest.approx(other["scores"], abs=2e-6)


@pytest.fixture
def interrupted(run, monkeypatch):
    """Predict a file, but stop before the parts are merged."""

    def interrupted(source: Path, *argv: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(predict, "merge", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run(source, *argv)

    return interrupted


def test_an_interrupted_command_continues(run, interrupted, tmp_path):
    source = numbered_posts(tmp_path / "posts.csv", 40)
    _, expected, expected_bad = run(source, "--batch_size", "4", output=tmp_path / "expected.jsonl")
    assert rows_of(expected_bad) == [21]
    interrupted(source, "--batch_size", "4")
    part = tmp_path / "out.jsonl.part-0.jsonl"
    assert not (tmp_path / "out.jsonl").exists()
    lines = part.read_bytes().splitlines(keepends=True)[:21]  # the settings and 20 rows
    lines[5] = lines[5].replace(b'"p4"', b'"kept"')
    part.write_bytes(b"".join(lines)[:-7])  # The last line is incomplete.
    code, lines, bad = run(source, "--batch_size", "4")
    assert (code, bad) == (1, expected_bad)
    assert_same(lines, expected)
    assert [line["id"] for line in lines[3:6]] == ["p3", "kept", "p5"]  # Earlier rows are not predicted again.


@pytest.mark.parametrize("change", ["input", "batch_size", "model"])
def test_an_interrupted_command_with_other_settings_is_refused(
    run, interrupted, model, tmp_path, monkeypatch, capsys, change
):
    source = numbered_posts(tmp_path / "posts.csv", 8)
    interrupted(source)
    if change == "input":
        numbered_posts(source, 9)
    if change == "model":  # another processor, with the same weights
        config = model / "processor_config.json"
        config.write_text(config.read_text() + " ")
    argv = ["--batch_size", "5"] if change == "batch_size" else []
    error = usage_error(run, capsys, source, *argv)
    assert "was begun with other settings" in error
    assert change in error


@pytest.mark.slow
def test_a_killed_command_continues(model, tmp_path):
    source, output = numbered_posts(tmp_path / "posts.csv", 3000), tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "mmsent", "predict", *arguments(model, source, output, "--batch_size", "8")]
    part = tmp_path / "out.jsonl.part-0.jsonl"
    for _ in range(2):
        size = part.stat().st_size if part.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not part.exists() or part.stat().st_size < size + 20_000):
            time.sleep(0.01)
        assert process.poll() is None, "the command ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 1
    bad = read(tmp_path / "out.jsonl.bad.jsonl")
    assert rows_of(bad) == [1501]
    assert rows_of(read(output)) == [row for row in range(1, 3002) if row != 1501]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(run, model, tmp_path):
    source, output = numbered_posts(tmp_path / "posts.csv", 100), tmp_path / "two.jsonl"
    _, expected, expected_bad = run(source, "--batch_size", "8")
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "mmsent", "predict", *arguments(model, source, output, "--batch_size", "8")]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    subprocess.run([sys.executable, *command], env=environment, capture_output=True)
    assert read(tmp_path / "two.jsonl.bad.jsonl") == expected_bad
    assert_same(read(output), expected)
    assert list(tmp_path.glob("*.part-*")) == []


MEASURE = """
import resource
from mmsent.inference import predict
code = predict.main()
print("MEMORY", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, code)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(model, tmp_path):
    sizes = []
    for count in (10_000, 100_000):
        source, output = numbered_posts(tmp_path / "posts.csv", count), tmp_path / f"{count}.csv"
        command = [sys.executable, "-c", MEASURE, *arguments(model, source, output, "--batch_size", "512")]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        size, code = map(int, result.stdout.rpartition("MEMORY")[2].split())
        assert code == 1
        sizes.append(size)
        with output.open() as lines:
            assert sum(1 for _ in lines) == count + 1
    assert sizes[1] - sizes[0] < 30, f"peak memory in MiB for 10,000 and for 100,000 rows: {sizes}"

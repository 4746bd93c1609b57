"""predict.py: every kind of file in and out, bad rows, kills, several processes, long files."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from tiny import ROOT
from transformers import pipeline

from mmsent.dataset_scripts import common_tables
from mmsent.inference import predict
from mmsent.inference.post_files import open_posts
from mmsent.modeling.common_pipeline import TASK


@pytest.fixture(scope="module")
def model(backbones, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def run(model, monkeypatch, tmp_path):
    """predict.py in this process; returns its exit code, its lines and its bad rows."""

    def run(source: Path, *argv: str, output: Path = tmp_path / "out.jsonl") -> tuple[int, list[dict], list[dict]]:
        command = ["predict.py", "--model", str(model), "--input", str(source), "--output", str(output), *argv]
        monkeypatch.setattr(sys, "argv", command)
        code = predict.main()
        lines = read(output) if output.suffix == ".jsonl" else []
        return code, lines, read(output.with_name(output.name + ".bad.jsonl"))

    return run


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def wrong_use(run, capsys, source: Path, *argv: str) -> str:
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


# ---------------------------------------------------------------------------------------------------- what comes in


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_table_gives_what_the_pipeline_gives(run, model, tmp_path, kind):
    posts = tiny.posts()
    names = [[f"{post}-{slot}.png" for slot in range(len(images))] for post, images in enumerate(posts["images"])]
    for post, images in enumerate(posts["images"]):
        for name, image in zip(names[post], images, strict=True):
            image.save(tmp_path / name)
    table = [
        {"id": f"é{row}", "text": text, "images": pictures, "aspect": aspect}
        for row, (text, pictures, aspect) in enumerate(zip(posts["text"], names, posts["aspect"], strict=True))
    ]
    source = tmp_path / f"posts.{kind}"
    if kind == "jsonl":
        source.write_text("\n".join(map(json.dumps, table)) + "\n\n")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(table), source)
    else:  # a JSON list in some rows, semicolons in others
        cells = [";".join(pictures) if row % 2 else json.dumps(pictures) for row, pictures in enumerate(names)]
        rows = [[post["id"], post["text"], cell, post["aspect"]] for post, cell in zip(table, cells, strict=True)]
        write_csv(source, [["id", "text", "images", "aspect"], *rows], "\t" if kind == "tsv" else ",")
    code, lines, bad = run(source, "--batch_size", "4")
    assert (code, bad) == (0, [])
    assert rows_of(lines) == [1, 2, 3, 4, 5, 6]
    assert [line["id"] for line in lines] == [f"é{row}" for row in range(6)]
    classify = pipeline(TASK, model=str(model))
    columns = zip(posts["text"], posts["images"], posts["aspect"], strict=True)
    want = classify([{"text": text, "images": images, "aspect": aspect} for text, images, aspect in columns])
    for line, result in zip(lines, want, strict=True):
        assert line["scores"] == pytest.approx({entry["label"]: entry["score"] for entry in result}, abs=1e-5)
        assert line["prediction"] == max(line["scores"], key=line["scores"].get)
        assert list(line["scores"]) == ["negative", "neutral", "positive"]


def test_a_folder_of_posts(run, tmp_path):
    folder = tmp_path / "posts"
    folder.mkdir()
    (folder / "1.txt").write_text("good day", encoding="utf-8-sig")
    tiny.picture(0).save(folder / "1.jpg")
    (folder / "2.txt").write_text("bad day")
    tiny.picture(1).save(folder / "3.PNG")
    (folder / "4.txt").write_bytes(b"caf\xe9")
    (folder / "notes.md").write_text("no post")
    code, lines, bad = run(folder, output=folder / "out.jsonl")
    assert code == 1
    assert [(line["row"], line["id"]) for line in lines] == [(1, "1"), (2, "2"), (3, "3")]
    assert [(line["row"], "utf-8" in line["error"]) for line in bad] == [(4, True)]


def test_pictures_in_parquet(run, tmp_path):
    tiny.picture(0).save(tmp_path / "a.png")
    picture = {"bytes": (tmp_path / "a.png").read_bytes(), "path": None}
    for name, column in (("several", [[picture], [picture, picture]]), ("one", [picture, None])):
        pq.write_table(pa.table({"image": column}), tmp_path / f"{name}.parquet")
        code, lines, _ = run(tmp_path / f"{name}.parquet", output=tmp_path / f"{name}.jsonl")
        assert (code, len(lines)) == (0, 2)


def test_chosen_columns(run, tmp_path):
    (tmp_path / "pictures").mkdir()
    tiny.picture(0).save(tmp_path / "pictures/a.png")
    source = write_csv(tmp_path / "posts.csv", [["nr", "tweet", "file", "target"], ["x", "good", "a.png", "coffee"]])
    columns = ["--text_column", "tweet", "--image_column", "file", "--aspect_column", "target", "--id_column", "nr"]
    code, lines, _ = run(source, *columns, "--image_dir", str(tmp_path / "pictures"))
    assert (code, lines[0]["id"]) == (0, "x")


def test_a_missing_column_is_named_with_those_there_are(run, tmp_path, capsys):
    source = write_csv(tmp_path / "posts.csv", [["nr", "tweet"], ["1", "good"]])
    error = wrong_use(run, capsys, source, "--text_column", "message")
    assert "no column message; its columns are nr, tweet" in error
    assert "its columns are nr, tweet. Choose one with --text_column" in wrong_use(run, capsys, source)
    assert list(tmp_path.glob("out*")) == []


def test_wrong_use(run, tmp_path, capsys):
    source = write_csv(tmp_path / "posts.csv", [["text"], ["good"]])
    assert "no file" in wrong_use(run, capsys, tmp_path / "none.csv")
    assert "neither a folder nor one of" in wrong_use(run, capsys, tmp_path / "posts.xlsx")
    assert "--batch_size 0" in wrong_use(run, capsys, source, "--batch_size", "0")
    assert "must end with one of" in wrong_use(run, capsys, source, "--output", "out.txt")
    (tmp_path / "empty").mkdir()
    assert "has no posts" in wrong_use(run, capsys, tmp_path / "empty")
    assert "no_such_model" in wrong_use(run, capsys, source, "--model", str(tmp_path / "no_such_model"))
    (tmp_path / "out.jsonl").write_text("mine")
    assert "exists already" in wrong_use(run, capsys, source)
    assert (tmp_path / "out.jsonl").read_text() == "mine"


# --------------------------------------------------------------------------------------------------- what goes out


def test_csv_and_parquet_say_what_jsonl_says(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "PARQUET_ROWS", 2)
    source = write_csv(tmp_path / "posts.csv", [["id", "text"], *[[f"p,{row}", f"good {row}"] for row in range(5)]])
    _, lines, _ = run(source)
    want = [
        {"row": line["row"], "id": line["id"], "prediction": line["prediction"]}
        | {f"score_{name}": score for name, score in line["scores"].items()}
        for line in lines
    ]
    run(source, output=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == want
    run(source, output=tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [row["id"] for row in want]
    assert list(tmp_path.glob("*.part-*")) == []
    assert list(tmp_path.glob("*.new")) == []


def test_no_rows(run, tmp_path):
    assert run(write_csv(tmp_path / "posts.csv", [["text"]])) == (0, [], [])
    run(tmp_path / "posts.csv", output=tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


# -------------------------------------------------------------------------------------------------------- bad rows


def test_bad_rows_go_to_a_side_file(run, tmp_path):
    tiny.picture(0).save(tmp_path / "a.png")
    (tmp_path / "page.jpg").write_text("<html></html>")
    source = tmp_path / "posts.csv"
    source.write_bytes(
        b"id,text,images\n"
        b"1,good,a.png\n"
        b"2,good,page.jpg\n"
        b"3,good\n"  # too few fields
        b'4,"good,a.png\n'  # a quote that nobody closes
        b"5,good,a.png\n"
        b"6,caf\xe9,a.png\n"  # Latin-1
        b'7,"good\nday",a.png\n'  # two lines, one record
        b"8,good,none.png\n"
        b"\n"
        b"9,good,[not json\n"
        b"10,good,a.png,a.png\n"
        b"11,good,https://pictures.example/a.png\n"
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
        8: "none.png: [Errno 2]",
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


def test_pictures_stay_in_their_folder(run, tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "secret.png"
    inside.mkdir()
    tiny.picture(0).save(outside)
    tiny.picture(0).save(inside / "a.png")
    (inside / "link.png").symlink_to(outside)
    (inside / "loop.png").symlink_to(inside / "loop.png")
    names = [
        "a.png",
        "../in/a.png",
        "../secret.png",
        str(outside),
        str(inside / "a.png"),
        "link.png",
        "loop.png",
        "\0",
    ]
    source = inside / "posts.jsonl"
    source.write_text("".join(json.dumps({"image": name}) + "\n" for name in names))
    _, lines, bad = run(source)
    assert (rows_of(lines), rows_of(bad)) == ([1, 2], [3, 4, 5, 6, 7, 8])
    assert "--allow_absolute_paths" in bad[0]["error"]
    _, lines, bad = run(source, "--allow_absolute_paths", output=tmp_path / "all.jsonl")
    assert (rows_of(lines), rows_of(bad)) == ([1, 2, 3, 4, 5, 6], [7, 8])


def test_a_megabyte_of_text(run, tmp_path):
    limit = csv.field_size_limit()
    source = write_csv(tmp_path / "posts.csv", [["text"], ["good " * 200_000], ["😀"], ["\u202eיום"], ["\x00"]])
    code, lines, bad = run(source)
    assert (code, rows_of(lines), bad) == (0, [1, 2, 3, 4], [])
    assert csv.field_size_limit() == limit


def test_a_quote_that_is_never_closed_does_not_swallow_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(common_tables, "MAX_CELL", 1000)
    source = tmp_path / "posts.csv"
    source.write_text('text\n"open\n' + "good\n" * 5000)
    rows = list(open_posts(source))
    assert [number for number, row in rows if isinstance(row, ValueError)] == [1]
    assert len(rows) == 5001


# ----------------------------------------------------------------------------------------------------------- resuming


def some_posts(path: Path, count: int) -> Path:
    texts = [[f"p{row}", f"good {tiny.WORDS[row % len(tiny.WORDS)]} {row}"] for row in range(count)]
    return write_csv(path, [["id", "text"], *texts[: count // 2], ["broken"], *texts[count // 2 :]])


def test_goes_on_where_it_was_stopped(run, tmp_path, monkeypatch):
    source = some_posts(tmp_path / "posts.csv", 40)
    _, want, want_bad = run(source, "--batch_size", "4", output=tmp_path / "want.jsonl")
    assert rows_of(want_bad) == [21]
    asked = []
    records = predict.records

    def stops(pipe, posts, rows):
        asked.extend(rows)
        if 23 in rows:
            raise KeyboardInterrupt
        yield from records(pipe, posts, rows)

    monkeypatch.setattr(predict, "records", stops)
    with pytest.raises(KeyboardInterrupt):
        run(source, "--batch_size", "4")
    part = tmp_path / "out.jsonl.part-0.jsonl"
    assert not (tmp_path / "out.jsonl").exists()
    part.write_bytes(part.read_bytes()[:-7])  # a line that the kill cut short
    assert json.loads(part.read_bytes().splitlines()[-2])["row"] == 19
    asked.clear()
    monkeypatch.setattr(
        predict, "records", lambda pipe, posts, rows: (asked.extend(rows), records(pipe, posts, rows))[1]
    )
    code, lines, bad = run(source, "--batch_size", "4")
    assert asked == list(range(20, 42))
    assert (code, bad) == (1, want_bad)
    assert rows_of(lines) == rows_of(want)
    for line, other in zip(lines, want, strict=True):
        assert line["scores"] == pytest.approx(other["scores"], abs=2e-6)


@pytest.mark.parametrize("change", ["input", "batch_size", "model"])
def test_does_not_go_on_with_other_settings(run, model, tmp_path, monkeypatch, capsys, change):
    source = some_posts(tmp_path / "posts.csv", 8)
    monkeypatch.setattr(predict, "merge", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(source)
    if change == "input":
        some_posts(source, 9)
    if change == "model":
        os.utime(model / "model.safetensors")
    argv = ["--batch_size", "5"] if change == "batch_size" else []
    error = wrong_use(run, capsys, source, *argv)
    assert "was begun otherwise" in error
    assert change in error


@pytest.mark.slow
def test_survives_kills(model, tmp_path):
    source, output = some_posts(tmp_path / "posts.csv", 3000), tmp_path / "out.jsonl"
    command = [sys.executable, str(ROOT / "predict.py"), "--model", str(model), "--input", str(source)]
    command += ["--output", str(output), "--batch_size", "8"]
    part = tmp_path / "out.jsonl.part-0.jsonl"
    for _ in range(2):
        size = part.stat().st_size if part.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not part.exists() or part.stat().st_size < size + 20_000):
            time.sleep(0.01)
        assert process.poll() is None, "it was to be killed while it worked"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 1
    bad = read(tmp_path / "out.jsonl.bad.jsonl")
    assert rows_of(bad) == [1501]
    assert rows_of(read(output)) == [row for row in range(1, 3002) if row != 1501]


@pytest.mark.slow
def test_two_processes_write_what_one_writes(run, model, tmp_path):
    source = some_posts(tmp_path / "posts.csv", 100)
    _, want, want_bad = run(source, "--batch_size", "8")
    output = tmp_path / "two.jsonl"
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += [str(ROOT / "predict.py"), "--model", str(model), "--input", str(source), "--batch_size", "8"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    subprocess.run([sys.executable, *command, "--output", str(output)], env=environment, capture_output=True)
    assert read(tmp_path / "two.jsonl.bad.jsonl") == want_bad
    lines = read(output)
    assert rows_of(lines) == rows_of(want)
    for line, other in zip(lines, want, strict=True):
        assert line["scores"] == pytest.approx(other["scores"], abs=2e-6)
    assert list(tmp_path.glob("*.part-*")) == []


LONG = """
import resource, sys
from mmsent.inference import predict
sizes = []
records = predict.records
def measured(pipe, posts, rows):
    sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return records(pipe, posts, rows)
predict.records = measured
code = predict.main()
print("GROWTH", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - sizes[len(sizes) // 10]) // 1024, code)
"""


@pytest.mark.slow
def test_a_long_file_takes_no_more_memory(model, tmp_path):
    count = 100_000
    source = some_posts(tmp_path / "posts.csv", count)
    argv = [
        "--model",
        str(model),
        "--input",
        str(source),
        "--output",
        str(tmp_path / "out.csv"),
        "--batch_size",
        "512",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", LONG, *argv], env=environment, capture_output=True, text=True)
    growth, code = map(int, done.stdout.rpartition("GROWTH")[2].split())
    assert code == 1
    assert growth < 30, f"{growth} MiB more at the end than after a tenth of {count} rows"
    with (tmp_path / "out.csv").open() as lines:
        assert sum(1 for _ in lines) == count + 1

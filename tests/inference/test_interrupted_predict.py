"""What `mmsent predict` does after a kill that came at an unlucky moment. `benchmarks/soak.py` kills it for real."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.inference import predict


@pytest.fixture(scope="module")
def model(backbones, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def run(model, monkeypatch, tmp_path):
    """Predict four posts, and return the lines of the output."""
    (tmp_path / "posts.csv").write_text("text\n" + "".join(f"{'good ' * length}day\n" for length in range(1, 5)))

    def run() -> list[str]:
        output = tmp_path / "out.jsonl"
        argv = ["--model", str(model), "--input", str(tmp_path / "posts.csv"), "--output", str(output)]
        monkeypatch.setattr(sys, "argv", ["mmsent predict", *argv])
        assert predict.main() == 0
        return output.read_text().splitlines()

    return run


def test_temporary_files_of_a_killed_command_are_removed(run, tmp_path):
    for name in ("tmp-0123abcd-out.jsonl", "tmp-0123abcd-out.jsonl.bad.jsonl", "tmp-0123abcd-other-out.jsonl"):
        (tmp_path / name).write_text("{")
    run()
    assert [path.name for path in tmp_path.glob("tmp-*")] == ["tmp-0123abcd-other-out.jsonl"]


def test_the_rest_of_a_batch_is_predicted_with_the_whole_batch(run, tmp_path, monkeypatch):
    """Scores depend on the other posts of a batch in the last digits."""
    lines, batches, predict_rows = run(), [], predict.predict_rows
    part = tmp_path / "out.jsonl.part-0.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        (tmp_path / "out.jsonl").rename(tmp_path / "before.jsonl")
        run()
    kept = part.read_bytes().splitlines(keepends=True)[:3]
    part.write_bytes(b"".join(kept) + b'{"row": 3, "id"')
    (tmp_path / "out.jsonl").rename(tmp_path / "before.jsonl")

    def spied(pipe, posts, rows):
        batches.append(list(rows))
        return predict_rows(pipe, posts, rows)

    monkeypatch.setattr(predict, "predict_rows", spied)
    assert run() == lines
    assert batches == [[1, 2, 3, 4]]
    assert [json.loads(line)["row"] for line in lines] == [1, 2, 3, 4]


def test_two_processes_continue_after_a_kill_between_the_deletions_of_their_parts(tmp_path):
    output = tmp_path / "out.jsonl"
    output.touch()
    with pytest.raises(ValueError, match="exists already"):
        predict.open_part(output, 1, {})
    (tmp_path / "out.jsonl.part-0.jsonl").touch()
    part, last_row = predict.open_part(output, 1, {})
    part.close()
    assert last_row == 0


def test_a_process_without_a_progress_bar_continues(tmp_path, monkeypatch):
    (tmp_path / "posts.csv").write_text("text\ngood\nbad\nso\nday\n")
    monkeypatch.setattr(predict, "predict_rows", lambda pipe, posts, rows: ({"row": number} for number in rows))
    part, second = io.BytesIO(), SimpleNamespace(is_main_process=False, num_processes=2, process_index=1)
    predict.predict(None, open_posts(tmp_path / "posts.csv"), part, last_row=2, batch_size=1, accelerator=second)
    assert [json.loads(line)["row"] for line in part.getvalue().splitlines()] == [4]

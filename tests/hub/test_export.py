"""The command `mmsent export`."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset
from standins import WRITERS, write_msed, write_multi_zol, write_twitter
from tiny import ROOT

from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.dataset_scripts.common_files import content_hash
from mmsent.hub import export as export_module
from mmsent.hub.export import export


@pytest.fixture(autouse=True)
def small_shards(monkeypatch, tmp_path):
    monkeypatch.setattr(export_module, "POSTS_PER_SHARD", 7)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def run_export(monkeypatch, tmp_path):
    """Export a corpus into the folder `out`."""

    def run_export(name, folder, *options, output="out"):
        argv = ["mmsent export", name, "--data_dir", str(folder), "--output", str(tmp_path / output), *options]
        monkeypatch.setattr(sys, "argv", argv)
        export_module.main()
        return tmp_path / output

    return run_export


def assert_same_rows(one, other):
    assert set(one) == set(other)
    for split in one:
        assert one[split].features == other[split].features
        for a, b in zip(one[split], other[split], strict=True):
            images = [[np.asarray(image) for image in row.pop("images")] for row in (a, b)]
            assert a == b
            for x, y in zip(*images, strict=True):
                np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", WRITERS)
def test_identical_rows_without_the_release(name, tmp_path, load, run_export, capsys):
    folder = WRITERS[name](tmp_path / name)
    output = run_export(name, folder)
    corpus = load(name, data_dir=str(folder))
    assert f"{sum(corpus.num_rows.values())} posts are in {output}" in capsys.readouterr().out
    folder.rename(tmp_path / "away")  # The export holds the images.
    exported = load(str(output))
    (tmp_path / "away").rename(folder)
    assert_same_rows(corpus, exported)
    assert {path.suffix for path in output.rglob("*") if path.is_file()} == {".md", ".parquet"}


@pytest.mark.slow
def test_the_command_and_a_process_without_this_project(tmp_path):
    folder = write_msed(tmp_path / "msed")
    command = [Path(sys.executable).with_name("mmsent"), "export", "msed", "--data_dir", folder, "--output", "out"]
    subprocess.run(command, check=True, cwd=tmp_path)
    code = "import datasets; print(datasets.load_dataset('./out')['train'][0]['images'])"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "size=24x18" in result.stdout


def test_card(tmp_path, run_export):
    folder = write_multi_zol(tmp_path / "zol")
    output = run_export("multi_zol", folder, "--config", "review")
    _, front, body = (output / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(front)
    assert (front["license"], front["language"], front["pretty_name"]) == ("other", "zh", "Multi-ZOL")
    assert front["configs"][0]["config_name"] == "review"
    assert {"split": "train", "path": "data/train-*.parquet"} in front["configs"][0]["data_files"]
    assert "Redistribution: **forbidden** (the README of its release forbids publication)." in body
    assert "| `label` | class: 1, 2, 3, 4, 5, 6, 8, 10 |" in body
    assert "| `images` | list of images |" in body
    assert "\nSplits: 8:1:1 by a hash of the review" in body
    assert "\n| split | posts | 1 | 2 | 3 | 4 | 5 | 6 | 8 | 10 |\n|---|---|---" in body
    for split, posts in load_dataset("multi_zol", "review", data_dir=str(folder)).items():
        assert f"\n| {split} | {len(posts)} | " in body
    for path in (output / "data").iterdir():
        assert f"\n{content_hash(path)}  data/{path.name}\n" in body
    assert str(tmp_path) not in body
    assert "<" not in body.replace("<tab>", "").replace("<https", "").replace("<this folder or repository>", "")


def test_card_of_listed_splits(release, tmp_path, load):
    export(load("mvsa_single", data_dir=str(release)), "mvsa_single", "clmlf", tmp_path / "out")
    body = (tmp_path / "out" / "README.md").read_text()
    sums = (ROOT / "dataset_scripts/mvsa/splits/mvsa_single/clmlf/SHA256SUMS").read_text().split()
    for checksum, name in zip(sums[::2], sums[1::2], strict=True):
        assert f"{checksum}  {name} (ids)" in body
    assert "\n- train: 3606 listed posts are missing\n" in body
    assert "Redistribution: **unclear**" in body


def test_finished_export_is_not_overwritten(tmp_path, run_export, capsys):
    folder = write_msed(tmp_path / "msed")
    output = run_export("msed", folder)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="2"):
        run_export("msed", folder)
    assert "out holds a finished export: choose another folder, or remove it" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="2"):
        run_export("msed", folder, output="other")
    assert "other holds other files: choose another folder" in capsys.readouterr().err


def test_interrupted_export_continues(tmp_path, load, monkeypatch):
    corpus = load("multi_zol", data_dir=str(write_multi_zol(tmp_path / "zol")))
    output, written = tmp_path / "out", []
    write_table = export_module.pq.write_table

    def interrupted(table, path, **kwargs):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write_table(table, path, **kwargs)

    monkeypatch.setattr(export_module.pq, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(corpus, "multi_zol", "official", output)
    monkeypatch.setattr(export_module.pq, "write_table", write_table)
    assert not (output / "README.md").exists()
    shards = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    assert len(shards) == 2
    with pytest.raises(FileExistsError, match="a part of another export"):
        export(corpus, "multi_zol", "review", output)

    (output / "data" / "tmp-1234-test-00000-of-00001.parquet").write_bytes(b"half of a shard")  # of a killed process
    export(corpus, "multi_zol", "official", output)
    assert shards == {path: path.stat().st_mtime_ns for path in shards}
    assert_same_rows(corpus, load(str(output)))
    assert not (output / ".export.json").exists()
    assert not list(output.rglob("tmp-*"))


@pytest.mark.parametrize("policy", ["error", "skip", "missing"])
def test_images_that_cannot_be_decoded(tmp_path, load, policy, capsys, run_export):
    folder = write_twitter(tmp_path / "twitter2015")
    (folder / "images" / "3.jpg").unlink()
    (folder / "images" / "4.jpg").write_bytes(b"not an image")
    if policy == "error":
        with pytest.raises(SystemExit, match="2"):
            run_export("twitter2015", folder)
        error = capsys.readouterr().err
        assert re.search(r"error: 2 images cannot be decoded: .*3\.jpg: .*4\.jpg: ", error)
        assert not (tmp_path / "out").exists()
        return
    output = run_export("twitter2015", folder, "--on_bad_image", policy)
    assert "train: 1 images cannot be decoded: post train-4" in capsys.readouterr().out
    rows = undecoded(load(str(output))["train"])
    assert len(rows) == (3 if policy == "skip" else 4)
    if policy == "missing":
        assert rows[3]["images"] == []


@pytest.mark.slow
def test_a_killed_export_continues(tmp_path):
    """The process is killed while it writes shards, then the same command runs again."""
    code = (
        "import sys, time, mmsent.hub.export as e\n"
        "e.POSTS_PER_SHARD, write, delay = 100, e.pq.write_table, float(sys.argv.pop())\n"
        "e.pq.write_table = lambda *args, **kwargs: (write(*args, **kwargs), time.sleep(delay))\n"
        "e.main()"
    )
    command = [sys.executable, "-c", code, "sample_posts", "--output", str(tmp_path / "out")]
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen([*command, "0.5"], env=environment)
    while len(list((tmp_path / "out").rglob("*.parquet"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "0"], env=environment, check=True)
    assert_same_rows(load_dataset("sample_posts"), load_dataset(str(tmp_path / "out")))

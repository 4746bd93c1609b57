import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from datasets import Image, List, load_dataset
from standins import write_flickr_table, write_msed, write_multi_zol, write_twitter
from tiny import ROOT

from mmsent.dataset_scripts.common_files import content_hash
from mmsent.hub import export as export_module
from mmsent.hub.corpora import main
from mmsent.hub.export import export


@pytest.fixture(autouse=True)
def small_shards(monkeypatch, tmp_path):
    monkeypatch.setattr(export_module, "POSTS_A_SHARD", 7)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))


def assert_same_rows(one, other):
    assert set(one) == set(other)
    for split in one:
        assert one[split].features == other[split].features
        for a, b in zip(one[split], other[split], strict=True):
            pictures = [[np.asarray(image) for image in row.pop("images")] for row in (a, b)]
            assert a == b
            for x, y in zip(*pictures, strict=True):
                np.testing.assert_array_equal(x, y)


WRITERS = {
    "twitter2015": write_twitter,
    "multi_zol": write_multi_zol,
    "msed": write_msed,
    "vso": write_flickr_table,
}


@pytest.mark.parametrize("name", WRITERS)
def test_identical_rows_and_no_code_needed(name, tmp_path, load, capsys):
    folder = WRITERS[name](tmp_path / name)
    main(["export", name, "--data_dir", str(folder), "--output", str(tmp_path / "out")])
    corpus = load(name, data_dir=str(folder))
    assert f"{sum(corpus.num_rows.values())} posts are in {tmp_path / 'out'}" in capsys.readouterr().out
    folder.rename(tmp_path / "away")  # the pictures are inside
    exported = load(str(tmp_path / "out"))
    (tmp_path / "away").rename(folder)
    assert_same_rows(corpus, exported)
    names = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert all(file.endswith(".parquet") for file in names if file != "README.md")


def test_in_a_process_without_this_project(tmp_path):
    main(["export", "msed", "--data_dir", str(write_msed(tmp_path / "msed")), "--output", str(tmp_path / "out")])
    code = f"import datasets; print(datasets.load_dataset({str(tmp_path / 'out')!r})['train'][0]['images'])"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=os.environ
    )
    assert "size=24x18" in result.stdout


def test_card(tmp_path):
    folder = write_multi_zol(tmp_path / "zol")
    main(["export", "multi_zol", "--config", "review", "--data_dir", str(folder), "--output", str(tmp_path / "out")])
    _, front, body = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["license"] == "other"
    assert front["language"] == "zh"
    assert front["configs"][0]["config_name"] == "review"
    assert {"split": "train", "path": "data/train-*.parquet"} in front["configs"][0]["data_files"]
    assert "Redistribution: **forbidden** (the README of its release forbids to pass it on)." in body
    assert "| `label` | class: 1, 2, 3, 4, 5, 6, 8, 10 |" in body
    assert "| `images` | list of pictures |" in body
    assert "Splits: 8:1:1 by a hash of the review" in body
    corpus = load_dataset("multi_zol", "review", data_dir=str(folder))
    for split, posts in corpus.items():
        assert f"| {split} | {len(posts)} |" in body
    for path in (tmp_path / "out" / "data").iterdir():
        assert f"{content_hash(path)}  data/{path.name}" in body
    assert str(tmp_path) not in body
    assert "<" not in body.replace("<tab>", "").replace("<https", "").replace("<this folder or repository>", "")


def test_card_of_listed_splits(release, tmp_path, load):
    export(load("mvsa_single", data_dir=str(release)), "mvsa_single", "clmlf", tmp_path / "out")
    body = (tmp_path / "out" / "README.md").read_text()
    sums = (ROOT / "dataset_scripts/mvsa/splits/mvsa_single/clmlf/SHA256SUMS").read_text().split()
    for checksum, name in zip(sums[::2], sums[1::2], strict=True):
        assert f"{checksum}  {name} (ids)" in body
    assert "- train: 3606 listed posts were not at hand" in body
    assert "Redistribution: **unclear**" in body


def test_finished_export_is_not_overwritten(tmp_path):
    folder = write_msed(tmp_path / "msed")
    command = ["export", "msed", "--data_dir", str(folder), "--output", str(tmp_path / "out")]
    main(command)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="out holds a finished export: give another folder, or remove it first"):
        main(command)
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="other is not empty: give another folder"):
        main([*command[:-1], str(tmp_path / "other")])


def test_interrupted_export_goes_on(tmp_path, load, monkeypatch):
    corpus = load("multi_zol", data_dir=str(write_multi_zol(tmp_path / "zol")))
    output, written = tmp_path / "out", []
    real = export_module._write_shard

    def write(posts, start, path):
        if len(written) == 2:
            path.with_suffix(".part").write_bytes(b"half of a shard")
            raise KeyboardInterrupt
        written.append(path)
        real(posts, start, path)

    monkeypatch.setattr(export_module, "_write_shard", write)
    with pytest.raises(KeyboardInterrupt):
        export(corpus, "multi_zol", "official", output)
    assert not (output / "README.md").exists()
    with pytest.raises(FileExistsError, match="part of another export"):
        export(corpus, "multi_zol", "review", output)
    kept = {path: path.stat().st_mtime_ns for path in written}

    monkeypatch.setattr(export_module, "_write_shard", real)
    export(corpus, "multi_zol", "official", output)
    assert kept == {path: path.stat().st_mtime_ns for path in written}
    assert_same_rows(corpus, load(str(output)))
    assert not (output / ".export.json").exists()
    assert not list(output.rglob("*.part"))


@pytest.mark.slow
def test_killed_export_goes_on(tmp_path):
    """kill -9 while shards are written, then the same command again."""
    code = (
        "import sys, time, dataset_scripts.export as e; from dataset_scripts.__main__ import main\n"
        "e.POSTS_A_SHARD = 100; real = e._write_shard\n"
        "def slow(*args): real(*args); time.sleep(float(sys.argv[2]))\n"
        "e._write_shard = slow; main(['export', 'sample_posts', '--output', sys.argv[1]])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen([*command, "0.5"], env=environment)
    while len(list((tmp_path / "out").rglob("*.parquet"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "0"], env=environment, check=True)
    assert_same_rows(load_dataset("sample_posts"), load_dataset(str(tmp_path / "out")))


@pytest.mark.parametrize("policy", ["error", "skip", "missing"])
def test_pictures_that_cannot_be_read(tmp_path, load, policy, capsys):
    folder = write_twitter(tmp_path / "twitter2015")
    (folder / "images" / "3.jpg").unlink()
    (folder / "images" / "4.jpg").write_bytes(b"no picture")
    command = ["export", "twitter2015", "--data_dir", str(folder), "--output", str(tmp_path / "out")]
    if policy == "error":
        with pytest.raises(SystemExit, match=r"error: 2 images cannot be decoded:\n.*3\.jpg: .*\n.*4\.jpg: "):
            main(command)
        assert not (tmp_path / "out").exists()
        return
    main([*command, "--on_bad_image", policy])
    assert "train: 1 pictures cannot be read: post train-4" in capsys.readouterr().out
    rows = load(str(tmp_path / "out"))["train"].cast_column("images", List(Image(decode=False)))
    assert len(rows) == (3 if policy == "skip" else 4)
    if policy == "missing":
        assert rows[3]["images"] == []


def test_state_is_json(tmp_path):
    """No pickle on the way."""
    export_module._claim(tmp_path / "out", {"corpus": "x"})
    assert json.loads((tmp_path / "out" / ".export.json").read_text()) == {"corpus": "x"}

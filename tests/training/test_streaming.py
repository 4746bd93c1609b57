"""Streamed corpora: each post is read once per pass and per evaluation; exact resuming; clear refusals."""

import json
import os
import subprocess
from pathlib import Path

import datasets
import pytest
import tiny
from datasets import Dataset, Image, List, load_dataset
from PIL import Image as Pictures
from small_runs import POSTS, TWO_PROCESSES, Killed, start_script, write_corpus
from tiny import ROOT
from torch.utils.data import DataLoader

from mmsent.dataset_scripts.common_schema import features
from mmsent.modeling.common_images import BadImageError
from mmsent.training import streaming
from mmsent.training.arguments import RunArguments
from mmsent.training.collator import PostCollator
from mmsent.training.run_folder import checkpoints
from mmsent.training.stages import stage_steps
from mmsent.training.streaming import StreamedPosts, adapt_arguments, outline
from mmsent.training.trainer import MultimodalTrainer


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch):
    """datasets sleeps for five seconds after each pass over several Parquet files."""
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


@pytest.fixture(scope="session")
def parquet(tmp_path_factory) -> Path:
    """A few posts with their images in Parquet files: three for the training split, one for each other split."""
    return write_corpus(tmp_path_factory.mktemp("streamed"), train_files=3)


@pytest.fixture
def arguments(parquet, backbones) -> list[str]:
    """Arguments without --streaming. A pass over the 48 posts is six steps."""
    return [
        *("--dataset", str(parquet), "--image_encoder", backbones["vit"], "--max_steps", "10"),
        *("--model_kwargs", "text_hidden_size=16", "dropout=0.3", "--per_device_train_batch_size", "8"),
        *("--num_train_epochs", "5", "--load_best_model_at_end", "false"),
    ]


STREAM = ["--streaming", "true"]


def make_stream(count: int = 24, shards: int = 1, images=lambda row: []):
    rows = [
        {"id": str(row), "text": "", "images": images(row), "aspect": None}
        | {"label": row % 3, "text_label": None, "image_label": None}
        for row in range(count)
    ]
    stream = Dataset.from_list(rows, features=features()).to_iterable_dataset(num_shards=shards)
    return stream.cast_column("images", List(Image(decode=False)))


def ids(posts, rows) -> list[str]:
    return [posts[row]["id"] for row in rows]


@pytest.mark.parametrize("shares", [1, 2, 3, 4])
@pytest.mark.parametrize("files", [1, 4])
def test_each_post_is_read_once_per_pass(shares, files):
    stream = make_stream(shards=files).shuffle(seed=0, buffer_size=8)
    posts = StreamedPosts(stream, "error", length=48, shares=shares, batch_size=2)
    passes = [ids(posts, rows) for rows in (range(24), range(24, 48))]
    for one_pass in passes:
        assert sorted(map(int, one_pass)) == list(range(24))
    assert passes[0] != passes[1]
    # A process that takes every n-th batch reads the same posts as if it read all batches.
    own_rows = [row for row in range(48) if row // 2 % shares == 1 % shares]
    alone = StreamedPosts(stream, "error", length=48, shares=shares, batch_size=2)
    both = passes[0] + passes[1]
    assert ids(alone, own_rows) == [both[row] for row in own_rows]


def test_a_process_reads_its_own_files_only():
    read = set()
    stream = make_stream(shards=4).map(lambda post: read.add(post["id"]) or post)
    posts = StreamedPosts(stream, "error", length=24, shares=2)
    own = ids(posts, range(0, 24, 2))
    assert len(own) == 12
    assert read == set(own)


def test_reading_continues_from_any_row(monkeypatch):
    stream = make_stream(shards=2).shuffle(seed=0, buffer_size=8)
    straight = ids(StreamedPosts(stream, "error", 60, 2, 3), range(60))
    monkeypatch.setattr(streaming, "decode_errors", None)  # Skipped posts are not decoded.
    assert ids(StreamedPosts(stream, "error", 60, 2, 3), range(37, 60)) == straight[37:]
    posts = StreamedPosts(stream, "error", 60, 2, 3)
    assert ids(posts, range(20)) + ids(posts, range(10)) == straight[:20] + straight[:10]


def post_ids(posts) -> list[str]:
    return [post["id"] for post in posts]


def test_workers_read_the_same_batches():
    stream = make_stream(shards=4).shuffle(seed=0, buffer_size=8)
    loaders = [
        DataLoader(StreamedPosts(stream, "error", 48, 2, 4), 4, collate_fn=post_ids, num_workers=workers)
        for workers in (0, 2)
    ]
    assert list(loaders[0]) == list(loaders[1])


def test_a_share_without_posts():
    with pytest.raises(ValueError, match="Share 3 of 3 of the stream is empty: use fewer processes"):
        StreamedPosts(make_stream(2), "error", 6, shares=3)[2]


@pytest.fixture
def spoiled(tmp_path):
    """A stream of four posts. The second has a good image and one that is cut off."""
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    Pictures.new("RGB", (30, 20)).save(good)
    Pictures.effect_noise((64, 64), 90).save(bad)
    bad.write_bytes(bad.read_bytes()[:900])
    return make_stream(4, images=lambda row: [str(good), str(bad)] if row == 1 else [str(good)])


@pytest.mark.parametrize(("policy", "counts"), [("error", [1, 2, 1, 1]), ("skip", [1, 1, 1]), ("missing", [1] * 4)])
def test_bad_images(spoiled, policy, counts, caplog):
    rows = outline(spoiled, policy)
    posts = StreamedPosts(spoiled, policy, len(rows))
    assert ids(posts, range(len(posts))) == list(rows["id"])
    assert [len(posts[row]["images"]) for row in range(len(posts))] == counts
    assert [len(images) for images in rows["images"]] == counts
    assert ("post 1: " in caplog.text and "bad.jpg" in caplog.text) == (policy != "error")


def test_a_bad_image_stops_the_collator(spoiled, backbones):
    processor, _ = tiny.build("comn", "own", backbones)
    with pytest.raises(BadImageError, match=r"bad\.jpg"):
        PostCollator(processor)([StreamedPosts(spoiled, "error", 4)[1]])


def test_a_run_like_any_other(run, arguments, tmp_path, capsys):
    """Without training, the scores are those of the corpus that is not streamed. There are five evaluations."""
    fixed = [*arguments, "--learning_rate", "0", "--model_kwargs", "standardize=false"]
    whole = run(tmp_path / "whole", *fixed)
    capsys.readouterr()
    streamed = run(
        tmp_path / "streamed", *fixed, *STREAM, "--class_weights", "balanced", "--image_augmentation", "flip"
    )
    assert streamed["scores"] == whole["scores"]
    assert streamed["majority"] == whole["majority"]
    assert whole.keys() == streamed.keys()
    for split in ("validation", "test"):
        one, other = (tmp_path / name / f"predictions_{split}.jsonl" for name in ("whole", "streamed"))
        assert one.read_text() == other.read_text()
    assert [entry["step"] for entry in streamed["log"] if "eval_accuracy" in entry] == [2, 4, 6, 8, 10]
    assert len(streamed["class_weights"]) == 3
    assert streamed["posts"] == {"validation": 25, "test": 23}
    assert streamed["corpus_sha256"] is None
    assert "streamed: it has no checksum" in streamed["notes"][-1]
    assert "the majority class are those of 48 training posts" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_interrupted_streams_resume_exactly(run, kill, arguments, tmp_path, workers):
    """The run is killed in the first pass over the posts and in the second."""
    argv = [*arguments, *STREAM, "--dataloader_num_workers", workers, "--gradient_accumulation_steps", "2"]
    argv += ["--per_device_train_batch_size", "4", "--image_augmentation", "crop", "--learning_rate", "3e-3"]
    straight = run(tmp_path / "straight", *argv)
    for last_checkpoint in (4, 8):
        kill(MultimodalTrainer, "training_step", 11)
        with pytest.raises(Killed):
            run(tmp_path / "killed", *argv)
        assert checkpoints(tmp_path / "killed")[-1].name == f"checkpoint-{last_checkpoint}"
    if workers == "0":
        with pytest.raises(ValueError, match="stream_shares was 1, is now 3"):
            run(tmp_path / "killed", *argv, "--dataloader_num_workers", "3")
    resumed = run(tmp_path / "killed", *argv)
    assert resumed["weights_sha256"] == straight["weights_sha256"]
    assert resumed["scores"] == straight["scores"]


@pytest.mark.slow
def test_a_builder_streams_too(run, tmp_path):
    small = ["--max_steps", "1", "--model_kwargs", "text_hidden_size=8"]
    streamed = run(tmp_path / "run", *STREAM, *small, "--per_device_train_batch_size", "8")
    assert streamed["posts"] == {"validation": 270, "test": 270}
    assert "decided_by = both" in streamed["scores"]["test"]["subgroups"]


@pytest.mark.slow
def test_two_processes(arguments, tmp_path):
    """Six steps of eight posts are one pass without repeated posts. Each of 25 and 23 posts is evaluated once."""
    script = start_script(
        tmp_path,
        "from mmsent.training.collator import PostCollator as owner",
        "__call__",
        f"open({str(tmp_path / 'ids')!r} + os.environ['RANK'], 'a').writelines(p['id'] + chr(10) for p in args[0])",
    )
    command = [*TWO_PROCESSES, script, *arguments, *STREAM, "--per_device_train_batch_size", "4"]
    command += ["--max_steps", "6", "--per_device_eval_batch_size", "4", "--output_dir", str(tmp_path / "run")]
    command += ["--report_to", "none", "--disable_tqdm", "true", "--use_cpu", "True"]
    subprocess.run(command, cwd=ROOT, env=os.environ, check=True)
    train = set(load_dataset("sample_posts", split="train")["id"])
    lines = [line for rank in "01" for line in (tmp_path / f"ids{rank}").read_text().split() if line in train]
    assert len(lines) == len(set(lines)) == 48
    report = json.loads((tmp_path / "run" / "run.json").read_text())
    assert report["processes"] == 2
    last = [entry["eval_accuracy"] for entry in report["log"] if "eval_accuracy" in entry][-1]
    assert last == report["scores"]["validation"]["accuracy"]
    for split in ("validation", "test"):
        lines = (tmp_path / "run" / f"predictions_{split}.jsonl").read_text().splitlines()
        assert len({json.loads(line)["id"] for line in lines}) == len(lines) == POSTS[split]
        right = sum(json.loads(line)["prediction"] == json.loads(line)["label"] for line in lines)
        assert right / len(lines) == pytest.approx(report["scores"][split]["accuracy"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "streaming needs --max_steps"),
        (["--max_steps", "5", "--cache_features", "--model_kwargs", "freeze_text=true"], "combined with cache_feat"),
        (["--max_steps", "5", "--train_sampling_strategy", "group_by_length"], "with train_sampling_strategy"),
        (["--max_steps", "5", "--min_confidence", "0.6"], "combined with min_confidence"),
    ],
)
def test_refused_before_anything_is_read(run, tmp_path, monkeypatch, argv, message):
    monkeypatch.setattr("mmsent.training.posts.load_source", None)
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", *STREAM, *argv)


def test_nothing_is_stored(run, arguments, tmp_path, monkeypatch):
    """The cache of datasets stays empty."""
    monkeypatch.setattr("datasets.builder.DatasetBuilder.download_and_prepare", None)
    run(tmp_path / "run", *arguments, *STREAM, "--max_steps", "1")


def test_stages_of_a_stream_are_shares_of_max_steps(tmp_path):
    args = RunArguments(output_dir=str(tmp_path), max_steps=100, num_train_epochs=4, text_from_epoch=1)
    adapt_arguments(args)
    assert stage_steps(args, 100, steps_per_epoch=100)["text"] == range(25, 100)

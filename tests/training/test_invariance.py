"""Settings of the command line that must not change the training: accumulated batches, the number of processes,
interruptions, evaluation in the order of lengths; and the folder of a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from small_runs import POSTS, TWO_PROCESSES, Killed, start_script, without_durations, write_corpus
from tiny import ROOT

from mmsent.dataset_scripts.common_files import content_hash
from mmsent.training.run_folder import checkpoints, step_of
from mmsent.training.trainer import MultimodalTrainer


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), seed=0)


@pytest.fixture
def arguments(corpus, backbones) -> list[str]:
    """Arguments of a run where nothing is random and no post depends on the others of its batch."""
    return [
        *("--dataset", str(corpus), "--image_encoder", backbones["vit"]),
        *("--model_kwargs", "dropout=0.0", "standardize=false", "text_hidden_size=16"),
        *("--num_train_epochs", "2", "--learning_rate", "3e-3", "--per_device_train_batch_size", "16"),
        *("--logging_strategy", "steps", "--logging_steps", "1", "--report_to", "none", "--disable_tqdm", "true"),
    ]


@pytest.fixture
def run(run, arguments):
    """Return a function that runs train.py in this process and returns its run.json."""
    return lambda folder, *argv: run(folder, *arguments, *argv)


def losses(report: dict) -> list[float]:
    return [row[name] for row in report["log"] for name in ("loss", "eval_loss") if name in row]


def assert_one_trajectory(one: Path, other: Path) -> None:
    reports = [json.loads((folder / "run.json").read_text()) for folder in (one, other)]
    assert len(losses(reports[0])) == 2 * 3 + 2
    assert losses(reports[1]) == pytest.approx(losses(reports[0]), rel=2e-4)
    weights = [load_file(folder / "model.safetensors") for folder in (one, other)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, atol=2e-4, err_msg=name)
    assert reports[0]["scores"] == reports[1]["scores"]
    for split in ("validation", "test"):
        rows = [(folder / f"predictions_{split}.jsonl").read_text().splitlines() for folder in (one, other)]
        assert len(rows[0]) == POSTS[split]
        ids = [[json.loads(line)["id"] for line in lines] for lines in rows]
        assert ids[0] == ids[1]


def test_accumulated_batches(run, tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2")
    assert_one_trajectory(tmp_path / "whole", tmp_path / "parts")


ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
ACCELERATE += ["--config_file", "configs/accelerate/cpu_two_processes.yaml"]
# FeatureNorm takes its statistics, through which gradients flow, from the posts of both processes. The gradients of
# the weights of ViT's last norm are then rounding errors, which Adam would make as large as any other, so SGD is used.
STANDARDIZED = ["--model_kwargs", "standardize=true", "--optim", "sgd"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"),
    [
        (TWO_PROCESSES, []),
        (TWO_PROCESSES, ["--train_sampling_strategy", "group_by_length"]),
        (TWO_PROCESSES, STANDARDIZED),
        (ACCELERATE, []),
    ],
)
def test_two_processes(run, arguments, tmp_path, launcher, options):
    """Each post is evaluated once: 25 and 23 posts in batches of 8."""
    arguments += ["--per_device_eval_batch_size", "8", *options]
    run(tmp_path / "one")
    argv = [*arguments, "--per_device_train_batch_size", "8", "--output_dir", str(tmp_path / "two")]
    subprocess.run([*launcher, "train.py", *argv, "--use_cpu", "True"], cwd=ROOT, env=os.environ, check=True)
    one, two = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two"))
    assert two["processes"] == 2
    assert two["calibration"]["temperature"] == pytest.approx(one["calibration"]["temperature"], rel=1e-3)
    saved = json.loads((tmp_path / "two" / "config.json").read_text())
    assert saved["score_temperature"] == two["calibration"]["temperature"]
    assert_one_trajectory(tmp_path / "one", tmp_path / "two")


EXACT = ["--model_kwargs", "dropout=0.3", "--image_augmentation", "flip", "crop", "--early_stopping_patience", "8"]
EXACT += ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2", "--num_train_epochs", "3"]
EXACT += ["--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2"]
EXACT += ["--logging_steps", "5"]


@pytest.mark.slow
def test_interrupted_runs(run, kill, tmp_path, capsys):
    """The same command resumes a run that was killed in a step, an evaluation, a checkpoint and the last report."""
    straight = run(tmp_path / "straight", *EXACT)
    folder = tmp_path / "killed"
    # A checkpoint calls torch.save four times.
    places = [(MultimodalTrainer, "training_step", 19), (MultimodalTrainer, "prediction_step", 3)]
    places += [(torch, "save", 6), (MultimodalTrainer, "predict", 1)]
    for place in places:
        kill(*place)
        with pytest.raises(Killed):
            run(folder, *EXACT)
        assert checkpoints(folder)
        assert not (folder / "run.json").exists()
    capsys.readouterr()
    resumed = run(folder, *EXACT)
    assert f"{folder} holds an interrupted run, which resumes from checkpoint-18." in capsys.readouterr().out
    assert resumed["weights_sha256"] == straight["weights_sha256"] == content_hash(folder / "model.safetensors")
    assert resumed["scores"] == straight["scores"]
    assert without_durations(resumed["log"]) == without_durations(straight["log"])
    names = [sorted(path.name for path in f.iterdir()) for f in (folder, tmp_path / "straight")]
    assert names[0] == names[1]
    with pytest.raises(ValueError, match="holds a trained model"):
        run(folder, *EXACT)


@pytest.mark.slow
def test_two_processes_resume(arguments, tmp_path):
    """The run resumes within the second epoch, where accelerate alone would give the processes posts of the first."""
    argv = [*arguments, *EXACT, "--per_device_train_batch_size", "2", "--use_cpu", "True"]

    def start(folder, last_step):
        script = start_script(
            tmp_path,
            "from mmsent.training.trainer import MultimodalTrainer as owner",
            "training_step",
            f"self.state.global_step == {last_step} and os.kill(os.getpid(), 9)",
        )
        command = [*TWO_PROCESSES, script, *argv, "--output_dir", str(folder)]
        return subprocess.run(command, cwd=ROOT, env=os.environ).returncode

    assert start(tmp_path / "straight", -1) == 0
    assert start(tmp_path / "killed", 11) != 0
    assert [step_of(path) for path in checkpoints(tmp_path / "killed")][-1] == 10
    assert start(tmp_path / "killed", -1) == 0
    reports = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("straight", "killed")]
    assert reports[0]["weights_sha256"] == reports[1]["weights_sha256"]
    assert without_durations(reports[0]["log"]) == without_durations(reports[1]["log"])


@pytest.mark.slow
def test_seed_and_provenance(run, tmp_path):
    one, other = run(tmp_path / "one"), run(tmp_path / "other")
    assert one["weights_sha256"] == other["weights_sha256"]
    assert run(tmp_path / "third", "--seed", "7")["weights_sha256"] != one["weights_sha256"]
    assert one["corpus_sha256"] == other["corpus_sha256"]
    assert len(one["corpus_sha256"]) == 64
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert one["git"] is None if revision.returncode else one["git"].startswith(revision.stdout.strip())


@pytest.mark.slow
def test_other_settings_are_refused(run, kill, tmp_path):
    kill(MultimodalTrainer, "training_step", 5)
    with pytest.raises(Killed):
        run(tmp_path)
    other = ["--learning_rate", "0.01", "--model_kwargs", "hops=3", "--dataloader_num_workers", "1"]
    other += ["--save_total_limit", "5"]
    expected = "holds an interrupted run with other settings: learning_rate was 0.003, is now 0.01; "
    with pytest.raises(ValueError, match=expected) as stop:
        run(tmp_path, *other)
    assert "model_kwargs was" in str(stop.value)
    assert "overwrite" in str(stop.value)
    assert "workers" not in str(stop.value)  # These two change nothing.
    assert "save_total_limit" not in str(stop.value)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    report = run(tmp_path, *other, "--overwrite")
    assert report["log"][0]["step"] == 1


def test_another_corpus_is_refused(run, kill, tmp_path):
    corpus = ["--dataset", str(write_corpus(tmp_path / "corpus", seed=0))]
    kill(MultimodalTrainer, "training_step", 5)
    with pytest.raises(Killed):
        run(tmp_path / "run", *corpus)
    write_corpus(tmp_path / "corpus", seed=1)
    with pytest.raises(ValueError, match="corpus_sha256 was .*, is now "):
        run(tmp_path / "run", *corpus)


def test_killed_before_the_first_checkpoint(run, kill, tmp_path):
    kill(MultimodalTrainer, "training_step", 2)
    with pytest.raises(Killed):
        run(tmp_path)
    (tmp_path / "checkpoint-9").mkdir()  # It is incomplete.
    assert run(tmp_path, "--seed", "3")["seed"] == 3  # Nothing is resumed, so the settings may change.
    assert not (tmp_path / "checkpoint-9").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint-10"])
def test_files_of_other_programs_are_not_touched(run, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="holds a trained model. Give another --output_dir, or --overwrite"):
        run(tmp_path)
    assert (tmp_path / name).exists()


def test_a_full_disk_at_the_end(run, tmp_path, monkeypatch):
    save = MultimodalTrainer.save_model

    def full(self, output_dir=None, _internal_call=False):
        if not _internal_call:
            raise OSError(28, "No space left on device")
        save(self, output_dir, _internal_call)

    with monkeypatch.context() as patch:
        patch.setattr(MultimodalTrainer, "save_model", full)
        with pytest.raises(OSError, match="the trained model could not be written .* continues from checkpoint-6"):
            run(tmp_path)
    assert run(tmp_path)["log"][0]["step"] == 1


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_settings(path):
    settings = load_config_from_file(str(path))
    kinds = {"single_gpu": "NO", "multi_gpu_ddp": "MULTI_GPU", "cpu_two_processes": "MULTI_GPU", "fsdp": "FSDP"}
    assert settings.distributed_type == kinds.get(path.stem, "DEEPSPEED")
    assert settings.num_processes == (1 if path.stem == "single_gpu" else 2)
    assert settings.use_cpu == (path.stem == "cpu_two_processes")

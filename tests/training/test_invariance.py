"""Settings that must give one and the same training, through the command line: batch x accumulation, the number of
processes, interruptions, buckets of evaluation; and what the folder of a run says about where it comes from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from accelerate.commands.config.config_args import load_config_from_file
from datasets import load_dataset
from safetensors.torch import load_file
from tiny import ROOT

import train
from mmsent.dataset_scripts.common_files import content_hash
from mmsent.training import trainer
from mmsent.training.run_folder import checkpoints, is_complete, step_of
from mmsent.training.trainer import MultimodalTrainer

POSTS = {"train": 48, "validation": 25, "test": 23}  # odd numbers, so that batches of processes do not come out even


class Killed(BaseException):
    pass


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "data").mkdir()
    for split, posts in load_dataset("sample_posts").items():
        few = posts.shuffle(seed=0).select(range(POSTS[split]))
        few.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture
def arguments(corpus, backbones) -> list[str]:
    """Nothing is random, and no post depends on the others of its batch (no batch normalisation)."""
    return [
        *("--dataset", str(corpus), "--image_encoder", backbones["vit"]),
        *("--model_kwargs", "dropout=0.0", "standardize=false", "text_hidden_size=16"),
        *("--num_train_epochs", "2", "--learning_rate", "3e-3", "--per_device_train_batch_size", "16"),
        *("--logging_strategy", "steps", "--logging_steps", "1", "--report_to", "none", "--disable_tqdm", "true"),
    ]


@pytest.fixture
def run(monkeypatch, arguments):
    """train.py in this process; returns what its run.json says."""

    def run(folder: Path, *argv: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["train.py", "--output_dir", str(folder), *arguments, *argv])
        train.main()
        return json.loads((folder / "run.json").read_text())

    return run


@pytest.fixture
def kill(monkeypatch):
    """Has a method of the trainer, or a function of train.py, end the run at its n-th call."""

    def kill(owner, name: str, number: int = 1):
        function, calls = getattr(owner, name), []

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == number:
                raise Killed
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    return kill


def losses(report: dict) -> list[float]:
    return [row[name] for row in report["log"] for name in ("loss", "eval_loss") if name in row]


def without_durations(report: dict) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.endswith(("runtime", "per_second"))} for row in report["log"]]


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


# -------------------------------------------------------------------------------------------------- one trajectory


def test_accumulated_batches(run, tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "2")
    assert_one_trajectory(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_processes(run, arguments, tmp_path, launcher, strategy):
    """One trajectory, and each post is evaluated once: 25 and 23 posts in batches of 8."""
    arguments += ["--per_device_eval_batch_size", "8", "--train_sampling_strategy", strategy]
    run(tmp_path / "one")
    command = {
        "torchrun": ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29711"],
        "accelerate": ["accelerate.commands.launch", "--config_file", "configs/accelerate/cpu_two_processes.yaml"],
    }[launcher]
    argv = [*arguments, "--per_device_train_batch_size", "8", "--output_dir", str(tmp_path / "two")]
    command = [sys.executable, "-m", *command, "train.py", *argv, "--use_cpu", "True"]
    subprocess.run(command, cwd=ROOT, env=os.environ, check=True)
    assert json.loads((tmp_path / "two" / "run.json").read_text())["processes"] == 2
    assert_one_trajectory(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_standardised_features_of_two_processes(run, arguments, tmp_path):
    """`FeatureNorm` takes its statistics, through which gradients flow, from the posts of both."""
    # The weights of ViT's last norm change nothing before another one: their gradients are rounding errors, which Adam
    # would make as large as any other.
    arguments += ["--model_kwargs", "standardize=true", "--optim", "sgd"]
    run(tmp_path / "one")
    argv = [*arguments, "--per_device_train_batch_size", "8", "--output_dir", str(tmp_path / "two")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29714"]
    subprocess.run([*command, "train.py", *argv, "--use_cpu", "True"], cwd=ROOT, env=os.environ, check=True)
    assert_one_trajectory(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_bucketed_evaluation(run, tmp_path):
    untrained = ["--learning_rate", "0", "--per_device_eval_batch_size", "4"]
    run(tmp_path / "plain", *untrained)
    run(tmp_path / "bucketed", *untrained, "--train_sampling_strategy", "group_by_length")
    for split in ("validation", "test"):
        plain, bucketed = (
            [json.loads(line) for line in (tmp_path / name / f"predictions_{split}.jsonl").read_text().splitlines()]
            for name in ("plain", "bucketed")
        )
        for one, other in zip(plain, bucketed, strict=True):
            assert one["id"] == other["id"]
            assert list(other["scores"].values()) == pytest.approx(list(one["scores"].values()), abs=2e-6)


EXACT = ["--model_kwargs", "dropout=0.3", "--image_augmentation", "flip", "crop", "--early_stopping_patience", "8"]
EXACT += ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2", "--num_train_epochs", "3"]
EXACT += ["--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2"]
EXACT += ["--logging_steps", "5"]


@pytest.mark.slow
def test_interrupted_runs(run, kill, tmp_path, capsys):
    """The same command goes on by itself: killed in a step, an evaluation, a checkpoint and the last report."""
    straight = run(tmp_path / "straight", *EXACT)
    folder = tmp_path / "killed"
    places = [(MultimodalTrainer, "training_step", 19), (MultimodalTrainer, "prediction_step", 3)]
    places += [(trainer, "publish_checkpoint", 2), (train, "finish", 1)]
    for place in places:
        kill(*place)
        with pytest.raises(Killed):
            run(folder, *EXACT)
        assert checkpoints(folder)
        assert not (folder / "run.json").exists()
    capsys.readouterr()
    resumed = run(folder, *EXACT)
    assert f"{folder} holds a run that was interrupted: it goes on from checkpoint-18." in capsys.readouterr().out
    assert resumed["weights_sha256"] == straight["weights_sha256"] == content_hash(folder / "model.safetensors")
    assert resumed["scores"] == straight["scores"]
    assert without_durations(resumed) == without_durations(straight)
    names = [sorted(path.name for path in f.iterdir()) for f in (folder, tmp_path / "straight")]
    assert names[0] == names[1]
    with pytest.raises(SystemExit, match="holds a trained model"):
        run(folder, *EXACT)


@pytest.mark.slow
def test_a_soak(tmp_path):
    report = tmp_path / "soak.json"
    command = [sys.executable, "benchmarks/soak.py", "--kills", "5", "--seed", "1", "--output", str(report)]
    subprocess.run(command, cwd=ROOT, env=os.environ, check=True)
    report = json.loads(report.read_text())
    assert report["kills_in_all"] >= 5
    assert report["runs_equal_to_the_straight_one"] == report["runs"]
    assert report["checkpoints_lost"] == 0


def test_the_soak_that_is_committed():
    report = json.loads((ROOT / "benchmarks" / "soak.json").read_text())
    assert report["kills_in_all"] >= 50
    assert report["runs_equal_to_the_straight_one"] == report["runs"]
    assert report["checkpoints_lost"] == 0


@pytest.mark.slow
def test_two_processes_go_on(arguments, tmp_path):
    """Within an epoch other than the first, where accelerate alone would give the processes posts of another epoch."""
    argv = [*arguments, *EXACT, "--per_device_train_batch_size", "2", "--use_cpu", "True"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29712"]

    def start(folder, limit):
        code = f"import sys, train, trainer; sys.argv[0] = 'train.py'; limit = {limit}\n"
        code += "step = trainer.MultimodalTrainer.training_step\n"
        code += "def count(self, *a):\n"
        code += "    if self.state.global_step == limit: import os; os.kill(os.getpid(), 9)\n"
        code += "    return step(self, *a)\n"
        code += "trainer.MultimodalTrainer.training_step = count\ntrain.main()\n"
        (tmp_path / "start.py").write_text(code)
        command = [*launch, str(tmp_path / "start.py"), *argv, "--output_dir", str(folder)]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}).returncode

    assert start(tmp_path / "straight", -1) == 0
    assert start(tmp_path / "killed", 11) != 0
    assert [step_of(path) for path in checkpoints(tmp_path / "killed")][-1] == 10
    assert start(tmp_path / "killed", -1) == 0
    reports = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("straight", "killed")]
    assert reports[0]["weights_sha256"] == reports[1]["weights_sha256"]
    assert without_durations(reports[0]) == without_durations(reports[1])


# --------------------------------------------------------------------------------------------- the folder of a run


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
def test_other_settings_are_refused(run, kill, tmp_path, monkeypatch):
    with monkeypatch.context():
        kill(MultimodalTrainer, "training_step", 5)
        with pytest.raises(Killed):
            run(tmp_path)
    other = ["--learning_rate", "0.01", "--model_kwargs", "hops=3", "--dataloader_num_workers", "1"]
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, *other)
    assert "holds a run that was interrupted and that had other settings: learning_rate was 0.003, is now 0.01; " in (
        str(stop.value)
    )
    assert "model_kwargs was" in str(stop.value)
    assert "overwrite" in str(stop.value)
    assert "workers" not in str(stop.value)  # they change nothing
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    report = run(tmp_path, *other, "--overwrite")
    assert report["log"][0]["step"] == 1


def test_another_corpus_is_refused(run, kill, tmp_path, monkeypatch):
    kill(MultimodalTrainer, "training_step", 5)
    with pytest.raises(Killed):
        run(tmp_path)
    monkeypatch.setattr(train, "corpus_checksum", lambda corpus: "another")
    with pytest.raises(SystemExit, match="corpus_sha256 was .*, is now another"):
        run(tmp_path)


@pytest.mark.slow
def test_settings_that_change_nothing(run, kill, tmp_path):
    straight = run(tmp_path / "straight")
    kill(MultimodalTrainer, "training_step", 5)
    with pytest.raises(Killed):
        run(tmp_path / "killed")
    resumed = run(tmp_path / "killed", "--dataloader_num_workers", "1", "--save_total_limit", "5")
    assert resumed["weights_sha256"] == straight["weights_sha256"]


def test_killed_before_the_first_checkpoint(run, kill, tmp_path):
    kill(MultimodalTrainer, "training_step", 2)
    with pytest.raises(Killed):
        run(tmp_path)
    (tmp_path / "tmp-checkpoint-3").mkdir()
    (tmp_path / "checkpoint-9").mkdir()  # half deleted, or half copied
    assert not is_complete(tmp_path / "checkpoint-9")
    assert run(tmp_path, "--seed", "3")["seed"] == 3  # there is nothing to go on with: new settings are welcome
    assert not [path.name for path in tmp_path.glob("tmp-*")]
    assert [path.name for path in tmp_path.glob("checkpoint-*")] != ["checkpoint-9"]


@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint-10"])
def test_what_others_left_is_not_touched(run, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(SystemExit, match="holds a trained model: give another --output_dir, or --overwrite"):
        run(tmp_path)
    assert (tmp_path / name).exists()


def test_a_full_disk_in_the_end(run, tmp_path, monkeypatch):
    save = MultimodalTrainer.save_model

    def full(self, output_dir=None, _internal_call=False):
        if not _internal_call:
            raise OSError(28, "No space left on device")
        save(self, output_dir, _internal_call)

    with monkeypatch.context() as patch:
        patch.setattr(MultimodalTrainer, "save_model", full)
        with pytest.raises(OSError, match="the trained model could not be written .* goes on from checkpoint-6"):
            run(tmp_path)
    assert run(tmp_path)["log"][0]["step"] == 1


# --------------------------------------------------------------------------------------------- accelerate's settings


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_settings(path):
    settings = load_config_from_file(str(path))
    kinds = {"single_gpu": "NO", "multi_gpu_ddp": "MULTI_GPU", "cpu_two_processes": "MULTI_GPU", "fsdp": "FSDP"}
    assert settings.distributed_type == kinds.get(path.stem, "DEEPSPEED")
    assert settings.num_processes == (1 if path.stem == "single_gpu" else 2)
    assert settings.use_cpu == (path.stem == "cpu_two_processes")

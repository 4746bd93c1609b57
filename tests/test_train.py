"""train.py from its arguments to the folder of the run."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from datasets import load_dataset
from safetensors.torch import load_file
from tiny import ROOT
from transformers import AutoModelForSequenceClassification, AutoProcessor


def test_the_run_folder(run, tmp_path):
    folder = tmp_path / "run"
    report = run(folder)
    assert report["posts"] == {"train": 1080, "validation": 270, "test": 270}
    assert report["majority"]["test"]["accuracy"] == pytest.approx(1 / 3)
    assert sum(map(sum, report["scores"]["test"]["confusion_matrix"])) == 270
    assert not list(folder.glob("*.bin"))

    predictions = [json.loads(line) for line in (folder / "predictions_test.jsonl").read_text().splitlines()]
    assert len(predictions) == 270
    correct = sum(line["label"] == line["prediction"] for line in predictions)
    assert correct / 270 == pytest.approx(report["scores"]["test"]["accuracy"])

    # The saved model is the one that was scored.
    posts = load_dataset("sample_posts", split="test")
    assert [line["id"] for line in predictions] == list(posts["id"])
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**processor(text=list(posts["text"][:20]), images=list(posts["images"][:20]))).logits
    expected = torch.tensor([list(line["scores"].values()) for line in predictions[:20]])
    probabilities = (logits / model.config.score_temperature).softmax(-1)
    torch.testing.assert_close(probabilities, expected, rtol=0, atol=1e-5)

    with pytest.raises(ValueError, match="holds a trained model"):
        run(folder)


@pytest.mark.slow
def test_a_second_run_on_one_folder_is_refused(tmp_path):
    folder = tmp_path / "run"
    start = f"""import sys, train
from transformers import Trainer
def wait(self, *args, **kwargs):
    print("training", flush=True)
    sys.stdin.read()
Trainer.train = wait
sys.argv = ["train.py", "--output_dir", {str(folder)!r}, "--report_to", "none"]
train.main()"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", start], cwd=ROOT, **pipes) as first:
        assert "training\n" in iter(first.stdout.readline, "")
        command = [sys.executable, "train.py", "--output_dir", str(folder)]
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        first.kill()
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].startswith(f"train.py: error: process {first.pid} on ")
    assert f"writes to {folder}" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.slow
def test_a_wrong_field_of_the_model_is_one_line(tmp_path):
    command = [sys.executable, "train.py", "--model_kwargs", "hops=two", "--output_dir", str(tmp_path / "run")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert "'hops' expected int, got str" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("debug", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_wrong_argument_is_one_line(tmp_path, debug):
    command = [sys.executable, "train.py", "--dataset", "nothing", "--output_dir", str(tmp_path / "run")]
    environment = os.environ | ({"MMSENT_DEBUG": "1"} if debug else {})
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == (1 if debug else 2)
    assert ("Traceback" in result.stderr) == debug
    assert "dataset 'nothing' is not one of" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "frozen_parts",
    [
        ("freeze_text=true", "freeze_image=true"),
        pytest.param(("freeze_image=true",), marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_cached_features_give_the_same_run(run, tmp_path, backbones, standins, frozen_parts):
    frozen = ["--image_encoder", backbones["vit"], "--model_kwargs", *frozen_parts, "dropout=0.0"]
    frozen += ["--dataset", "twitter2015", "--data_dir", str(standins.write_twitter(tmp_path / "twitter2015"))]
    frozen += ["--num_train_epochs", "3", "--per_device_train_batch_size", "2"]
    plain = run(tmp_path / "plain", *frozen)
    cached = run(tmp_path / "cached", *frozen, "--cache_features")
    weights = load_file(tmp_path / "cached" / "model.safetensors")
    for name, value in load_file(tmp_path / "plain" / "model.safetensors").items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4)
    assert cached["scores"] == plain["scores"]


@pytest.mark.slow
def test_the_default_model_uses_both_modalities(tmp_path):
    """A model that reads only the text or only the images cannot score more than 5/9 (see the corpus's card)."""

    def accuracy_of(modalities: str) -> float:
        folder = tmp_path / modalities
        argv = ["train.py", "--output_dir", str(folder), "--modalities", modalities, "--disable_tqdm", "true"]
        subprocess.run([sys.executable, *argv], cwd=ROOT, check=True)
        return json.loads((folder / "run.json").read_text())["scores"]["test"]["accuracy"]

    names = ("both", "text", "image")
    with ThreadPoolExecutor(2) as pool:  # two trainings at once keep both cores busy
        accuracy = dict(zip(names, pool.map(accuracy_of, names), strict=True))
    assert accuracy["text"] <= 5 / 9 + 1e-9
    assert accuracy["image"] <= 5 / 9 + 1e-9
    # 7/9 is the score of two readers of one modality each, who guess where both are needed.
    assert accuracy["both"] > 7 / 9

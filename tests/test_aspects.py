"""Chinese reviews with several aspects and pictures, some of them missing: training, saving and remote prediction."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

PREDICT = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoProcessor

folder, posts = sys.argv[1], json.loads(sys.argv[2])
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
batch = processor(**posts)
assert batch["pixel_values"].shape[1] == 3 and batch["image_mask"].sum(1).tolist() == [3, 3, 1, 0]
with torch.no_grad():
    logits = model(**batch).logits
print(json.dumps({"logits": logits.tolist(), "labels": list(model.config.id2label.values())}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mimn", "co_memory_aspect"])
def test_multi_zol_from_training_to_prediction(architecture, run, tmp_path, standins):
    folder = standins.write_multi_zol(tmp_path / "zol", {"Train": 12, "Dev": 4, "Test": 4})
    (folder / "img" / "Train_2_1.jpg").unlink()
    (folder / "img" / "Dev_1_0.jpg").write_text("<html>404</html>")
    argv = ["--architecture", architecture, "--dataset", "multi_zol", "--data_dir", str(folder)]
    argv += ["--on_bad_image", "missing", "--processor_kwargs", "max_images=3"]
    argv += ["--num_train_epochs", "30", "--per_device_train_batch_size", "8", "--learning_rate", "3e-3"]
    argv += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    report = run(tmp_path / "run", *argv)
    assert report["bad_images"]["train"]
    assert report["bad_images"]["validation"]
    assert {"aspect = 性价比", "no picture", "several pictures"} <= set(report["scores"]["test"]["subgroups"])
    aspects = json.loads((tmp_path / "run" / "config.json").read_text())["aspects"]
    assert {"性价比", "屏幕效果"} <= set(aspects)

    paths = [str(tmp_path / f"{number}.jpg") for number in range(3)]
    for number, path in enumerate(paths):
        Image.new("RGB", (40, 30), (80 * number, 0, 0)).save(path)
    posts = {
        "text": ["这 台 手机 屏幕 很 好 ， 电池 一般"] * 4,
        "images": [paths, paths, paths[:1], []],
        "aspect": ["屏幕 效果", "电池 续航 时间", "屏幕 效果", None],
    }
    environment = os.environ | {"PYTHONPATH": ""}
    command = [sys.executable, "-c", PREDICT, str(tmp_path / "run"), json.dumps(posts)]
    process = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["labels"] == ["1", "2", "3", "4", "5", "6", "8", "10"]
    screen, battery, *_ = result["logits"]
    assert max(abs(a - b) for a, b in zip(screen, battery, strict=True)) > 1e-3  # the aspect makes a difference

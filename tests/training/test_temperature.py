"""The temperature that a run fits on its validation posts and saves with the model."""

import json

import pytest
from transformers import AutoConfig

from mmsent.modeling.comn import CoMNConfig


@pytest.fixture
def argv(tmp_path, standins) -> list[str]:
    return ["--dataset", "twitter2015", "--data_dir", str(standins.write_twitter(tmp_path / "twitter2015"))]


@pytest.mark.parametrize("kind", ["plain", "lora", "cached"])
def test_the_temperature_is_saved_with_the_model(run, argv, tmp_path, backbones, kind):
    if kind == "lora":
        argv += ["--text_encoder", backbones["bert"], "--image_encoder", backbones["vit"], "--lora_rank", "2"]
    if kind == "cached":
        argv += ["--image_encoder", backbones["vit"], "--model_kwargs", "freeze_image=true", "--cache_features"]
    folder = tmp_path / "run"
    report = run(folder, *argv)["calibration"]
    assert report["fitted_on"] == "validation"
    for saved in (folder, folder / "adapter") if kind == "lora" else (folder,):
        assert AutoConfig.from_pretrained(saved).score_temperature == report["temperature"]
    line = json.loads((folder / "predictions_validation.jsonl").read_text())
    assert sum(line["scores"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_without_calibration_the_scores_are_those_of_the_logits(run, argv, tmp_path):
    calibrated = run(tmp_path / "calibrated", *argv)
    plain = run(tmp_path / "plain", *argv, "--calibrate", "false")
    assert plain["calibration"]["temperature"] == AutoConfig.from_pretrained(tmp_path / "plain").score_temperature == 1
    assert plain["calibration"]["fitted_on"] is None
    assert plain["calibration"]["before"] == calibrated["calibration"]["before"]
    assert plain["scores"] == calibrated["scores"]
    assert plain["weights_sha256"] == calibrated["weights_sha256"]
    assert run(tmp_path / "again", *argv, "--init_from", str(tmp_path / "calibrated"), "--calibrate", "false")
    assert AutoConfig.from_pretrained(tmp_path / "again").score_temperature == 1


def test_without_validation_posts_the_temperature_is_one(run, argv, tmp_path, capsys):
    (tmp_path / "twitter2015" / "dev.tsv").unlink()
    argv += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    report = run(tmp_path / "run", *argv)["calibration"]
    assert (report["temperature"], report["fitted_on"], list(report["after"])) == (1, None, ["test"])
    assert "temperature 1, not fitted here" in capsys.readouterr().out


def test_models_without_a_temperature_have_one(tmp_path):
    CoMNConfig().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["score_temperature"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert AutoConfig.from_pretrained(tmp_path).score_temperature == 1


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_a_positive_number(temperature):
    with pytest.raises(ValueError, match="score_temperature"):
        CoMNConfig(score_temperature=temperature)

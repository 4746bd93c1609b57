"""LoRA adapters: what they train, how they are saved, loaded, merged and resumed."""

import os
import subprocess
import sys

import pytest
import tiny
import torch
from peft import PeftModel
from safetensors.torch import load_file
from small_runs import Killed
from transformers import AutoModelForSequenceClassification, AutoProcessor, TimmWrapperConfig, TimmWrapperModel

from mmsent.modeling import ARCHITECTURES
from mmsent.training.console import Progress
from mmsent.training.lora import add_adapter, save_adapter
from mmsent.training.run_folder import checkpoints


def train_adapter(architecture: str, encoders: str, backbones, **config):
    """Return a model whose adapter was trained for three steps, and the batch that it was trained on."""
    processor, model = tiny.build(architecture, encoders, backbones, **config)
    torch.manual_seed(0)
    model = add_adapter(model, rank=4)
    batch = dict(processor(**tiny.posts())) | {"labels": torch.arange(6) % 3}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model, batch


@torch.no_grad()
def logits(model, batch) -> torch.Tensor:
    return model.eval()(**batch).logits


def rows():
    """Return every architecture with the kinds of encoders of which one has attention."""
    for architecture in ARCHITECTURES:
        marks = [] if len(tiny.reads(architecture)) == 2 else [pytest.mark.slow]
        yield pytest.param(architecture, "transformers", marks=marks)
        if len(tiny.reads(architecture)) == 2:
            yield pytest.param(architecture, "timm", marks=[pytest.mark.slow])


@pytest.mark.parametrize(("architecture", "encoders"), list(rows()))
def test_an_adapter_is_loaded_and_merged(architecture, encoders, backbones, tmp_path):
    _, plain = tiny.build(architecture, encoders, backbones)
    model, batch = train_adapter(architecture, encoders, backbones)
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    expected = logits(model, batch)
    assert (expected - logits(plain, batch)).abs().max() > 1e-3  # the adapter has learned
    save_adapter(model, tmp_path / "adapter")
    by_transformers = AutoModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    by_peft = PeftModel.from_pretrained(tiny.build(architecture, encoders, backbones)[1], tmp_path / "adapter")
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    assert set(load_file(tmp_path / "merged" / "model.safetensors")) == set(plain.state_dict())
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    for loaded in (by_transformers, by_peft, merged, reloaded):
        torch.testing.assert_close(logits(loaded, batch), expected, rtol=0, atol=1e-5)


def test_an_adapter_trains_attention_and_all_other_layers(backbones):
    _, plain = tiny.build("mdse", "transformers", backbones)
    model, _ = train_adapter("mdse", "transformers", backbones)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    in_encoders = {name for name in trained if "_encoder." in name}
    assert in_encoders
    assert all(".lora_" in name for name in in_encoders)
    for layers in (("query", "value"), ("q_proj", "v_proj")):
        assert all(any(f".{layer}.lora_" in name for name in in_encoders) for layer in layers)
    others = {
        name.removeprefix("base_model.model.").replace(".modules_to_save.default.", ".")
        for name in trained - in_encoders
    }
    assert others == {name for name, _ in plain.named_parameters() if "_encoder." not in name}


def test_an_encoder_without_attention_keeps_its_weights_and_statistics(backbones):
    _, plain = tiny.build("comn", "timm", backbones)
    model, _ = train_adapter("comn", "timm", backbones)
    assert not model.get_base_model().comn.image_encoder.training
    after = model.merge_and_unload().state_dict()
    assert sum("running_mean" in name for name in after) > 3
    for name, value in plain.state_dict().items():
        changed = not torch.equal(value, after[name])
        if ".image_encoder." in name:
            assert not changed, name
        elif ".image_norm." in name and "running" in name:
            assert changed, name


def test_timm_attention_is_adapted_and_own_encoders_are_trained_whole(tmp_path):
    pretrained_cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = TimmWrapperConfig(architecture="test_vit", pretrained_cfg=pretrained_cfg, num_labels=1)
    config.model_args = {"img_size": 32}
    TimmWrapperModel(config).save_pretrained(tmp_path / "vit")
    row, encoders = ARCHITECTURES["comn"], ("word_vectors", str(tmp_path / "vit"))
    processor = row.processor.from_backbones(*encoders, [" ".join(tiny.WORDS)])
    model = row.classifier.from_backbones(*encoders, processor.tokenizer, processor.image_size)
    model = add_adapter(model, rank=2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any(".qkv.lora_A." in name for name in trained)
    assert any("text_encoder.modules_to_save.default.backbone.weight" in name for name in trained)


@pytest.mark.parametrize(("encoders", "config"), [("own", {}), ("timm", {"freeze_text": True})])
def test_lora_needs_attention(backbones, encoders, config):
    _, model = tiny.build("comn", encoders, backbones, **config)
    with pytest.raises(ValueError, match="lora_rank=4: no encoder that is trained has attention"):
        add_adapter(model, rank=4)


def test_a_run_with_an_adapter(run, tmp_path, backbones, standins):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    argv = ["--dataset", "twitter2015", "--data_dir", str(folder), "--lora_rank", "4", "--num_train_epochs", "3"]
    argv += ["--text_encoder", backbones["bert"], "--image_encoder", backbones["vit"], "--learning_rate", "0.01"]
    report = run(tmp_path / "run", *argv)
    assert report["parameters"]["trainable"] < report["parameters"]["total"] / 2
    batch = AutoProcessor.from_pretrained(tmp_path / "run")(**tiny.posts())
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert not [name for name in merged.state_dict() if "lora" in name]
    adapter = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "adapter")
    torch.testing.assert_close(logits(merged, batch), logits(adapter, batch), rtol=0, atol=1e-5)
    assert len((tmp_path / "run" / "predictions_test.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_an_adapter_resumes_exactly_from_a_checkpoint_without_the_backbones(
    run, monkeypatch, tmp_path, backbones, standins
):
    def kill(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise Killed

    argv = ["--dataset", "twitter2015", "--data_dir", str(standins.write_twitter(tmp_path / "twitter2015"))]
    argv += ["--text_encoder", backbones["bert"], "--image_encoder", backbones["resnet"]]
    argv += ["--lora_rank", "2", "--num_train_epochs", "3"]
    straight, folder = run(tmp_path / "straight", *argv), tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_step_begin", kill)
        with pytest.raises(Killed):
            run(folder, *argv)
    assert not (checkpoints(folder)[-1] / "model.safetensors").exists()
    assert run(folder, *argv)["weights_sha256"] == straight["weights_sha256"]


REMOTE = """
import sys, torch
from transformers import AutoModelForSequenceClassification
saved = torch.load("batch.pt")
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
assert "mmsent" not in sys.modules
with torch.no_grad():
    torch.testing.assert_close(model(**saved["batch"]).logits, saved["logits"])
"""


@pytest.mark.slow
def test_both_folders_load_where_the_package_is_not_imported(backbones, tmp_path):
    model, batch = train_adapter("comn", "transformers", backbones)
    torch.save({"batch": batch, "logits": logits(model, batch)}, tmp_path / "batch.pt")
    save_adapter(model, tmp_path / "adapter")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    environment = os.environ | {"PYTHONPATH": "", "HF_MODULES_CACHE": str(tmp_path / "modules")}
    for folder in ("merged", "adapter"):
        subprocess.run([sys.executable, "-P", "-c", REMOTE, folder], cwd=tmp_path, env=environment, check=True)

"""The trainer beside its stages, its length groups and its exact resuming."""

import json
from types import SimpleNamespace

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import TimmWrapperConfig, TimmWrapperModel

from mmsent.training.run_folder import checkpoints
from mmsent.training.trainer import MultimodalTrainer, share_batch_norm


def logged(trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_weights_of_a_vision_encoder_are_loaded(make_trainer, tmp_path):
    """Guards against transformers#43701: resuming and loading the best model silently kept a ViT's weights."""
    saving = {"save_strategy": "epoch", "eval_strategy": "epoch", "learning_rate": 1e-2, "num_train_epochs": 3}
    trainer = make_trainer(**saving, load_best_model_at_end=True, save_total_limit=None)
    trainer.compute_metrics = lambda _: {"accuracy": -trainer.state.epoch}  # The first epoch is the best.
    trainer.train()
    resumed = make_trainer(**saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    for loaded, checkpoint in ((trainer, "checkpoint-2"), (resumed, "checkpoint-6")):
        saved = load_file(tmp_path / checkpoint / "model.safetensors")
        assert sum(".image_encoder." in name for name in saved) > 10
        for name, value in loaded.model.state_dict().items():
            assert torch.equal(value, saved[name]), name


def test_the_loss_does_not_grow_with_accumulation(make_trainer):
    """A loss that is a mean must be divided by the number of accumulated batches."""
    settings = {"num_train_epochs": 2, "logging_strategy": "steps", "logging_steps": 1, "optim": "sgd"}
    whole = make_trainer(dropout=False, **settings, per_device_train_batch_size=6)
    parts = make_trainer(dropout=False, **settings, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    for trainer in (whole, parts):
        trainer.train()
    for name in ("loss", "grad_norm"):
        assert len(logged(whole, name)) == 2
        assert logged(parts, name) == pytest.approx(logged(whole, name), rel=1e-4)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=0, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_run(make_trainer, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
    trainer = make_trainer(**saving, optim="sgd", lr_scheduler_type="linear", warmup_steps=0)
    step = trainer.training_step

    def spoil(model, inputs, *args):
        if trainer.state.global_step == 2:
            next(iter(trainer.model.classifier.parameters())).data.fill_(float("nan"))
        return step(model, inputs | {"ids": ["7", "8"]}, *args)

    trainer.training_step = spoil
    with pytest.raises(
        ValueError, match=r"step 3: the loss is nan with the learning rate 0\.00075, for the posts 7, 8"
    ):
        trainer.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-2"]


def test_weights_that_are_not_finite_are_not_saved(make_trainer, tmp_path):
    trainer = make_trainer(save_strategy="steps", save_steps=1, max_grad_norm=0, optim="sgd", learning_rate=1e38)
    with pytest.raises(ValueError, match="step [12]: .*not finite|loss is (nan|inf)"):
        trainer.train()
    for path in checkpoints(tmp_path):
        assert all(value.isfinite().all() for value in load_file(path / "model.safetensors").values())
    next(iter(trainer.model.parameters())).data.fill_(float("inf"))
    with pytest.raises(ValueError, match="the weights .* are not finite. Lower the learning rate"):
        trainer.save_model()


@pytest.mark.slow
def test_batch_sizes_are_found(make_trainer, monkeypatch, tmp_path):
    """Checkpoints of an attempt with larger batches must not be mistaken for checkpoints of this run."""
    step = MultimodalTrainer.training_step

    def out_of_memory(self, model, inputs, *args):
        if len(inputs["labels"]) > 2 and self.state.global_step == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return step(self, model, inputs, *args)

    monkeypatch.setattr(MultimodalTrainer, "training_step", out_of_memory)
    trainer = make_trainer(
        auto_find_batch_size=True, num_train_epochs=1, save_strategy="steps", save_steps=1, save_total_limit=None
    )
    trainer.train()
    assert trainer.state.train_batch_size == 2
    assert trainer.state.global_step == 3
    states = [json.loads((path / "trainer_state.json").read_text()) for path in checkpoints(tmp_path)]
    assert [state["train_batch_size"] for state in states] == [2, 2, 2]


def test_bf16_and_checkpointed_activations(make_trainer):
    losses = []
    for arguments in ({}, {"activation_checkpointing": True}, {"bf16": True}):
        trainer = make_trainer(num_train_epochs=2, logging_strategy="steps", logging_steps=1, **arguments)
        trainer.train()
        losses.append(logged(trainer, "loss"))
        encoder = trainer.model.base_model.text_encoder.backbone
        assert encoder.is_activation_checkpointing == ("activation_checkpointing" in arguments)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[2] == pytest.approx(losses[0], rel=0.05)
    assert losses[2] != losses[0]


@pytest.mark.parametrize("backbone", ["small_cnn", "test_resnet", "test_efficientnet"])
def test_gpus_share_batch_norm(backbones, backbone, caplog):
    def shared(model):
        return [m for m in model.base_model.image_encoder.modules() if isinstance(m, torch.nn.SyncBatchNorm)]

    _, model = tiny.build("comn", "own", backbones)
    encoder, norm = model.base_model.image_encoder, model.base_model.image_norm
    if backbone != "small_cnn":
        encoder.backbone = TimmWrapperModel(TimmWrapperConfig(architecture=backbone, num_labels=1)).eval()
    names, images = list(model.state_dict()), torch.randn(2, 3, 64, 64)
    regions = encoder(images)
    one_gpu, two_cpus, two_gpus = (
        SimpleNamespace(world_size=size, process_index=0, device=torch.device(kind))
        for size, kind in ((1, "cuda"), (2, "cpu"), (2, "cuda"))
    )
    share_batch_norm(model, one_gpu)
    assert not caplog.text
    share_batch_norm(model, two_cpus)
    assert "on CPUs, 2 processes do not train the same model" in caplog.text
    model.config.freeze_image = True
    share_batch_norm(model, two_gpus)
    assert not shared(model)
    model.config.freeze_image = False
    share_batch_norm(model, two_gpus)
    assert shared(model)
    assert model.base_model.image_norm is norm
    assert list(model.state_dict()) == names
    # timm's layers include what follows the norm, which must stay.
    torch.testing.assert_close(encoder(images), regions, rtol=1e-5, atol=0)

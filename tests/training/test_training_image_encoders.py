"""Training with further image encoders: the feature cache, learning rates, adapters and arguments."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import TimmWrapperConfig, TimmWrapperModel

from mmsent.dataset_scripts.common_schema import features as corpus_features
from mmsent.training.arguments import ModelArguments, RunArguments
from mmsent.training.build import build, model_fields
from mmsent.training.collator import PostCollator
from mmsent.training.feature_cache import encode_features
from mmsent.training.lora import add_adapter
from mmsent.training.stages import split_parameter_groups
from mmsent.training.trainer import share_batch_norm


@pytest.fixture
def make(backbones):
    """Return a function that builds a processor and a MultiSentiNet over BERT, ViT and a scene encoder."""

    def make(scene: str, architecture="multi_sentinet", encoders="transformers", **config):
        further = {"scene": backbones.get(scene, scene)} if architecture == "multi_sentinet" else {}
        return tiny.build(architecture, encoders, backbones, further_image_encoders=further, **config)

    return make


@pytest.fixture
def corpus(tmp_path) -> dict[str, Dataset]:
    posts, rows = tiny.posts(), []
    for row, (text, images) in enumerate(zip(posts["text"], posts["images"], strict=True)):
        paths = [tmp_path / f"{row}-{slot}.png" for slot in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            image.save(path)
        labels = {"label": row % 3, "text_label": 0, "image_label": 0}
        rows.append({"id": str(row), "text": text or "", "images": list(map(str, paths)), "aspect": None} | labels)
    return {"train": Dataset.from_list(rows, features=corpus_features())}


@pytest.fixture
def encode(corpus, tmp_path):
    """Return a function that caches the features of a model, and returns the posts and the number of image entries."""

    def encode(processor, model):
        args = RunArguments(output_dir=str(tmp_path / "run"), report_to="none")
        posts = encode_features(model, corpus, PostCollator(processor), args, tmp_path / "cache")["train"]
        return posts, len(list((tmp_path / "cache").glob("image-*")))

    return encode


def trained(model, batch) -> dict[str, torch.Tensor]:
    """Return the weights after three steps."""
    torch.manual_seed(0)  # of BERT's dropout
    optimizer = torch.optim.SGD([p for p in model.train().parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.state_dict()


def test_each_encoder_has_its_entry_and_training_from_both_is_the_same(make, encode, corpus):
    processor, model = make("resnet", freeze_image=True)
    posts, entries = encode(processor, model)
    assert entries == 2
    collate, (_, plain) = PostCollator(processor), make("resnet", freeze_image=True)
    cached, whole = collate(list(posts)), collate(list(corpus["train"]))
    assert {"image_features", "scene_features"} <= set(cached)
    assert "pixel_values" not in cached
    for batch in (cached, whole):
        del batch["ids"]
    with torch.no_grad():
        torch.testing.assert_close(model(**cached).logits, plain(**whole).logits, rtol=0, atol=1e-5)
    start = plain.state_dict()["multi_sentinet.scene_proj.weight"].clone()
    weights, expected = trained(model, cached), trained(plain, whole)
    assert not torch.equal(weights["multi_sentinet.scene_proj.weight"], start)
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-5)


def test_encoders_with_equal_output_share_an_entry(make, encode):
    """The second copy of an encoder does not encode again, nor does the encoder of another architecture."""
    posts, entries = encode(*make("vit", freeze_image=True))
    assert entries == 1
    np.testing.assert_array_equal(posts[5]["image_features"], posts[5]["scene_features"])
    assert encode(*make("resnet", freeze_image=True))[1] == 2
    assert encode(*make("", "gated_fusion", "transformers", freeze_image=True))[1] == 2


def test_all_image_encoders_have_one_learning_rate_and_stage(make):
    _, model = make("resnet")
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    split_parameter_groups(optimizer, model, RunArguments(image_learning_rate=0.5, report_to="none"))
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (0.5 if ".image_encoder." in name or ".scene_encoder." in name else 1.0), name
    model.resting = ("image",)
    assert [encoder.training for encoder in model.train().encoders("image").values()] == [False, False]


def test_an_adapter_of_several_image_encoders(make):
    model = add_adapter(make("vit")[1], rank=2)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name in ("image", "scene"):
        assert any(f"{name}_encoder.backbone" in path and ".lora_A." in path for path in trained)
    model = add_adapter(make("small_cnn")[1], rank=2)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert any(".scene_encoder.modules_to_save." in path for path in trained)
    with pytest.raises(ValueError, match="lora_rank=2: the encoder scene has no attention"):
        add_adapter(make("resnet")[1], rank=2)


def test_gpus_share_batch_norm_of_all(make):
    _, model = make("resnet")
    model.base_model.image_encoder.backbone = TimmWrapperModel(TimmWrapperConfig(architecture="test_resnet"))
    share_batch_norm(model, SimpleNamespace(world_size=2, process_index=0, device=torch.device("cuda")))
    for encoder in model.encoders("image").values():
        assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in encoder.modules())


def test_the_argument(backbones, capsys):
    arguments = {"architecture": "multi_sentinet", "image_encoder": "small_cnn"}
    build(ModelArguments(**arguments), ["good day"], {0: "no", 1: "yes"})
    assert "further_image_encoders: scene is a second small_cnn, like image_encoder." in capsys.readouterr().out
    arguments["further_image_encoders"] = [f"scene={backbones['resnet']}"]
    _, model = build(ModelArguments(**arguments), ["good day"], {0: "no", 1: "yes"})
    assert not capsys.readouterr().out
    assert model.config.scene_config.model_type == "timm_wrapper"
    with pytest.raises(ValueError, match="model_kwargs scene_hidden_size: multi_sentinet has no field of this name"):
        model_fields(ModelArguments(**arguments, model_kwargs=["scene_hidden_size=3"]))


@pytest.mark.slow
def test_train_py_with_cached_features_is_the_same_run(run, tmp_path, backbones):
    argv = ["--architecture", "multi_sentinet", "--image_encoder", backbones["vit"], "--num_train_epochs", "2"]
    argv += ["--further_image_encoders", f"scene={backbones['resnet']}", "--model_kwargs", "freeze_image=true"]
    plain = run(tmp_path / "plain", *argv)
    cached = run(tmp_path / "cached", *argv, "--cache_features", "--features_dir", str(tmp_path / "features"))
    weights = load_file(tmp_path / "cached" / "model.safetensors")
    for name, value in load_file(tmp_path / "plain" / "model.safetensors").items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4)
    assert cached["scores"] == plain["scores"]

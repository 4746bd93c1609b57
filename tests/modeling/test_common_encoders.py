"""The order of regions, and backbones of every kind."""

import pytest
import tiny
import torch
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    TimmWrapperConfig,
    TimmWrapperModel,
    ViTConfig,
    ViTModel,
)

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_encoders import CPU_IMAGES, encoder_config, load_backbone, to_regions


def timm_model(architecture: str, **model_args) -> TimmWrapperModel:
    torch.manual_seed(0)
    config = TimmWrapperConfig(architecture=architecture, model_args=model_args, num_labels=1, do_pooling=False)
    return TimmWrapperModel(config).eval()


@torch.no_grad()
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_cells_of_a_feature_map_are_regions_in_row_major_order(layout):
    if layout == "NCHW":
        model, pixels = timm_model("test_resnet"), torch.randn(2, 3, 64, 96)
        grid = model(pixels).last_hidden_state.permute(0, 2, 3, 1)  # (N, h, w, D)
    else:
        sizes = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1), "img_size": 32, "window_size": 4}
        model, pixels = timm_model("swin_tiny_patch4_window7_224", **sizes), torch.randn(2, 3, 32, 32)
        grid = model(pixels).last_hidden_state
    _, height, width, size = grid.shape
    regions = to_regions(model, pixels)
    assert regions.shape == (2, height * width, size)
    for row in range(height):
        for column in range(width):
            torch.testing.assert_close(regions[:, row * width + column], grid[:, row, column])


@torch.no_grad()
def test_patches_of_a_transformer_are_regions():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    vit = ViTModel(ViTConfig(intermediate_size=8, **sizes)).eval()
    dino = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(mlp_ratio=1, num_register_tokens=3, **sizes)).eval()
    for model, prefix, side in ((vit, 1, 32), (dino, 4, 32), (timm_model("test_vit"), 1, 160)):
        pixels = torch.randn(1, 3, side, side)
        tokens = model(pixels).last_hidden_state
        regions = to_regions(model, pixels)
        assert regions.shape[1] in (16, 100)
        torch.testing.assert_close(regions, tokens[:, prefix:])


def test_a_cpu_encodes_few_images_at_once_unless_gradients_are_recorded(backbones):
    encoder = tiny.build("comn", "timm", backbones)[1].base_model.image_encoder
    sizes = []
    encoder.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )

    def batch_sizes(images: torch.Tensor) -> list[int]:
        sizes.clear()
        encoder(images)
        return list(sizes)

    images = torch.randn(10, 3, 64, 64)
    split = [CPU_IMAGES, CPU_IMAGES, 10 % CPU_IMAGES]
    with torch.no_grad():
        assert batch_sizes(images) == split
        torch.testing.assert_close(encoder(images), to_regions(encoder.backbone, images), rtol=1e-6, atol=1e-6)
        encoder.train()
        assert batch_sizes(images) == [10], "BatchNorm needs the statistics of the whole batch"
    encoder.eval()
    assert batch_sizes(images) == [10]
    encoder.requires_grad_(False)
    assert batch_sizes(images) == split
    assert batch_sizes(images.requires_grad_()) == [10]
    with torch.no_grad():
        exported = torch.export.export(encoder, (images,)).graph
    assert not [node for node in exported.nodes if "split" in str(node.target)]


def test_a_config_keeps_nothing_of_its_checkpoint(backbones):
    for name, part in (("bert", "text"), ("vit", "image"), ("resnet", "image")):
        _, config = load_backbone(backbones[name], part)
        fields = encoder_config(config).to_dict()
        assert backbones[name] not in str(fields)
        assert fields["_name_or_path"] == ""
        assert fields.get("dtype") is None
        assert len(fields.get("label_names", [])) <= 1


def test_weights_are_those_of_the_backbone(backbones):
    _, model = tiny.build("comn", "transformers", backbones)
    for name, part in (("bert", "text"), ("vit", "image")):
        expected = load_backbone(backbones[name], part)[0].state_dict()
        actual = getattr(model.comn, f"{part}_encoder").backbone.state_dict()
        assert set(actual) == set(expected)
        assert all(torch.equal(actual[key], value) for key, value in expected.items())
        assert not any("pooler" in key for key in actual)


@pytest.mark.parametrize("encoders", ["own", "transformers", "timm"])
def test_another_architecture_starts_from_the_encoders_of_a_trained_model(encoders, backbones, tmp_path):
    processor, trained = tiny.build("comn", encoders, backbones)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.01)
    trained.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    row = ARCHITECTURES["mdse"]
    other = row.processor.from_backbones(tmp_path, tmp_path, max_images=3)
    model = row.classifier.from_backbones(tmp_path, tmp_path, other.tokenizer, other.image_size)
    for part in ("text_encoder", "image_encoder"):
        expected = getattr(trained.base_model, part).state_dict()
        actual = getattr(model.base_model, part).state_dict()
        assert actual.keys() == expected.keys()
        assert all(torch.equal(actual[name], value) for name, value in expected.items())
    for name in ("input_ids", "pixel_values"):
        assert torch.equal(processor(**tiny.posts())[name], other(**tiny.posts())[name])


def test_a_model_without_the_encoder(backbones, tmp_path):
    _, model = tiny.build("deep_fusion", "own", backbones, branch="text")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="this deep_fusion was trained without image encoder"):
        load_backbone(tmp_path, "image")

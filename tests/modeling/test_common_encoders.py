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
from mmsent.modeling.common_encoders import CPU_IMAGES, backbone_config, encoder_config, load_backbone, to_regions
from mmsent.modeling.common_loading import check_weights


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


@pytest.fixture(params=["own", "transformers"])
def text_branch(request, backbones, tmp_path):
    """Return a trained text model of the MVSO study, (d), its folder, and a fusion on its text branch, (g)."""
    processor, trained = tiny.build("gated_fusion", request.param, backbones, branch="text", text_hidden=5)
    for part in (processor, trained):
        part.save_pretrained(tmp_path / "text")
    row = ARCHITECTURES["gated_fusion"]
    other = row.processor.from_backbones(tmp_path / "text", "small_cnn", max_images=3)
    arguments = (tmp_path / "text", "small_cnn", other.tokenizer, other.image_size)
    fusion = row.classifier.from_backbones(*arguments, freeze_text=True, text_gate="GL1", fused_hidden=())
    return trained, tmp_path / "text", fusion, other(**tiny.posts())


def test_the_text_encoder_of_a_trained_model_contains_its_bilstm(text_branch, tmp_path):
    trained, _, fusion, batch = text_branch
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        expected = trained.gated_fusion(**text).fused
        assert torch.equal(fusion.eval().gated_fusion(**batch).fused[:, :10], expected)  # the gates are one
    assert fusion.config.text_hidden == 5
    fusion.save_pretrained(tmp_path / "fusion")
    loaded = ARCHITECTURES["gated_fusion"].classifier.from_pretrained(tmp_path / "fusion").eval()
    check_weights(loaded)
    assert torch.equal(tiny.logits(loaded, batch), tiny.logits(fusion, batch))
    branch, _ = load_backbone(tmp_path / "fusion", "text")  # a third model takes it as it is
    assert branch.state_dict().keys() == fusion.gated_fusion.text_encoder.backbone.state_dict().keys()


def test_a_frozen_text_branch_rests_with_its_bilstm(text_branch):
    _, _, fusion, batch = text_branch
    fusion.train()(**batch, labels=torch.zeros(6, dtype=torch.long)).loss.backward()
    assert not any(module.training for module in fusion.gated_fusion.text_encoder.modules())
    trained = {name for name, parameter in fusion.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in fusion.named_parameters() if ".text_encoder." not in name}


def test_a_text_branch_in_another_architecture(text_branch):
    _, folder, fusion, batch = text_branch
    row = ARCHITECTURES["comn"]
    processor = row.processor.from_backbones(folder, "small_cnn")
    model = row.classifier.from_backbones(folder, "small_cnn", processor.tokenizer, processor.image_size)
    assert model.config.text_hidden_size == 10
    encoder = fusion.gated_fusion.text_encoder
    text = [batch[name] for name in ("input_ids", "attention_mask")]
    with torch.no_grad():
        assert torch.equal(model.eval().comn.text_encoder(*text), encoder.eval()(*text))
    size = model.get_input_embeddings().num_embeddings
    model.resize_token_embeddings(size + 3)
    assert model.get_input_embeddings().num_embeddings == size + 3
    assert row.config.from_dict(model.config.to_dict()).text_config.backbone_config.vocab_size == size + 3


def test_a_text_branch_of_another_width(text_branch):
    _, folder, fusion, _ = text_branch
    with pytest.raises(ValueError, match="text_hidden=7: the BiLSTM of the text encoder has 5"):
        type(fusion.config)(text_config=backbone_config(folder, "text"), text_hidden=7)

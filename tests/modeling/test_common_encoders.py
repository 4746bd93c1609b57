"""Word-vector files, the order of regions, and backbones of every kind."""

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
from mmsent.modeling import common_encoders as encoders
from mmsent.modeling.common_cnns import SmallCNN, SmallCNNConfig
from mmsent.modeling.common_encoders import (
    encoder_config,
    load_backbone,
    to_regions,
)
from mmsent.modeling.common_word_vectors import build_word_tokenizer, read_word_vectors

# ------------------------------------------------------------------------------------------------------- word vectors


@pytest.fixture
def tokenizer():
    return build_word_tokenizer(["good good good day day rain"])


@pytest.fixture
def write(tmp_path):
    def write(*lines: str):
        path = tmp_path / "vectors.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


GLOVE = ["good 1 2 3", "at name@domain.com 9 9 9", "day -1 0.5 2e-1", "elsewhere 5 5 5"]


@pytest.mark.parametrize("header", [[], ["4 3"]], ids=["glove", "word2vec"])
def test_vectors_of_the_vocabulary(write, tokenizer, header):
    torch.manual_seed(0)
    table, found = read_word_vectors(write(*header, *GLOVE), tokenizer, 3)
    ids = tokenizer.get_vocab()
    assert found == 2
    assert table.shape == (len(tokenizer), 3)
    assert table[ids["good"]].tolist() == [1, 2, 3]
    torch.testing.assert_close(table[ids["day"]], torch.tensor([-1, 0.5, 0.2]))
    assert table[tokenizer.pad_token_id].tolist() == [0, 0, 0]
    assert table[ids["rain"]].abs().sum() > 0


def test_words_that_the_file_lacks_have_its_spread(write):
    names = [f"w{index}" for index in range(400)]
    tokenizer = build_word_tokenizer([" ".join(names)])
    torch.manual_seed(0)
    vectors = (3 * torch.randn(200, 10)).tolist()
    path = write(*(f"{name} {' '.join(map(str, row))}" for name, row in zip(names[:200], vectors, strict=True)))
    table, _ = read_word_vectors(path, tokenizer, 10)
    ids = tokenizer.get_vocab()
    lacking = torch.stack([table[ids[name]] for name in names[200:]])
    assert lacking.std().item() == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["4 50", *GLOVE], "line 1: 50 numbers a word but the model expects 3"),
        (["good 1 2 3", "day 1 2"], "line 2: 2 numbers"),
        (["good 1 2 3", "day 1 2 3 4"], "line 2: 4 numbers"),
        (["good 1 2 3", "day 1 two 3"], "line 2: could not convert string to float"),
        (["other 1 2 3"], "has none of the tokenizer's 5 words"),
        ([], "line 1: 0 numbers"),
    ],
)
def test_a_broken_file_is_named_with_its_line(write, tokenizer, lines, message):
    path = write(*lines)
    with pytest.raises(ValueError, match=message) as error:
        read_word_vectors(path, tokenizer, 3)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_model_begins_from_the_file(write, backbones, freeze):
    path = write("good 1 2 3", "day 4 5 6")
    kwargs = {"word_vectors": path, "text_hidden_size": 3, "freeze_text": freeze}
    processor, model = tiny.build("comn", "own", backbones, **kwargs)
    weight = model.comn.text_encoder.backbone.weight
    ids = processor(text="good day")["input_ids"][0]
    assert weight[ids].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert weight.requires_grad != freeze


def test_word_vectors_are_not_for_transformers(write, backbones):
    with pytest.raises(ValueError, match="needs the text encoder 'word_vectors'"):
        tiny.build("comn", "transformers", backbones, word_vectors=write(*GLOVE))


# ------------------------------------------------------------------------------------------------------------- regions


def timm_model(architecture: str, **model_args) -> TimmWrapperModel:
    torch.manual_seed(0)
    config = TimmWrapperConfig(architecture=architecture, model_args=model_args, num_labels=1, do_pooling=False)
    return TimmWrapperModel(config).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["cnn", "nhwc"])
def test_cells_of_a_map_are_regions_in_row_major_order(name):
    if name == "cnn":
        model = timm_model("test_resnet")
        pixels = torch.randn(2, 3, 64, 96)
        grid = model(pixels).last_hidden_state.permute(0, 2, 3, 1)  # (N, h, w, D)
    else:
        sizes = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1), "img_size": 32, "window_size": 4}
        model = timm_model("swin_tiny_patch4_window7_224", **sizes)
        pixels = torch.randn(2, 3, 32, 32)
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


def test_a_cpu_encodes_few_images_at_once_where_nothing_is_recorded(backbones, monkeypatch):
    encoder = tiny.build("comn", "timm", backbones)[1].base_model.image_encoder
    sizes, whole = [], to_regions

    def count(backbone, pixel_values):
        sizes.append(len(pixel_values))
        return whole(backbone, pixel_values)

    monkeypatch.setattr(encoders, "to_regions", count)
    images = torch.randn(10, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), whole(encoder.backbone, images), rtol=1e-6, atol=1e-6)
        assert sizes == [4, 4, 2]
        # BatchNorm's statistics are those of the whole batch.
        encoder.train()(images)
    encoder.eval()(images)
    assert sizes[3:] == [10, 10]
    encoder.requires_grad_(False)(images)
    assert sizes[5:] == [4, 4, 2]
    encoder(images.requires_grad_())
    assert sizes[8:] == [10]
    with torch.no_grad():
        exported = torch.export.export(encoder, (images,)).graph
    assert sizes[9:] == [10]
    assert not [node for node in exported.nodes if "split" in str(node.target)]


def test_the_small_cnn_looks_where_it_says():
    """The region of the only bright corner differs most from a black picture's."""
    torch.manual_seed(0)
    config = SmallCNNConfig(image_size=32, channels=(4, 8))
    model = SmallCNN(config).eval()
    black, bright = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    bright[..., :4, 28:] = 1  # top right
    change = (to_regions(model, bright) - to_regions(model, black)).norm(dim=-1)[0]
    assert len(change) == config.num_regions == 64
    assert change.argmax() == 7


# ---------------------------------------------------------------------------------------------------------- backbones


def test_a_config_keeps_nothing_of_its_checkpoint(backbones):
    for name in ("bert", "vit", "resnet"):
        _, config = load_backbone(backbones[name], "image")
        kept = encoder_config(config).to_dict()
        assert backbones[name] not in str(kept)
        assert kept["_name_or_path"] == ""
        assert kept.get("dtype") is None
        assert len(kept.get("label_names", [])) <= 1


def test_weights_are_those_of_the_backbone(backbones):
    _, model = tiny.build("comn", "transformers", backbones)
    for name, encoder in (("bert", model.comn.text_encoder), ("vit", model.comn.image_encoder)):
        want = load_backbone(backbones[name], "image")[0].state_dict()
        got = encoder.backbone.state_dict()
        assert set(got) == set(want)
        assert all(torch.equal(got[key], want[key]) for key in want)
        assert not any("pooler" in key for key in got)


@pytest.mark.parametrize("encoders", ["own", "transformers", "timm"])
def test_the_encoders_of_a_trained_model(encoders, backbones, tmp_path):
    """Another architecture begins from them, with the words and the pixels that they know."""
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
        want = getattr(trained.base_model, part).state_dict()
        got = getattr(model.base_model, part).state_dict()
        assert got.keys() == want.keys()
        assert all(torch.equal(got[name], value) for name, value in want.items())
    batches = [p(**tiny.posts()) for p in (processor, other)]
    for name in ("input_ids", "pixel_values"):
        assert torch.equal(batches[0][name], batches[1][name])


def test_a_model_without_the_encoder(backbones, tmp_path):
    processor, model = tiny.build("deep_fusion", "own", backbones, branch="text")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="this deep_fusion was trained without image encoder"):
        load_backbone(tmp_path, "image")

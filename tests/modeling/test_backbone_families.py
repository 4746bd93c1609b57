"""Backbones of many families, in every type of their weights, with the sizes that their image processors make."""

import pytest
import tiny
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertModel,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    ViTImageProcessor,
)

from mmsent.modeling.common_encoders import load_backbone
from mmsent.modeling.comn import CoMNForSequenceClassification, CoMNProcessor

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXT = {"vocab_size": 40, "pad_token_id": 0} | SIZES
GRID = {"image_size": 64, "patch_size": 32}
WINDOWS = {"image_size": 64, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 4}
STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1] * 4}
BLOCKS = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
TOWERS = {"text_config": TEXT, "vision_config": SIZES | GRID}
T5 = {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
TEXT_FAMILIES = {
    **dict.fromkeys(["bert", "roberta", "xlm-roberta", "deberta-v2", "mpnet", "modernbert", "clip_text_model"], TEXT),
    **dict.fromkeys(["electra", "albert"], TEXT | {"embedding_size": 16}),
    **dict.fromkeys(["t5", "mt5", "umt5"], T5),
    "distilbert": {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "gpt2": {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 2},
    "qwen2": TEXT | {"num_key_value_heads": 2},
    "clip": TOWERS,
}
IMAGE_FAMILIES = {
    **dict.fromkeys(["vit", "deit", "beit", "dinov2", "clip_vision_model", "siglip_vision_model"], SIZES | GRID),
    **dict.fromkeys(["clip", "siglip"], TOWERS),
    **dict.fromkeys(["swin", "swinv2"], WINDOWS),
    **dict.fromkeys(["convnext", "convnextv2"], STAGES),
    "regnet": STAGES | {"embedding_size": 8, "groups_width": 4},
    "resnet": BLOCKS | {"layer_type": "basic"},
    "bit": BLOCKS | {"num_groups": 4},
    "segformer": {"depths": [1] * 4, "hidden_sizes": [8, 8, 8, 16], "num_attention_heads": [1] * 4},
}
FAMILIES = [("text", name) for name in TEXT_FAMILIES] + [("image", name) for name in IMAGE_FAMILIES]


def save_backbone(name: str, fields: dict, folder) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(name, **fields)).save_pretrained(folder)


@pytest.mark.parametrize(("part", "name"), FAMILIES)
def test_a_backbone_of_every_family_is_built_saved_and_loaded(part, name, tmp_path):
    save_backbone(name, (TEXT_FAMILIES if part == "text" else IMAGE_FAMILIES)[name], tmp_path / "backbone")
    encoders = {"text": "word_vectors", "image": "small_cnn", part: tmp_path / "backbone"}
    processor = CoMNProcessor.from_backbones("word_vectors", "small_cnn", [" ".join(tiny.WORDS)], max_images=3)
    model = CoMNForSequenceClassification.from_backbones(**encoders, tokenizer=processor.tokenizer).eval()
    model.save_pretrained(tmp_path / "run")
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run", output_loading_info=True)
    assert not any(info.values()), info
    expected = tiny.logits(model, processor(**tiny.posts()))
    assert expected.isfinite().all()
    assert torch.equal(tiny.logits(loaded, processor(**tiny.posts())), expected)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("bart", {"vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}, "of a bart alone"),
        ("siglip", TOWERS, "of a siglip_text_model alone"),
        ("vit", SIZES | GRID, "a vit cannot be the text encoder: it reads pixel_values"),
    ],
)
def test_a_family_that_is_not_a_text_encoder_is_refused_with_a_reason(name, fields, message, tmp_path):
    save_backbone(name, fields, tmp_path)
    with pytest.raises(ValueError, match=message):
        load_backbone(tmp_path, "text")


def save_tokenizer(folder, **special_tokens) -> None:
    """Save a tokenizer of bytes, which reads every text without an unknown token."""
    vocabulary = dict.fromkeys(sorted(pre_tokenizers.ByteLevel.alphabet()) + ["<end>"])
    tokenizer = Tokenizer(models.BPE({name: index for index, name in enumerate(vocabulary)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens).save_pretrained(folder)


def test_a_tokenizer_without_padding_and_unknown_token(tmp_path):
    save_backbone("gpt2", TEXT_FAMILIES["gpt2"] | {"vocab_size": 300}, tmp_path)
    save_tokenizer(tmp_path)
    with pytest.raises(ValueError, match="no token for padding"):
        CoMNProcessor.from_backbones(tmp_path, "small_cnn")
    save_tokenizer(tmp_path, eos_token="<end>")
    processor = CoMNProcessor.from_backbones(tmp_path, "small_cnn")
    assert processor.tokenizer.unk_token is None
    model = CoMNForSequenceClassification.from_backbones(tmp_path, "small_cnn", processor.tokenizer).eval()
    for texts in (["good day", "", None], [""]):
        batch = processor(text=texts)
        assert batch["attention_mask"].any(1).tolist() == [bool(text) for text in texts]
        assert tiny.logits(model, batch).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_backbone_in_half_precision_is_loaded_in_float32(backbones, tmp_path, dtype):
    BertModel.from_pretrained(backbones["bert"], dtype=dtype).save_pretrained(tmp_path)
    assert {weight.dtype for weight in load_backbone(tmp_path, "text")[0].parameters()} == {torch.float32}
    processor = CoMNProcessor.from_backbones(backbones["bert"], "small_cnn")
    model = CoMNForSequenceClassification.from_backbones(tmp_path, "small_cnn", processor.tokenizer)
    assert model(**processor(**tiny.posts())).logits.dtype == torch.float32


@pytest.fixture(params=["resnet", "convnext"])
def cnn(request, tmp_path):
    """The folder of a tiny CNN of transformers, without image processor."""
    torch.manual_seed(0)
    if request.param == "resnet":
        model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))
    else:
        model = ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1] * 4))
    model.save_pretrained(tmp_path)
    return tmp_path


def test_an_image_processor_with_a_shortest_edge(cnn):
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875).save_pretrained(cnn)
    processor = CoMNProcessor.from_backbones("word_vectors", cnn, ["good day"], max_images=3)
    assert processor.image_size == (64, 64)
    model = CoMNForSequenceClassification.from_backbones("word_vectors", cnn, processor.tokenizer, (64, 64)).eval()
    batch = processor(**tiny.posts())
    assert batch["pixel_values"].shape[-2:] == (64, 64)
    assert tiny.logits(model, batch).isfinite().all()


def test_an_image_processor_that_keeps_the_aspect_ratio_is_refused(cnn):
    ViTImageProcessor(size={"shortest_edge": 64}).save_pretrained(cnn)
    with pytest.raises(ValueError, match="keeps the aspect ratio of images .*shortest_edge.*set size to a height"):
        CoMNProcessor.from_backbones("word_vectors", cnn, ["good day"])
    ViTImageProcessor(
        size={"shortest_edge": 64}, do_center_crop=True, crop_size={"height": 48, "width": 48}
    ).save_pretrained(cnn)
    assert CoMNProcessor.from_backbones("word_vectors", cnn, ["good day"]).image_size == (48, 48)

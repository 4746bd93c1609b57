"""Backbones of many families, in every type of their weights, with the sizes that their image processors make."""

import pytest
import tiny
import torch
from transformers import (
    BertModel,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    ResNetConfig,
    ResNetModel,
    ViTImageProcessor,
)

from mmsent.modeling.common_encoders import load_backbone
from mmsent.modeling.comn import CoMNForSequenceClassification, CoMNProcessor


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

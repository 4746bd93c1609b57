"""Deep Fusion against the paper step by step, its branches, and its sizes."""

import numpy as np
import pytest
import tiny
import torch
from by_hand import IMAGES, REGIONS, TEXT, check_logits, features, linear, random_model, text_cnn

from mmsent.modeling.common_cnns import AlexNet, AlexNetConfig, TextCNN
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.modeling.deep_fusion import DeepFusionConfig, DeepFusionForSequenceClassification

SIZE, IMAGE_SIZE = 5, 3


def build(**fields) -> DeepFusionForSequenceClassification:
    return random_model("deep_fusion", SIZE, IMAGE_SIZE, 0.7, filters=2, fc_sizes=(7, 6), **fields)


def batch() -> dict[str, torch.Tensor]:
    """Return posts with texts of 7, 4, 2 (shorter than every window) and no tokens; one, two, no and two images."""
    attention_mask = [[int(place < length) for place in range(7)] for length in (7, 4, 2, 0)]
    return features(SIZE, IMAGE_SIZE, attention_mask, [[1, 0], [1, 1], [0, 0], [1, 1]])


def slow_logits(model, words, images):
    flattened = [np.concatenate(list(image)) for image in images]
    image = np.mean(flattened, 0) if flattened else np.zeros(REGIONS * IMAGE_SIZE)
    text = []
    if model.config.branch != "image":
        pools = (np.max, np.mean, np.min)
        text = text_cnn(model.deep_fusion.text_cnn, list(words), pools, np.tanh, model.config.pad_to)
    hidden = np.array([*text, *(image if model.config.branch != "text" else [])])
    *layers, last = [layer for layer in model.classifier if isinstance(layer, torch.nn.Linear)]
    for layer in layers:
        hidden = np.maximum(linear(layer, hidden), 0)
    return linear(last, hidden)


@pytest.mark.parametrize(
    "variant", [{}, {"branch": "text"}, {"branch": "image"}, {"pad_to": 9}, {"pad_to": 5}], ids=str
)
def test_equations(variant):
    """With `pad_to`, the windows over padding are pooled too, and a text of 7 words is cut at 5."""
    check_logits(build(**variant), slow_logits, batch(), TEXT, IMAGES, rtol=1e-4, atol=1e-5)


def test_sizes_of_the_paper():
    config = DeepFusionConfig(
        text_config=WordVectorsConfig(vocab_size=9, hidden_size=200), image_config=AlexNetConfig()
    )
    assert (config.text_size, config.image_size) == (900, 9216)
    assert sum(p.numel() for p in TextCNN(200, config.filters, config.windows).parameters()) == 100 * (
        200 * (3 + 4 + 5) + 3
    )


@pytest.mark.parametrize("image_size", [64, 80, 128, 224, 227])
def test_alexnet_knows_its_number_of_regions(image_size):
    config = AlexNetConfig(image_size=image_size)
    with torch.no_grad():
        assert AlexNet(config)(torch.zeros(1, 3, image_size, image_size)).flatten(2).shape[2] == config.num_regions


def test_alexnet_by_name():
    processor = MultimodalProcessor.from_backbones("word_vectors", "alexnet", ["good day"], image_size=64)
    model = DeepFusionForSequenceClassification.from_backbones(
        "word_vectors", "alexnet", processor.tokenizer, processor.image_size, text_hidden_size=8
    )
    output = model.eval()(**processor(text="good day", images=tiny.picture(0)))
    assert output.fused.shape == (1, 900 + 256)
    assert output.logits.isfinite().all()

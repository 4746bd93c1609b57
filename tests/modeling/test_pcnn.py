"""PCNN against its equations step by step, and the sizes of the paper."""

import numpy as np
import torch
from by_hand import IMAGES, REGIONS, TEXT, check_logits, features, linear, random_model

from mmsent.modeling.common_cnns import LRNCNN, LRNCNNConfig
from mmsent.modeling.pcnn import PCNNConfig, PCNNForSequenceClassification

IMAGE_SIZE = 3


def slow_logits(model, words, images):
    flattened = [np.concatenate(list(image)) for image in images]
    hidden = np.mean(flattened, 0) if flattened else np.zeros(REGIONS * IMAGE_SIZE)
    *layers, last = [layer for layer in model.classifier if isinstance(layer, torch.nn.Linear)]
    for layer in layers:
        hidden = np.maximum(linear(layer, hidden), 0)
    return linear(last, hidden)


def test_equations():
    model = random_model("pcnn", 5, IMAGE_SIZE, 0.7, fc_sizes=(7, 6))
    batch = features(5, IMAGE_SIZE, [[1], [1], [1]], [[1, 0], [1, 1], [0, 0]])
    check_logits(model, slow_logits, batch, TEXT, IMAGES, rtol=1e-4, atol=1e-5)


def test_sizes_of_the_paper():
    with torch.device("meta"):
        model = PCNNForSequenceClassification(PCNNConfig(image_config=LRNCNNConfig(), num_labels=2))
        for size in (227, 64):
            config = LRNCNNConfig(image_size=size)
            assert LRNCNN(config)(torch.zeros(1, 3, size, size))[0, 0].numel() == config.num_regions
    sizes = [layer.out_features for layer in model.classifier if isinstance(layer, torch.nn.Linear)]
    assert (sizes, model.classifier[0].in_features) == ([512, 512, 24, 2], 256 * 13 * 13)

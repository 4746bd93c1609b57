"""DNN-LR against its equations step by step, its losses, and DropConnect."""

import numpy as np
import pytest
import torch
from by_hand import IMAGES, TEXT, check_logits, features, linear, random_model, relu, softmax, text_cnn

from mmsent.modeling.dnn_lr import DropConnect

SIZE, IMAGE_SIZE = 5, 3


def build(**fields):
    return random_model("dnn_lr", SIZE, IMAGE_SIZE, 0.7, filters=2, image_hidden=(7, 6), **fields)


def batch() -> dict[str, torch.Tensor]:
    """Return posts with texts of 7, 4, 2 (shorter than every window) and no tokens; one, two, no and two images."""
    attention_mask = [[int(place < length) for place in range(7)] for length in (7, 4, 2, 0)]
    return features(SIZE, IMAGE_SIZE, attention_mask, [[1, 0], [1, 1], [0, 0], [1, 1]])


def slow_logits(model, words, images):
    base, classes = model.dnn_lr, model.config.num_labels
    text = np.array(text_cnn(base.text_cnn, list(words), [np.max], relu))
    image = np.zeros(6)
    if len(images):
        image = np.mean([np.concatenate(list(regions)) for regions in images], 0)
        for layer in base.image_layers[::2]:
            image = relu(linear(layer, image))
    if model.config.combination == "features":
        return linear(model.classifier, np.concatenate([text, image]))
    unknown = np.full(classes, 1 / classes)
    of_text = softmax(linear(base.text_output, text)) if len(words) else unknown
    of_image = softmax(linear(base.image_output, image)) if len(images) else unknown
    return linear(model.classifier, np.log(np.concatenate([of_text, of_image])))


@pytest.mark.parametrize("combination", ["predictions", "features"])
def test_equations(combination):
    check_logits(build(combination=combination), slow_logits, batch(), TEXT, IMAGES, rtol=1e-4, atol=1e-5)


def test_the_regression_does_not_change_the_networks():
    """The loss has a term for each network and one for the regression, whose gradient ends at its own weights."""
    model, labels = build(), torch.tensor([0, 1, 2, 1])
    output = model(**batch(), labels=labels)
    terms = [model.classification_loss(x, labels) for x in (output.logits, output.text_logits, output.image_logits)]
    torch.testing.assert_close(output.loss, sum(terms))
    model.classification_loss(model.train()(**batch()).logits, labels).backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {"classifier.weight", "classifier.bias"}


def test_drop_connect_drops_weights():
    torch.manual_seed(0)
    layer = DropConnect(2000, 1, 0.5)
    torch.nn.init.ones_(layer.weight)
    with torch.no_grad():
        dropped = layer(torch.eye(2000)).squeeze(1) - layer.bias  # one weight per row
        assert set(dropped.round(decimals=4).tolist()) == {0.0, 2.0}
        assert 0.4 < (dropped == 0).float().mean() < 0.6
        torch.testing.assert_close(layer.eval()(torch.eye(2000)).squeeze(1), 1 + layer.bias.expand(2000))

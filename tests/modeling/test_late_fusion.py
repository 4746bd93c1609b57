"""Late Fusion against its equations step by step."""

import numpy as np
import torch
import torch.nn.functional as F
from by_hand import IMAGES, TEXT, check_logits, linear, random_model, softmax
from test_early_fusion import IMAGE_SIZE, SIZE, batch, pooled


def slow_logits(model, words, images):
    parts = zip(model.classifier.values(), pooled(words, images), strict=True)
    return np.log(np.mean([softmax(linear(layer, vector)) for layer, vector in parts], 0))


def test_equations():
    model = random_model("late_fusion", SIZE, IMAGE_SIZE, 0.7)
    check_logits(model, slow_logits, batch(), TEXT, IMAGES, rtol=1e-5, atol=1e-5)
    labels = torch.tensor([0, 2, 1])
    output = model(**batch(), labels=labels)
    expected = F.cross_entropy(output.text_logits, labels) + F.cross_entropy(output.image_logits, labels)
    torch.testing.assert_close(output.loss, expected)

"""CCR against its equations step by step."""

import numpy as np
import torch
from by_hand import IMAGES, TEXT, check_logits, linear, random_model, softmax
from test_early_fusion import IMAGE_SIZE, SIZE, batch, pooled


def slow_logits(model, words, images):
    return linear(model.classifier["both"], np.concatenate(pooled(words, images)))


def test_equations():
    model = random_model("ccr", SIZE, IMAGE_SIZE, 0.7, consistency=0.3)
    check_logits(model, slow_logits, batch(), TEXT, IMAGES, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        output = model(**batch(), labels=torch.tensor([0, 2, 1]))
    expected = 0
    for post, label in enumerate((0, 2, 1)):
        names = ("logits", "text_logits", "image_logits")
        fused, text, image = (softmax(getattr(output, name)[post].tolist()) for name in names)
        divergence = sum(fused * np.log(fused / other) for other in (text, image)).sum()
        expected += (-np.log(fused[label]) + 0.3 * divergence) / 3
    np.testing.assert_allclose(output.loss.item(), expected, rtol=1e-5)

"""Early Fusion against its equation step by step."""

import numpy as np
from by_hand import IMAGES, TEXT, check_logits, features, linear, random_model

SIZE, IMAGE_SIZE = 5, 3


def batch() -> dict:
    """Return posts with five, two and no tokens, and with one, two and no images."""
    return features(SIZE, IMAGE_SIZE, [[1] * 5, [1, 1, 0, 0, 0], [0] * 5], [[1, 0], [1, 1], [0, 0]])


def pooled(words, images) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the tokens, and the mean of all regions of all images."""
    text = np.mean(words, 0) if len(words) else np.zeros(SIZE)
    image = np.mean([region for image in images for region in image], 0) if len(images) else np.zeros(IMAGE_SIZE)
    return text, image


def slow_logits(model, words, images):
    return linear(model.classifier, np.concatenate(pooled(words, images)))


def test_equation():
    model = random_model("early_fusion", SIZE, IMAGE_SIZE, 0.7)
    check_logits(model, slow_logits, batch(), TEXT, IMAGES, rtol=1e-5, atol=1e-5)

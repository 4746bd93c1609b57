"""MultiSentiNet against its equations step by step, and what guides its attention."""

import numpy as np
import torch
from by_hand import (
    IMAGES,
    REGIONS,
    TEXT,
    check_logits,
    count_outside_encoders,
    features,
    linear,
    lstm,
    numpy,
    random_model,
    reaches,
    small_config,
    softmax,
    untrained,
)

from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.multi_sentinet import MultiSentiNetForSequenceClassification, MultiSentiNetModel

SIZE, IMAGE_SIZE, SCENE_SIZE = 5, 3, 4
SCENES = ("scene_features", "image_mask")


def build() -> MultiSentiNetForSequenceClassification:
    scene = SmallCNNConfig(image_size=4, channels=(SCENE_SIZE,))
    return random_model("multi_sentinet", SIZE, IMAGE_SIZE, 0.7, scene_config=scene, hidden_size=6)


def batch() -> dict[str, torch.Tensor]:
    """Return posts with five, two and no words, and with one image, two and none."""
    inputs = features(SIZE, IMAGE_SIZE, [[1] * 5, [1, 1, 0, 0, 0], [0] * 5, [1] * 5], [[1, 0], [1, 1], [1, 0], [0, 0]])
    return inputs | {"scene_features": torch.randn(4, 2, REGIONS, SCENE_SIZE, generator=torch.manual_seed(2))}


def slow_attention(base, states, objects, scene) -> np.ndarray:
    """Return the weights of the words: the softmax of u · tanh(W h_t + W_o o + W_s s + b)."""
    w, b, u = (numpy(weight) for weight in (*base.attention.memory_proj.parameters(), base.attention.score.weight[0]))
    w_o, w_s = np.split(numpy(base.attention.guide_proj.weight), 2, axis=1)
    return softmax([u @ np.tanh(w @ h + w_o @ objects + w_s @ scene + b) for h in states])


def slow_vectors(base, words, images, scene_images) -> tuple:
    """Return the states of the LSTM, the object vector and the scene vector of a post."""
    layers = ((base.object_proj, images), (base.scene_proj, scene_images))
    means = [sum((np.mean(image, 0) for image in seen), np.zeros(layer.in_features)) for layer, seen in layers]
    means = [mean / max(1, len(images)) for mean in means]
    objects, scene = (np.maximum(linear(layer, mean), 0) for (layer, _), mean in zip(layers, means, strict=True))
    return lstm(base.lstm.forward_lstm, words), objects, scene


def slow_logits(model, words, images, scene_images) -> np.ndarray:
    base = model.multi_sentinet
    states, objects, scene = slow_vectors(base, words, images, scene_images)
    text = np.zeros(6)
    if states:
        weights = slow_attention(base, states, objects, scene)
        text = sum(a * h for a, h in zip(weights, states, strict=True))
    fused = np.maximum(linear(base.fusion, np.concatenate([scene, objects, text])), 0)
    return linear(model.classifier, fused)


def test_the_equations():
    model, inputs = build(), batch()
    check_logits(model, slow_logits, inputs, TEXT, IMAGES, SCENES, rtol=0, atol=1e-5)
    (weights,) = model(**inputs).text_attentions
    assert (weights[inputs["attention_mask"] == 0] == 0).all()
    words, images, scene_images = (inputs[name][1].numpy() for name, _ in (TEXT, IMAGES, SCENES))
    expected = slow_attention(
        model.multi_sentinet, *slow_vectors(model.multi_sentinet, words[:2], images, scene_images)
    )
    np.testing.assert_allclose(weights[1, :2].detach(), expected, rtol=0, atol=1e-6)


def test_objects_and_scene_guide_the_attention_and_every_weight_is_trained():
    model, inputs = build(), batch()
    for name in ("image_features", "scene_features", "text_features"):
        inputs[name].requires_grad_()
    output = model(**inputs)
    for name in ("image_features", "scene_features", "text_features"):
        assert reaches(output.text_attentions[0][:2].square(), inputs[name])
    assert untrained(model, inputs, torch.arange(4) % 3) == []


def test_the_sizes_of_the_authors_code():
    """Dense 128 for objects and scene, an LSTM of 128 over 200 numbers per word, and Dense 128 over the three."""
    scene = SmallCNNConfig(image_size=4, channels=(512,))
    with torch.device("meta"):
        model = MultiSentiNetModel(small_config("multi_sentinet", 200, 512, scene_config=scene))
    attention = 128 * 3 * 128 + 128 + 128
    lstm_weights = 4 * 128 * (200 + 128 + 2)
    assert count_outside_encoders(model) == 2 * 513 * 128 + lstm_weights + attention + (3 * 128 + 1) * 128

"""CNN-Multi against its equations step by step."""

import numpy as np
import pytest
from by_hand import IMAGES, REGIONS, TEXT, check_logits, features, linear, numpy, random_model, relu, text_cnn

from mmsent.modeling.cnn_multi import CNNMultiConfig

SIZE, IMAGE_SIZE = 5, 3


def slow_logits(model, words, images):
    base = model.cnn_multi
    text = relu(linear(base.text_proj, np.array(text_cnn(base.text_cnn, list(words), [np.max], relu))))
    flattened = [np.concatenate(list(image)) for image in images]
    image = relu(linear(base.image_proj, np.mean(flattened, 0))) if flattened else np.zeros(len(text))
    stacked = np.stack([text if len(words) else 0 * text, image])  # (2, D)
    weight, bias = numpy(base.joint.weight), numpy(base.joint.bias)  # (F, 2, window)
    pooled = []
    for f in range(len(weight)):
        starts = range(stacked.shape[1] - weight.shape[2] + 1)
        values = [relu((weight[f] * stacked[:, s : s + weight.shape[2]]).sum() + bias[f]) for s in starts]
        pooled += [max(values[s], values[s + 1]) for s in range(0, len(values) - 1, 2)]
    return linear(model.classifier, relu(linear(base.joint_proj, np.array(pooled))))


def test_equations():
    """The texts have 7, 4, 2 (shorter than every window) and no tokens; the posts one, two, no and two images."""
    model = random_model(
        "cnn_multi", SIZE, IMAGE_SIZE, 0.7, filters=2, feature_size=9, joint_filters=3, joint_window=4, joint_hidden=6
    )
    assert model.cnn_multi.image_proj.in_features == REGIONS * IMAGE_SIZE
    attention_mask = [[int(place < length) for place in range(7)] for length in (7, 4, 2, 0)]
    batch = features(SIZE, IMAGE_SIZE, attention_mask, [[1, 0], [1, 1], [0, 0], [1, 1]])
    check_logits(model, slow_logits, batch, TEXT, IMAGES, rtol=1e-5, atol=1e-5)


def test_a_joint_filter_is_not_wider_than_the_vectors():
    with pytest.raises(ValueError, match="joint_window=9 needs a larger feature_size than 8"):
        CNNMultiConfig(joint_window=9, feature_size=8)

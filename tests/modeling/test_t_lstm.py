"""T-LSTM against its equations, node by node, and its trees."""

import numpy as np
import pytest
import tiny
import torch
from by_hand import features, linear, numpy, random_model, sigmoid, softmax

from mmsent.modeling.common_trees import balanced_tree, lay_out

SIZE, IMAGE_SIZE, HIDDEN = 5, 3, 4
TREES = [((1, 2), (0, ~0), (3, 4), (~1, ~2)), balanced_tree(2), (), balanced_tree(1)]


def batch() -> dict[str, torch.Tensor]:
    """Return texts of 5, 2, 0 and 1 words with a skewed tree and balanced ones; one, two, one and no images."""
    mask = [[int(place < length) for place in range(5)] for length in (5, 2, 0, 1)]
    return features(SIZE, IMAGE_SIZE, mask, [[1, 0], [1, 1], [0, 1], [0, 0]]) | {"tree_nodes": lay_out(TREES)}


def look(query, keys, regions):
    """Return the attention of a query and the regions that it reads."""
    if not len(regions):
        return [], np.zeros(IMAGE_SIZE)
    weights = softmax([query @ numpy(keys.weight) @ region for region in regions])
    return weights, sum(weight * region for weight, region in zip(weights, regions, strict=True))


def slow_node(layers, tree, child, words, regions):
    """Return the state h, c of a node and its attention."""
    u_weight, bias = numpy(layers.children_proj.weight), numpy(layers.children_proj.bias)
    if child >= 0:
        weights, visual = look(words[child], layers.word_keys, regions)
        gates = numpy(layers.visual_proj.weight) @ visual + bias
        i, o, u = np.split(gates[: 3 * HIDDEN] + numpy(layers.word_proj.weight) @ words[child], 3)
        c = sigmoid(i) * np.tanh(u)
        return sigmoid(o) * np.tanh(c), c, weights
    left, right = (slow_node(layers, tree, part, words, regions) for part in tree[~child])
    (h_left, c_left, _), (h_right, c_right, _) = left, right
    h = np.concatenate([h_left, h_right])
    weights, visual = look(h, layers.children_keys, regions)
    i, o, u, f_left, f_right = np.split(numpy(layers.visual_proj.weight) @ visual + u_weight @ h + bias, 5)
    c = sigmoid(i) * np.tanh(u) + sigmoid(f_left) * c_left + sigmoid(f_right) * c_right
    return sigmoid(o) * np.tanh(c), c, weights


def test_equations():
    model, inputs = random_model("t_lstm", SIZE, IMAGE_SIZE, 0.7, hidden_size=HIDDEN), batch()
    with torch.no_grad():
        output = model(**inputs)
    for post, tree in enumerate(TREES):
        words = inputs["text_features"][post][inputs["attention_mask"][post].bool()].numpy()
        regions = inputs["image_features"][post][inputs["image_mask"][post]].flatten(0, 1).numpy()
        words = words if len(words) else np.zeros((1, SIZE))  # an absent text is one leaf without a word
        h, _, weights = slow_node(model.base_model.tree_lstm, tree, ~(len(tree) - 1) if tree else 0, words, regions)
        np.testing.assert_allclose(output.fused[post], h, atol=1e-6)
        np.testing.assert_allclose(output.logits[post], linear(model.classifier, h), atol=1e-5)
        shown = output.image_attentions[0][post][inputs["image_mask"][post].repeat_interleave(4)]
        np.testing.assert_allclose(shown, weights, atol=1e-6)


def slow_score(layers, words, regions) -> float:
    return np.mean([max(word @ numpy(layers.word_keys.weight) @ region for region in regions) for word in words])


def test_matching_loss():
    """Posts 0 and 1 have words, and so do the images of posts 0, 1 and 2; the others do not count."""
    model, inputs = random_model("t_lstm", SIZE, IMAGE_SIZE, 0.7, hidden_size=HIDDEN, matching_weight=0.5), batch()
    losses = []
    for post in (0, 1):
        words = inputs["text_features"][post][inputs["attention_mask"][post].bool()].numpy()
        own, other = (
            inputs["image_features"][place][inputs["image_mask"][place]].flatten(0, 1).numpy()
            for place in (post, post + 1)
        )
        layers = model.base_model.tree_lstm
        losses.append(max(0, 1 - slow_score(layers, words, own) + slow_score(layers, words, other)))
    labels = torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        output = model(**inputs, labels=labels)
    assert max(losses) > 0
    np.testing.assert_allclose(output.matching_loss, np.mean(losses), rtol=1e-5)
    expected = torch.nn.functional.cross_entropy(output.logits, labels) + 0.5 * output.matching_loss
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("encoders", ["own", "transformers"])
@torch.no_grad()
def test_the_column_tree_decides_and_its_absence_means_balanced(backbones, encoders):
    processor, model = tiny.build("t_lstm", encoders, backbones)
    text, parse = "the day was so good", "(S (NP (DT the) (NN day)) (VP (VBD was) (ADJP (RB so) (JJ good))))"
    batch = processor(text=[text] * 3, images=[tiny.picture(0)] * 3, tree=[parse, None, " "])
    fused = model(**batch).fused
    assert not torch.allclose(fused[0], fused[1], atol=1e-4)
    torch.testing.assert_close(fused[2], fused[1])
    del batch["tree_nodes"]
    torch.testing.assert_close(model(**batch).fused, fused[[1, 1, 1]])
    hidden = processor(text=[None], images=[tiny.picture(0)], tree=[parse])
    torch.testing.assert_close(model(**hidden).fused, model(**processor(images=[tiny.picture(0)])).fused)
    with pytest.raises(ValueError, match=r"column tree of the post 'the day was so good': its word 1 is 'a'.*Give a"):
        processor(text=text, tree="(S (DT a) (NN day))")
    with pytest.raises(ValueError, match="set max_length of the processor"):
        model(**processor(text=text, max_length=3))

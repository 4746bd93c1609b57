"""Layers computed step by step in NumPy, and the small models and batches that they are compared with."""

import numpy as np
import torch

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_word_vectors import WordVectorsConfig

WORDS, REGIONS = 9, 4


def small_config(architecture: str, text_size: int, image_size: int, **fields):
    """Return a config with word vectors and a CNN with 4 regions per image."""
    return ARCHITECTURES[architecture].config(
        text_config=WordVectorsConfig(vocab_size=WORDS, hidden_size=text_size),
        image_config=SmallCNNConfig(image_size=4, channels=(image_size,)),
        **{"standardize": False, **fields},
    )


def random_model(architecture: str, text_size: int, image_size: int, std: float, **fields):
    """Return a classifier in eval mode of which every parameter is random, also those that usually start constant."""
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture].classifier(small_config(architecture, text_size, image_size, **fields)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def features(text_size: int, image_size: int, attention_mask: list, image_mask: list) -> dict[str, torch.Tensor]:
    """Return random cached features of posts with these masks."""
    generator = torch.Generator().manual_seed(1)
    attention_mask, image_mask = torch.tensor(attention_mask), torch.tensor(image_mask).bool()
    return {
        "text_features": torch.randn(*attention_mask.shape, text_size, generator=generator),
        "attention_mask": attention_mask,
        "image_features": torch.randn(*image_mask.shape, REGIONS, image_size, generator=generator),
        "image_mask": image_mask,
    }


def aspect_posts(image_size: int) -> dict[str, torch.Tensor]:
    """Return four posts with words, aspects and cached images.

    The texts have 5, 2, 0 and 3 words, the aspects 2, 1, 3 and 0. The posts have one image, none, two (between which a
    slot is empty) and three.
    """
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.randint(1, WORDS, (4, 5), generator=generator),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]),
        "aspect_input_ids": torch.randint(1, WORDS, (4, 3), generator=generator),
        "aspect_attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]]),
        "image_features": torch.randn(4, 3, REGIONS, image_size, generator=generator),
        "image_mask": torch.tensor([[1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1]]).bool(),
    }


@torch.no_grad()
def check_logits(model, slow_logits, inputs: dict[str, torch.Tensor], *names: tuple[str, str], **tolerances) -> None:
    """Check the logits of each post against those computed step by step from its inputs without padding."""
    logits = model(**inputs).logits
    for post in range(len(logits)):
        expected = slow_logits(model, *unpadded(inputs, post, *names))
        np.testing.assert_allclose(logits[post].numpy(), expected, **tolerances)


def unpadded(inputs: dict[str, torch.Tensor], post: int, *names: tuple[str, str]) -> list:
    """Return the inputs of one post without padding, as arrays; each name comes with the name of its mask."""
    return [inputs[name][post][inputs[mask][post].bool()].detach().numpy() for name, mask in names]


TEXT, IMAGES = ("text_features", "attention_mask"), ("image_features", "image_mask")
TOKENS, ASPECT = ("input_ids", "attention_mask"), ("aspect_input_ids", "aspect_attention_mask")


def untrained(model, inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> list[str]:
    """Return the names of the parameters outside the encoders that get no gradient without dropout."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model(**inputs, labels=labels).loss.backward()
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if "encoder" not in name]
    return [name for name, gradient in named if gradient is None or not gradient.abs().sum()]


def count_outside_encoders(model) -> int:
    """Return the number of weights of the base model outside its encoders."""
    return sum(p.numel() for name, p in model.base_model.named_parameters() if "encoder" not in name)


def reaches(vector: torch.Tensor, source: torch.Tensor) -> bool:
    """Tell whether a vector depends on the source."""
    (gradient,) = torch.autograd.grad(vector.sum(), source, allow_unused=True, retain_graph=True)
    return gradient is not None and bool(gradient.abs().sum() > 0)


def check_attentions(output, inputs: dict[str, torch.Tensor], slots_per_image: int, hops: tuple[int, int]) -> None:
    """Check number, shape, sums and padding of the attentions to (texts, images)."""
    slot_mask = inputs["image_mask"].repeat_interleave(slots_per_image, 1)
    pairs = ((output.text_attentions, inputs["attention_mask"]), (output.image_attentions, slot_mask))
    for (attentions, mask), count in zip(pairs, hops, strict=True):
        assert len(attentions) == count
        for weights in attentions:
            assert weights.shape == mask.shape
            assert (weights[mask == 0] == 0).all()
            torch.testing.assert_close(weights.sum(1), mask.any(1).float())


# ---------------------------------------------------------------------------------------------------------- the layers


def numpy(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().numpy()


def softmax(scores) -> np.ndarray:
    weights = np.exp(np.array(scores) - max(scores))
    return weights / weights.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(layer, x):
    return numpy(layer.weight) @ x + numpy(layer.bias)


def lstm(layer, sequence) -> list[np.ndarray]:
    """Return the state after each step in one direction; PyTorch's gates are input, forget, cell and output."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w_x, w_h, b_x, b_h = (numpy(getattr(layer, name)) for name in names)
    h, c, states = np.zeros(layer.hidden_size), np.zeros(layer.hidden_size), []
    for x in sequence:
        i, f, g, o = np.split(w_x @ x + b_x + w_h @ h + b_h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return states


def bilstm(layer, sequence) -> list[np.ndarray]:
    forward = lstm(layer.forward_lstm, sequence)
    backward = lstm(layer.backward_lstm, sequence[::-1])[::-1]
    return [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]


def text_cnn(layer, words: list[np.ndarray], pools, activation, pad_to: int | None = None) -> list[float]:
    """Return the features of a text, from every window of every width, one filter at a time."""
    features = []
    if pad_to is not None and words:
        words = (words + [np.zeros(len(words[0]))] * pad_to)[:pad_to]
    for convolution in layer.convolutions:
        weight, bias = numpy(convolution.weight), numpy(convolution.bias)  # (F, D, window)
        filters, size, window = weight.shape
        padded = words + [np.zeros(size)] * (window - len(words)) if words else []
        values = [
            [
                activation(bias[f] + sum(weight[f, :, w] @ padded[start + w] for w in range(window)))
                for f in range(filters)
            ]
            for start in range(len(padded) - window + 1)
        ]
        for pool in pools:
            features += [pool([value[f] for value in values]) if values else 0.0 for f in range(filters)]
    return features


def relu(x):
    return np.maximum(x, 0)


def guided(attention, scoring: str, memory, guide) -> np.ndarray:
    """Return the weights of a `GuidedAttention`: softmax over tanh(w [m_i; v] + b), or u · tanh(W [m_i; v] + b)."""
    weight = np.concatenate([numpy(attention.memory_proj.weight), numpy(attention.guide_proj.weight)], 1)
    hidden = [np.tanh(weight @ np.concatenate([m, guide]) + numpy(attention.memory_proj.bias)) for m in memory]
    return softmax([h[0] if scoring == "scalar" else numpy(attention.score.weight)[0] @ h for h in hidden])


def projected(attention, memory, guide) -> np.ndarray:
    """Return the result of a `ProjectedAttention`: the softmax of tanh(w · [W_k m_i; W_q v]), or of
    w · tanh(W_k m_i + W_q v), the sum of the keys, and a last linear layer."""
    keys = [numpy(attention.key_proj.weight) @ m for m in memory]
    query, score = numpy(attention.query_proj.weight) @ guide, numpy(attention.score.weight)[0]
    if attention.scoring == "scalar":
        scores = [np.tanh(score @ np.concatenate([key, query])) for key in keys]
    else:
        scores = [score @ np.tanh(key + query) for key in keys]
    weights = softmax(scores) if keys else []
    return linear(attention.output_proj, sum((a * key for a, key in zip(weights, keys, strict=True)), 0 * query))

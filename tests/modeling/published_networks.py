"""The published networks as equations in NumPy, post by post where it matters, and random weights under their names.

They are written from what the published code computes (docs/parity.md), not from the models of this project.
"""

import math
import re
from collections.abc import Iterator

import numpy as np
import tiny
import torch

PAGE = tiny.ROOT / "docs" / "parity.md"
Weights = dict[str, np.ndarray]


# ------------------------------------------------------------------------------------------------ the map of the names


def _rows(heading: str) -> Iterator[list[str]]:
    """Return the rows of the table under a heading of the page, without marks of code."""
    section = PAGE.read_text(encoding="utf-8").partition(f"### {heading}\n")[2].partition("\n##")[0]
    for line in section.splitlines():
        if line.startswith("| ") and "there" not in line:
            yield [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]


# The changes that the page names, of a weight x of a network of width d.
CHANGES = {
    "": lambda x, d: x,
    ".T": lambda x, d: x.T,
    "[0].T": lambda x, d: x[0].T,
    "[None]": lambda x, d: x[None],
    "[:1]": lambda x, d: x[:1],
    "[:d]": lambda x, d: x[:d],
    "[d:2*d]": lambda x, d: x[d : 2 * d],
    "[2*d:]": lambda x, d: x[2 * d :],
    "[:, d:] then [:, :d]": lambda x, d: np.concatenate([x[:, d:], x[:, :d]], 1),
}


def translate(weights: Weights, heading: str, width: int) -> dict[str, torch.Tensor]:
    """Return published weights under their names in this project, by the tables of the page."""
    rules, translated = list(_rows("Kinds")), {}
    for module, here, kind in _rows(heading):
        for name, value in weights.items():
            if name.startswith(f"{module}."):
                rest = name.removeprefix(f"{module}.")
                for _, there, new, change in [rule for rule in rules if rule[0] == kind] or [["", "*", "*", ""]]:
                    match = re.fullmatch(re.escape(there).replace(r"\*", "(.+?)"), rest)
                    if match is not None:
                        new_name = f"{here}.{new.replace('*', '{}').format(*match.groups())}"
                        translated[new_name] = torch.tensor(CHANGES[change](value, width))
    return translated


def copy_into(model: torch.nn.Module, weights: Weights, heading: str, width: int) -> None:
    """Copy published weights into a model. The map must name every weight but those of a new image encoder."""
    report = model.load_state_dict(translate(weights, heading, width), strict=False)
    names = {name for name, _ in model.named_parameters() if not re.search(r"image_encoder\.backbone\.\d", name)}
    assert not names & set(report.missing_keys)
    assert not report.unexpected_keys


def random_weights(shapes: dict[str, tuple[int, ...]], scale: float = 0.5) -> Weights:
    """Return random weights of these shapes."""
    rng = np.random.default_rng(0)
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


# --------------------------------------------------------------------------------------------- MIMN and its Co-Memory


def lstm_shapes(name: str, inputs: int, units: int, directions: int) -> dict[str, tuple[int, ...]]:
    shapes = {"weight_ih": (4 * units, inputs), "weight_hh": (4 * units, units)}
    shapes |= {"bias_ih": (4 * units,), "bias_hh": (4 * units,)}
    ends = ("_l0", "_l0_reverse")[:directions]
    return {f"{name}.RNN.{part}{end}": shape for part, shape in shapes.items() for end in ends}


def attention_shapes(name: str, size: int, bilinear: bool = False) -> dict[str, tuple[int, ...]]:
    shapes = {"w_kx": (1, size, size), "w_qx": (1, size, size), "weight": (size, size) if bilinear else (2 * size,)}
    shapes |= {"proj.weight": (size, size), "proj.bias": (size,)}
    return {f"{name}.{part}": shape for part, shape in shapes.items()}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the softmax over the last axis."""
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def linear(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]


def dynamic_lstm(weights: Weights, name: str, sequence: np.ndarray, length: int, longest: int) -> np.ndarray:
    """Return the states (longest, H) of one or both directions over the first positions, zero on padding."""
    directions = []
    for end, reverse in (("_l0", False), ("_l0_reverse", True)):
        parts = [weights.get(f"{name}.RNN.{part}{end}") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        if parts[0] is None:
            continue
        units = parts[1].shape[1]
        h, c, states = np.zeros(units), np.zeros(units), np.zeros((longest, units))
        for place in reversed(range(length)) if reverse else range(length):
            i, f, g, o = np.split(parts[0] @ sequence[place] + parts[2] + parts[1] @ h + parts[3], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = states[place] = sigmoid(o) * np.tanh(c)
        directions.append(states)
    return np.concatenate(directions, -1)


def attention(weights: Weights, name: str, memory: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return what a query (D,) reads of a memory (M, D): every slot has a weight, padding too."""
    keys, q = memory @ weights[f"{name}.w_kx"][0], query @ weights[f"{name}.w_qx"][0]
    if weights[f"{name}.weight"].ndim == 2:  # "bi_linear"
        scores = q @ weights[f"{name}.weight"] @ keys.T
    else:  # "mlp"
        scores = np.tanh([np.concatenate([key, q]) @ weights[f"{name}.weight"] for key in keys])
    return linear(weights, f"{name}.proj", softmax(scores) @ keys)


def gru_cell(weights: Weights, name: str, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    w_x, w_h, b_x, b_h = (weights[f"{name}.{part}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    (rx, zx, nx), (rh, zh, nh) = np.split(w_x @ x + b_x, 3), np.split(w_h @ h + b_h, 3)
    z = sigmoid(zx + zh)
    return (1 - z) * np.tanh(nx + sigmoid(rx + rh) * nh) + z * h


def mimn(weights: Weights, text, aspect, images, counts, hops: int) -> np.ndarray:
    """Return the logits (B, C) for ids (B, L) and (B, N), 0 being padding, images (B, K, D) and their counts (B,)."""
    logits, longest = [], (text != 0).sum(1).max()
    for ids, aspect_ids, slots, count in zip(text, aspect, images, counts, strict=True):
        words, of_aspect = weights["embed.weight"][ids], weights["embed.weight"][aspect_ids]
        text_memory = dynamic_lstm(weights, "bi_lstm_context", words, (ids != 0).sum(), longest)
        n = (aspect_ids != 0).sum()
        e_text = e_img = dynamic_lstm(weights, "bi_lstm_aspect", of_aspect, n, len(aspect_ids)).sum(0) / n
        img_memory = dynamic_lstm(weights, "bi_lstm_img", slots, count, max(counts))
        for _ in range(hops):
            of_text = attention(weights, "attention_text", text_memory, e_text)
            of_text = (of_text + attention(weights, "attention_img2text", text_memory, e_img)) / 2
            of_img = attention(weights, "attention_img", img_memory, e_img)
            of_img = (of_img + attention(weights, "attention_text2img", img_memory, e_text)) / 2
            e_text = gru_cell(weights, "gru_cell_text", of_text, e_text)
            e_img = gru_cell(weights, "gru_cell_img", of_img, e_img)
        logits.append(linear(weights, "fc", np.concatenate([e_text, e_img])))
    return np.array(logits)


def memnet2(weights: Weights, text, aspect, images, counts, hops: int) -> np.ndarray:
    """Return the logits (B, C) as `mimn` does; the sum over the aspect has the row of padding in it."""
    logits, longest = [], (text != 0).sum(1).max()
    for ids, aspect_ids, slots, count in zip(text, aspect, images, counts, strict=True):
        text_memory = weights["embed.weight"][ids[:longest]] * (ids[:longest, None] != 0)
        img_memory = dynamic_lstm(weights, "bi_lstm_img", slots, count, max(counts))
        x_text = x_img = weights["embed.weight"][aspect_ids].sum(0) / (aspect_ids != 0).sum()
        for _ in range(hops):
            x_text = linear(weights, "x_linear", x_text) + attention(weights, "attention", text_memory, x_img)
            x_img = linear(weights, "x_linear", x_img) + attention(weights, "attention", img_memory, x_text)
        logits.append(linear(weights, "dense", np.concatenate([x_text, x_img])))
    return np.array(logits)


# ------------------------------------------------------------------------------------------ MIMN's baselines of texts


def lstm(weights: Weights, text, aspect, hops: int) -> np.ndarray:
    """Return the logits (B, C) for ids (B, L) and (B, N), 0 being padding, as the following functions do."""
    counts = (text != 0).sum(1)
    words = zip(weights["embed.weight"][text], counts, strict=True)
    states = [dynamic_lstm(weights, "lstm", sequence, n, n) for sequence, n in words]
    return np.array([linear(weights, "dense", state[-1]) for state in states])


def memnet(weights: Weights, text, aspect, hops: int) -> np.ndarray:
    logits, longest = [], (text != 0).sum(1).max()
    for ids, aspect_ids in zip(text, aspect, strict=True):
        memory = weights["embed.weight"][ids[:longest]] * (ids[:longest, None] != 0)
        x = weights["embed.weight"][aspect_ids].sum(0) / (aspect_ids != 0).sum()
        for _ in range(hops):
            x = linear(weights, "x_linear", x)
            x = attention(weights, "attention", memory, x) + x
        logits.append(linear(weights, "dense", x))
    return np.array(logits)


def aelstm(weights: Weights, text, aspect, hops: int) -> np.ndarray:
    logits, longest = [], (text != 0).sum(1).max()
    for ids, aspect_ids in zip(text, aspect, strict=True):
        query = weights["embed.weight"][aspect_ids].sum(0) / (aspect_ids != 0).sum()
        words = np.concatenate([weights["embed.weight"][ids], np.tile(query, (len(ids), 1))], 1)
        memory = dynamic_lstm(weights, "lstm", words, (ids != 0).sum(), longest)
        logits.append(linear(weights, "dense", attention(weights, "attention", memory, query)))
    return np.array(logits)


def ian(weights: Weights, text, aspect, hops: int) -> np.ndarray:
    logits, longest = [], {"context": (text != 0).sum(1).max(), "aspect": (aspect != 0).sum(1).max()}
    for post in zip(text, aspect, strict=True):
        states, means = {}, {}
        for name, ids in zip(longest, post, strict=True):
            n, words = (ids != 0).sum(), weights["embed.weight"][ids]
            states[name] = dynamic_lstm(weights, f"lstm_{name}", words, n, longest[name])
            means[name] = states[name].sum(0) / n
        of_aspect = attention(weights, "attention_aspect", states["aspect"], means["context"])
        of_context = attention(weights, "attention_context", states["context"], means["aspect"])
        logits.append(linear(weights, "dense", np.concatenate([of_aspect, of_context])))
    return np.array(logits)


def ram(weights: Weights, text, aspect, hops: int) -> np.ndarray:
    logits, longest = [], (text != 0).sum(1).max()
    for ids, aspect_ids in zip(text, aspect, strict=True):
        words, of_aspect = weights["embed.weight"][ids], weights["embed.weight"][aspect_ids]
        memory = dynamic_lstm(weights, "bi_lstm_context", words, (ids != 0).sum(), longest)
        n = (aspect_ids != 0).sum()
        e = dynamic_lstm(weights, "bi_lstm_aspect", of_aspect, n, len(aspect_ids)).sum(0) / n
        for _ in range(hops):
            e = gru_cell(weights, "gru_cell", attention(weights, "attention", memory, e), e)
        logits.append(linear(weights, "dense", e))
    return np.array(logits)


# ---------------------------------------------------------------------------------------------------------------- MDSE


def layer_norm(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def cross_attention(weights: Weights, name: str, memory: np.ndarray, queries: np.ndarray, heads: int) -> np.ndarray:
    """Return what queries (Q, d) make of a memory (M, d), without any mask."""
    memory, queries = (layer_norm(weights, f"{name}.norm1", x) for x in (memory, queries))
    in_weights, in_biases = (np.split(weights[f"{name}.multi_attn.in_proj_{kind}"], 3) for kind in ("weight", "bias"))
    q, k, v = (x @ w.T + b for x, w, b in zip((queries, memory, memory), in_weights, in_biases, strict=True))
    parts = zip(*(np.split(x, heads, -1) for x in (q, k, v)), strict=True)
    read = np.concatenate([softmax(q @ k.T / math.sqrt(q.shape[1])) @ v for q, k, v in parts], -1)
    hidden = queries + linear(weights, f"{name}.multi_attn.out_proj", read)
    inner = gelu(linear(weights, f"{name}.linear1", layer_norm(weights, f"{name}.norm2", hidden)))
    return hidden + linear(weights, f"{name}.linear2", inner)


def two_layers(weights: Weights, name: str, x: np.ndarray) -> np.ndarray:
    return linear(weights, f"{name}.3", gelu(linear(weights, f"{name}.1", x)))


def mdse(weights: Weights, texts: np.ndarray, images: np.ndarray, heads: int) -> np.ndarray:
    """Return the logits (B, C) for the encoders' outputs (B, L, d), first token and padding included, and (B, 1 + R,
    d), class token included."""
    logits = []
    for text, image in zip(texts, images, strict=True):

        def block(name: str, memory, queries):
            return cross_attention(weights, f"fuse_model.{name}", memory, queries, heads)

        image_reads_text = block("text_image_encoder", text, image)
        text_reads_image = block("image_text_encoder", image, text)

        def private(own, cross):
            importance = softmax((own[1:] @ cross[1:].T).sum(-1))
            kept = own[1:] * (1 - importance)[:, None]
            return block("text_single_encoder", kept, kept).mean(0)

        of_text, of_image = private(text, image_reads_text), private(image, text_reads_image)
        both = np.concatenate([text_reads_image, image_reads_text])
        shared = block("text_image_decoder", both, both).mean(0)
        f_text = two_layers(weights, "text_image_linear", np.concatenate([of_text, shared]))
        f_image = two_layers(weights, "image_text_linear", np.concatenate([shared, of_image]))
        logits.append(two_layers(weights, "output_classify", np.concatenate([f_text, f_image])))
    return np.array(logits)

"""Why a model scores a post as it does: attributions of words and pixels, scores without each part, attention."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex
import torch
from PIL import Image
from torch import nn

from mmsent.modeling.common_base import MultimodalOutput, MultimodalPreTrainedModel
from mmsent.modeling.common_encoders import TextEncoder
from mmsent.modeling.common_images import load_image
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.modeling.common_text import prepare_text
from mmsent.modeling.common_word_vectors import WordVectors

INTERNAL_BATCH = 16  # points of the path in memory at once
TOLERANCE = 0.02  # how much of the explained difference may be unaccounted for
SMALL = 0.005  # a gap that is none: so much of a logit moves no probability by more than 0.125 points
REFINEMENTS = (1, 4, 16)  # times as many points, until the gap is small


@dataclass(frozen=True)
class Hop:
    """What one hop or layer attended to.

    Args:
        words: a weight for each of `Explanation.words`; what is missing to one went to the tokenizer's special tokens.
            None where this modality has no such hop, or the post no text.
        regions: for each image the weights of its regions (h, w), the sum over all images is one; None where this
            modality has no such hop, the post no image, or what is attended to has no place in the picture.
    """

    words: list[float] | None
    regions: list[np.ndarray] | None


@dataclass(frozen=True)
class Explanation:
    """What `explain_post` finds.

    Args:
        text: the text as it was given; None without one.
        aspect: the aspect, which nothing is attributed to.
        images: the pictures that the model read, upright, cropped to what it saw of them.
        scores: probability of each label, in the model's order.
        label: the label that is explained.
        words: pieces of the text in order, each with its attribution. Joined they are the text that the tokenizer saw:
            the text itself, unless the processor has text steps. A piece is a token, or several that share a character
            or an emoji; blanks, and what was cut off behind the last token, are pieces with attribution 0.
        heat: for each image the attribution of its pixels (H, W), at the size that the model reads.
        without: the scores without "text", "images", and of several images each, "image 1" and so on; only parts that
            the post has and the model reads.
        attention: one a hop or layer, empty for models without attention.
        gap: what the attributions leave unexplained: the score's difference to the baseline less their sum.
    """

    text: str | None
    aspect: str | None
    images: list[Image.Image]
    scores: dict[str, float]
    label: str
    words: list[tuple[str, float]]
    heat: list[np.ndarray]
    without: dict[str, dict[str, float]]
    attention: list[Hop]
    gap: float


def explain_post(
    model: MultimodalPreTrainedModel,
    processor: MultimodalProcessor,
    text: str | None = None,
    images: Sequence[Any] = (),
    aspect: str | None = None,
    label: str | None = None,
    steps: int = 32,
) -> Explanation:
    """Explain a model's score of a post.

    The attributions are integrated gradients (Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML
    2017) along one straight path from a baseline to the post, on which all words and pixels change together. They
    are of the label's logit less the mean of all labels' logits, and sum to the difference of that score between post
    and baseline, up to `gap`. Not of the logit alone: what all logits have in common moves no probability, and
    cross-entropy never trains it away.

    In the baseline, every token's embedding is the mean of the whole table, but for the special tokens that the
    tokenizer adds to any text; and every pixel is zero after normalisation, which is mid-grey or the mean colour of
    the encoder's training images. Both say nothing, and unlike an absent part they can be approached step by step.
    Not the embedding of padding: it is often zero, where layer normalisation has a jump that no number of steps
    follows. The aspect stays as it is.

    The model is left as it was. Processors keep the first `max_images` images, and so does this.

    Args:
        images: anything that `load_image` reads.
        label: the label to explain, by name; the likeliest unless given.
        steps: points of the path. While the gap is over 2 % of the difference and over 0.005, it is done again with 4
            and 16 times as many.

    Raises:
        ImportError: captum is not installed.
        ValueError: a label that the model does not know, or neither text nor image.
        BadImageError: an image that cannot be decoded.
    """
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    if label is not None and label not in labels:
        raise ValueError(f"label={label!r}: this model knows {', '.join(labels)}.")
    images = list(images)
    if not (text or "").strip() and not images:
        raise ValueError("There is nothing to explain: give a text, images or both.")
    batch = dict(processor(text=text, images=images, aspect=aspect))
    batch = {name: value.to(model.device) for name, value in batch.items()}
    batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
    pictures = [_seen(load_image(image), processor) for image in images[: processor.max_images]]
    shown = prepare_text(text, processor.text_steps or [])
    groups, special = _pieces(shown, processor)

    def scores_of(changes: dict[str, torch.Tensor]) -> dict[str, float]:
        logits = model(**batch | changes).logits[0].float()
        return dict(zip(labels, logits.softmax(-1).tolist(), strict=True))

    with _evaluating(model):
        with torch.no_grad():
            output = model(**batch)
            scores = scores_of({})
            without = {name: scores_of(changes) for name, changes in _removals(model, batch).items()}
        label = label or max(scores, key=scores.get)
        of_tokens, heat, gap = _integrated_gradients(model, batch, special, labels.index(label), steps)
    return Explanation(
        text=text,
        aspect=aspect,
        images=pictures,
        scores=scores,
        label=label,
        words=[(piece, sum(of_tokens[token] for token in tokens)) for piece, tokens in groups],
        heat=list(heat[: len(pictures)]),
        without=without,
        attention=_hops(model, batch, output, [tokens for _, tokens in groups]),
        gap=gap,
    )


def _seen(picture: Image.Image, processor: MultimodalProcessor) -> Image.Image:
    """The part of a picture that the image processor leaves, so that heat lies where it belongs."""
    image_processor = processor.image_processor
    if not getattr(image_processor, "do_center_crop", False):
        return picture
    size, (height, width) = dict(image_processor.size), processor.image_size
    if size.get("shortest_edge"):
        across = down = size["shortest_edge"] / min(picture.size)
    else:
        across, down = size["width"] / picture.width, size["height"] / picture.height
    wide, high = min(width / across, picture.width), min(height / down, picture.height)
    left, top = (picture.width - wide) / 2, (picture.height - high) / 2
    return picture.crop((round(left), round(top), round(left + wide), round(top + high)))


def _pieces(text: str, processor: MultimodalProcessor) -> tuple[list[tuple[str, list[int]]], list[bool]]:
    """The text cut into pieces, each with the indices of its tokens, none where it was not read; and which tokens the
    tokenizer has added."""
    encoded = processor.tokenizer(text, truncation=True, max_length=processor.max_length).encodings[0]
    special = [bool(added) for added in encoded.special_tokens_mask]
    if not text.strip():
        return [(text, [])] if text else [], special
    # Of each code point, where the character that people see (with accents, skin tone, joined emoji) begins and ends.
    begins, ends = [], []
    for cluster in regex.finditer(r"\X", text):
        begins += [cluster.start()] * len(cluster[0])
        ends += [cluster.end()] * len(cluster[0])
    spans: list[tuple[int, int, list[int]]] = []
    for token, (start, end) in enumerate(encoded.offsets):
        if special[token]:
            continue
        start = min(start, len(text) - 1)  # a token of no character, a mere word boundary, goes to the next one
        end = max(end, start + 1)
        start = end - len(text[start:end].lstrip() or text[start:end])
        start, end, tokens = begins[start], ends[end - 1], [token]
        if spans and start < spans[-1][1]:
            before, until, others = spans.pop()
            start, end, tokens = min(start, before), max(end, until), others + tokens
        spans.append((start, end, tokens))
    pieces, done = [], 0
    for start, end, tokens in [*spans, (len(text), len(text), [])]:
        if start > done:
            pieces.append((text[done:start], []))
        if end > start:
            pieces.append((text[start:end], tokens))
        done = end
    return pieces, special


@contextmanager
def _evaluating(model: MultimodalPreTrainedModel) -> Iterator[None]:
    """The model in eval mode, every module afterwards in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # cuDNN has no backward pass for an LSTM in eval mode
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _reads(model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor]) -> tuple[bool, bool]:
    """Whether there is a text, and whether there are images, that the model reads."""
    base = model.base_model
    has_text, has_images = bool(batch["attention_mask"].any()), bool(batch["image_mask"].any())
    return base.text_encoder is not None and has_text, base.image_encoder is not None and has_images


def _removals(model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """By name of a part, the masks that hide it."""
    reads_text, reads_images = _reads(model, batch)
    removals = {}
    if reads_text:
        removals["text"] = {"attention_mask": torch.zeros_like(batch["attention_mask"])}
    if reads_images:
        mask = batch["image_mask"]  # (1, K)
        removals["images"] = {"image_mask": torch.zeros_like(mask)}
        if mask.shape[1] > 1:
            one = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
            removals |= {f"image {slot + 1}": {"image_mask": mask & ~row} for slot, row in enumerate(one)}
    return removals


def _integrated_gradients(
    model: MultimodalPreTrainedModel,
    batch: dict[str, torch.Tensor],
    special: list[bool],
    label: int,
    steps: int,
) -> tuple[list[float], np.ndarray, float]:
    """Attributions of the L tokens and of the pixels (K, H, W), zero for what is not read, and the gap."""
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ImportError("Explanations need captum: pip install 'mmsent[explain]'.") from error
    slots, _, *size = batch["pixel_values"].shape[1:]
    of_tokens, heat = [0.0] * batch["input_ids"].shape[1], np.zeros((slots, *size))
    reads_text, reads_images = _reads(model, batch)
    parts, baselines = {}, []
    if reads_text:
        table = _table(model.base_model.text_encoder)
        with torch.no_grad():
            parts["text"] = embeddings = table(batch["input_ids"])  # (1, L, D)
            average = table.weight.mean(0)  # (D,)
        baselines.append(torch.where(torch.tensor(special, device=model.device)[:, None], embeddings, average))
    if reads_images:
        parts["images"] = batch["pixel_values"]  # (1, K, 3, H, W)
        baselines.append(torch.zeros_like(batch["pixel_values"]))
    if not parts:
        return of_tokens, heat, 0.0

    def score(*points: torch.Tensor) -> torch.Tensor:
        """S points of the path, embeddings (S, L, D) and pixels (S, K, 3, H, W) -> (S,)."""
        given = dict(zip(parts, points, strict=True))
        inputs = {name: value.expand(len(points[0]), *value.shape[1:]) for name, value in batch.items()}
        if reads_images:
            inputs["pixel_values"] = given["images"]
        with _embedded(model.base_model.text_encoder, inputs["input_ids"], given.get("text")):
            logits = model(**inputs).logits.float()  # (S, C)
        return logits[:, label] - logits.mean(1)

    points, baselines = tuple(parts.values()), tuple(baselines)
    with torch.no_grad():
        difference = (score(*points) - score(*baselines)).item()
    method = IntegratedGradients(score)
    for times in REFINEMENTS:
        found = method.attribute(points, baselines, n_steps=steps * times, internal_batch_size=INTERNAL_BATCH)
        gap = difference - sum(part.double().sum().item() for part in found)
        if abs(gap) <= max(TOLERANCE * abs(difference), SMALL):
            break
    found = dict(zip(parts, (part[0].double().cpu() for part in found), strict=True))
    if reads_text:
        of_tokens = found["text"].sum(-1).tolist()
    if reads_images:
        heat = found["images"].sum(1).numpy()  # (K, H, W)
    return of_tokens, heat, gap


def _table(encoder: TextEncoder) -> nn.Module:
    backbone = encoder.backbone
    return backbone if isinstance(backbone, WordVectors) else backbone.get_input_embeddings()


@contextmanager
def _embedded(encoder: TextEncoder | None, input_ids: torch.Tensor, embeddings: torch.Tensor | None) -> Iterator:
    """While this lasts, the encoder reads `embeddings` (B, L, D) where it is given these very `input_ids`, and its own
    where it is given others (an aspect)."""
    if embeddings is None:
        yield
        return
    meant = []

    def note(_, args: tuple) -> None:
        meant.append(args[0] is input_ids)

    def replace(_, args: tuple, output: torch.Tensor) -> torch.Tensor:
        return embeddings if meant[-1] else output

    hooks = [encoder.register_forward_pre_hook(note)]
    hooks.append(_table(encoder).register_forward_hook(replace))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hops(
    model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor], output: MultimodalOutput, pieces: list[list[int]]
) -> list[Hop]:
    """The attentions by hop. Where a modality has fewer hops than the other, its last ones stand beside the other's
    last ones."""
    reads_text, reads_images = _reads(model, batch)
    texts = [weights[0].tolist() for weights in output.text_attentions or ()] if reads_text else []
    texts = [[sum(weights[token] for token in tokens) for tokens in pieces] for weights in texts]
    images = []
    if reads_images and getattr(model.config, "visual_memory", "regions") != "channels":
        images = [_grids(weights[0].float().cpu().numpy(), batch) for weights in output.image_attentions or ()]
    hops = max(len(texts), len(images))
    texts, images = [None] * (hops - len(texts)) + texts, [None] * (hops - len(images)) + images
    return [Hop(words, regions) for words, regions in zip(texts, images, strict=True)]


def _grids(weights: np.ndarray, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """Weights (K·R,) of the regions, row by row, as K grids (h, w) with the proportions of the pixels."""
    slots, _, height, width = batch["pixel_values"].shape[1:]
    rows = round((len(weights) / slots * height / width) ** 0.5)
    return list(weights.reshape(slots, rows, -1))

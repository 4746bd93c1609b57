"""Explain why a post has its scores: attributions of words and pixels, scores without each part, attention.

The attributions are integrated gradients (Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017)
along a straight path from a baseline to the post, on which all words and pixels change together. The explained score
is the logit of the label minus the mean of all logits, because a change that all logits share does not change any
probability. The attributions sum to the difference in score between post and baseline, up to a gap.

In the baseline, the embedding of every token is the mean of the embedding table, except for the special tokens that
the tokenizer adds. (Layer normalisation is too steep at the embedding of padding, which is often zero.) Every pixel is
zero after normalisation, which is grey or the mean colour of the encoder's training images. The aspect and further
columns, such as a caption, stay as they are.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from mmsent.modeling.common_base import MultimodalOutput, MultimodalPreTrainedModel
from mmsent.modeling.common_images import load_image
from mmsent.modeling.common_pipeline import make_batch, probabilities, reading
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.modeling.common_text import prepare_text

from .pieces import split_text, visible_part

BATCH_SIZE = 16  # number of points of the path in memory at once
TOLERANCE = 0.02  # share of the explained difference that may stay unexplained
SMALL = 0.005  # a gap that is always accepted: it changes a probability by at most 0.00125
REFINEMENTS = (1, 4, 16)  # factors for the number of points, tried in turn until the gap is small


@dataclass(frozen=True)
class Hop:
    """The attention of one hop or layer.

    Args:
        words: A weight for each of `Explanation.words`. If they sum to less than one, the rest belongs to the
            tokenizer's special tokens, to padding that the model reads, or to a caption. None if the post has no text,
            or the text side of the model has no such hop.
        regions: For each image the weights (h, w) of its regions; over all images they sum to one, or to less if the
            model reads padding. None if the post has no image, the image side has no such hop, or the attention has
            no position in the image.
        tokens: The number of tokens, special ones and padding that is read included, over which the weights of the
            words are spread.
    """

    words: list[float] | None
    regions: list[np.ndarray] | None
    tokens: int


@dataclass(frozen=True)
class Explanation:
    """The result of `explain_post`.

    Args:
        text: The original text, or None.
        aspect: The aspect. It has no attribution.
        columns: The further columns that the model reads. They have no attribution either.
        images: The images that the model read, upright and cropped to what it saw of them.
        scores: The probability of each label, in the order of the model's labels.
        label: The label that is explained.
        words: The pieces of the text that the tokenizer read, which is `text` after the text steps, in order, each
            with its attribution. A piece is one token, or several that share a character or an emoji. Blanks, and text
            after the last token that the model read, are pieces with attribution 0.
        heat: For each image the attribution of its pixels (H, W), at the size that the model reads.
        without: The scores without "text", a further text such as "caption", "images", and if there are several images
            without "image 1" and so on. Only parts that the post has and the model reads are listed.
        attention: One entry per hop or layer; empty for models without attention.
        gap: The part of the difference in score to the baseline that the attributions leave unexplained.
    """

    text: str | None
    aspect: str | None
    columns: dict[str, str | None]
    images: list[Image.Image]
    scores: dict[str, float]
    label: str
    words: list[tuple[str, float]]
    heat: list[np.ndarray]
    without: dict[str, dict[str, float]]
    attention: list[Hop]
    gap: float

    def score_rows(self) -> dict[str, dict[str, float]]:
        """Return the scores of the whole post and without each part, by the name of the row."""
        return {"whole post": self.scores} | {f"without {part}": scores for part, scores in self.without.items()}


def explain_post(
    model: MultimodalPreTrainedModel,
    processor: MultimodalProcessor,
    text: str | None = None,
    images: Sequence[Any] = (),
    aspect: str | None = None,
    label: str | None = None,
    steps: int = 32,
    **columns: str | None,
) -> Explanation:
    """Explain the score that a model gives a label of a post.

    Args:
        images: Paths, PIL images or arrays. Only the first `max_images` of the processor are read.
        label: Name of the label to explain, by default the one with the highest score.
        steps: Number of points of the path; 4 and 16 times as many if the gap exceeds 2 % of the difference and 0.005.
        columns: The further columns that the model reads, for example caption="a beach".

    Raises:
        ImportError: If captum is not installed.
        ValueError: If the label is unknown, the post says nothing or lacks what is required, or a score is not finite.
        BadImageError: If an image cannot be decoded.
    """
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    if label is not None and label not in labels:
        raise ValueError(f"label={label!r} is not a label of this model; its labels are {', '.join(labels)}.")
    post = {"text": text, "images": list(images), "aspect": aspect} | columns
    batch = dict(BatchFeature(make_batch(processor, [post], **reading(model))).to(model.device, dtype=model.dtype))
    read_text, read_images = _read_parts(model, processor, post)
    pieces, is_special = split_text(read_text, processor)
    with _evaluation_mode(model):
        with torch.no_grad():
            output = model(**batch)
            scores = _scores(model, output)
            without = {part: _scores(model, model(**batch | masks)) for part, masks in _removals(model, batch).items()}
        label = label or labels[int(output.logits[0].argmax())]
        token_values, heat, gap = _integrated_gradients(model, batch, is_special, labels.index(label), steps)
    return Explanation(
        text=text,
        aspect=aspect,
        columns=columns,
        images=read_images,
        scores=scores,
        label=label,
        words=[(piece, sum(token_values[token] for token in tokens)) for piece, tokens in pieces],
        heat=list(heat[: len(read_images)]),
        without=without,
        attention=_hops(model, batch, output, [tokens for _, tokens in pieces]),
        gap=gap,
    )


@torch.no_grad()
def attend_post(
    model: MultimodalPreTrainedModel,
    processor: MultimodalProcessor,
    text: str | None = None,
    images: Sequence[Any] = (),
    aspect: str | None = None,
) -> tuple[list[str], list[Image.Image], list[Hop]]:
    """Return the pieces of a text, the images as the model reads them, and the attention by hop of `explain_post`."""
    post = {"text": text, "images": list(images), "aspect": aspect}
    batch = make_batch(processor, [post], **reading(model))
    read_text, read_images = _read_parts(model, processor, post)
    pieces, _ = split_text(read_text, processor)
    with _evaluation_mode(model):
        hops = _hops(model, batch, model(**batch), [tokens for _, tokens in pieces])
    return [piece for piece, _ in pieces], read_images, hops


def _read_parts(model: MultimodalPreTrainedModel, processor: MultimodalProcessor, post: dict) -> tuple[str, list]:
    """Return the text and the images as the model reads them; empty if it does not read them."""
    if processor.image_feature_size is not None and "image" in model.modalities:
        raise ValueError("This model reads vectors in place of pictures: there are no pixels to explain.")
    text = prepare_text(post["text"], processor.text_steps or []) if "text" in model.modalities else ""
    images = post["images"][: processor.max_images] if "image" in model.modalities else []
    return text, [visible_part(load_image(image), processor) for image in images]


def _scores(model: MultimodalPreTrainedModel, output: MultimodalOutput) -> dict[str, float]:
    """Return the probability of each label, or raise an error if a logit is not a finite number."""
    if not output.logits.isfinite().all():
        raise ValueError("The model gives this post, or a part of it, scores that are not finite numbers.")
    scores = probabilities(output.logits, model.config.score_temperature)[0].tolist()
    return {model.config.id2label[index]: score for index, score in enumerate(scores)}


@contextmanager
def _evaluation_mode(model: MultimodalPreTrainedModel) -> Iterator[None]:
    """Put the model into evaluation mode, and afterwards every module back into its earlier mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # cuDNN has no backward pass for an LSTM in evaluation mode.
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _reads(model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor]) -> tuple[bool, bool]:
    """Return whether the model has encoders for the text and for the images of this batch of one post."""
    base = model.base_model
    has_text, has_images = bool(batch["attention_mask"].any()), bool(batch["image_mask"].any())
    return base.text_encoder is not None and has_text, base.image_encoder is not None and has_images


def _removals(model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the masks that hide each part of the post, by the name of the part."""
    _, reads_images = _reads(model, batch)
    removals = {}
    if "text" in model.modalities and batch["attention_mask"].any():  # read by an encoder, or by a lexicon alone
        removals["text"] = {"attention_mask": torch.zeros_like(batch["attention_mask"])}
    for name in model.further_inputs:
        if name.endswith("_attention_mask") and name in batch and batch[name].any():
            removals[name.removesuffix("_attention_mask")] = {name: torch.zeros_like(batch[name])}
    if reads_images:
        mask = batch["image_mask"]  # (1, K)
        removals["images"] = {"image_mask": torch.zeros_like(mask)}
        if mask.shape[1] > 1:
            slots = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
            removals |= {f"image {number}": {"image_mask": mask & ~slot} for number, slot in enumerate(slots, 1)}
    return removals


def _integrated_gradients(
    model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor], is_special: list[bool], label: int, steps: int
) -> tuple[list[float], np.ndarray, float]:
    """Return the attributions of the L tokens, those of the pixels (K, H, W), and the gap.

    The attributions of what the model does not read are zero.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ImportError("Explanations need captum: pip install 'mmsent[explain]'.") from error
    num_images, _, *size = batch["pixel_values"].shape[1:]
    token_values, heat = [0.0] * batch["input_ids"].shape[1], np.zeros((num_images, *size))
    inputs, baselines = _path_ends(model, batch, is_special)
    if not inputs:
        return token_values, heat, 0.0

    def score(*points: torch.Tensor) -> torch.Tensor:
        """Return the scores (S,) of S points of the path: embeddings (S, L, D), pixels (S, K, 3, H, W) or both."""
        values = dict(zip(inputs, points, strict=True))
        expanded = {name: value.expand(len(points[0]), *value.shape[1:]) for name, value in batch.items()}
        if "images" in values:
            expanded["pixel_values"] = values["images"]
        with _replace_embeddings(model, expanded["input_ids"], values.get("text")):
            logits = model(**expanded).logits.float()  # (S, C)
        return logits[:, label] - logits.mean(1)

    with torch.no_grad():
        difference = (score(*inputs.values()) - score(*baselines)).item()
    method = IntegratedGradients(score)
    for n_steps in (steps * factor for factor in REFINEMENTS):
        values = method.attribute(tuple(inputs.values()), baselines, n_steps=n_steps, internal_batch_size=BATCH_SIZE)
        gap = difference - sum(value.double().sum().item() for value in values)
        if not math.isfinite(gap):  # it contains the sum of all attributions
            raise ValueError("The model gives this post gradients that are not finite numbers.")
        if abs(gap) <= max(TOLERANCE * abs(difference), SMALL):
            break
    attributions = dict(zip(inputs, (value[0].double().cpu() for value in values), strict=True))
    if "text" in attributions:
        token_values = attributions["text"].sum(-1).tolist()
    if "images" in attributions:
        heat = attributions["images"].sum(1).numpy()  # (K, H, W)
    return token_values, heat, gap


def _path_ends(
    model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor], is_special: list[bool]
) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...]]:
    """Return what the model reads of the post, "text" as embeddings and "images" as pixels, and their baselines."""
    reads_text, reads_images = _reads(model, batch)
    inputs, baselines = {}, []
    if reads_text:
        table = model.get_input_embeddings()
        with torch.no_grad():
            inputs["text"] = embeddings = table(batch["input_ids"])  # (1, L, D)
            mean = table.weight.mean(0)  # (D,)
        baselines.append(torch.where(torch.tensor(is_special, device=model.device)[:, None], embeddings, mean))
    if reads_images:
        inputs["images"] = batch["pixel_values"]  # (1, K, 3, H, W)
        baselines.append(torch.zeros_like(batch["pixel_values"]))
    return inputs, tuple(baselines)


@contextmanager
def _replace_embeddings(
    model: MultimodalPreTrainedModel, input_ids: torch.Tensor, embeddings: torch.Tensor | None
) -> Iterator[None]:
    """Let the model read `embeddings` (B, L, D) for this very tensor of ids, and its own for others (an aspect)."""
    if embeddings is None:
        yield
        return
    matches = []

    def compare(_, args: tuple) -> None:
        matches.append(args[0] is input_ids)

    def replace(_, args: tuple, output: torch.Tensor) -> torch.Tensor:
        # The encoder may pad the text to a fixed length.
        return torch.cat([embeddings, output[:, embeddings.shape[1] :]], 1) if matches[-1] else output

    hooks = [model.base_model.text_encoder.register_forward_pre_hook(compare)]
    hooks.append(model.get_input_embeddings().register_forward_hook(replace))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hops(
    model: MultimodalPreTrainedModel, batch: dict[str, torch.Tensor], output: MultimodalOutput, pieces: list[list[int]]
) -> list[Hop]:
    """Return the attention by hop. The hops of a modality that has fewer are the last ones."""
    reads_text, reads_images = _reads(model, batch)
    texts = [weights[0].tolist() for weights in output.text_attentions or ()] if reads_text else []
    texts = [[sum(weights[token] for token in tokens) for tokens in pieces] for weights in texts]
    images = []
    if reads_images and getattr(model.config, "visual_memory", "regions") != "channels":
        images = [_grids(weights[0].float().cpu().numpy(), batch) for weights in output.image_attentions or ()]
    hops = max(len(texts), len(images))
    texts, images = [None] * (hops - len(texts)) + texts, [None] * (hops - len(images)) + images
    tokens = getattr(model.config, "pad_to", None) or int(batch["attention_mask"].sum())
    return [Hop(words, regions, tokens) for words, regions in zip(texts, images, strict=True)]


def _grids(weights: np.ndarray, batch: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """Return the weights (K·R,) of the regions as K grids (h, w) with the aspect ratio of the pixels."""
    num_images, _, height, width = batch["pixel_values"].shape[1:]
    rows = round((len(weights) / num_images * height / width) ** 0.5)
    return list(weights.reshape(num_images, rows, -1))

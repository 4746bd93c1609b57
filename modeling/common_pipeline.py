"""The pipeline "image-text-sentiment", which turns posts into labels with scores."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import Pipeline, PreTrainedModel
from transformers.utils import logging

from .common_images import BadImageError, as_vectors
from .common_loading import check_pair, check_weights
from .common_processing import MultimodalProcessor
from .common_urls import UrlError, fetch

logger = logging.get_logger(__name__)

TASK = "image-text-sentiment"
PARTS = ("text", "image", "images", "image_features")
A_POST = f"a dictionary with at least one of {', '.join(PARTS[:3])}"
# The entry of a saved config.json that lets `pipeline(TASK, model=FOLDER, trust_remote_code=True)` find this file.
CUSTOM_PIPELINES = {
    TASK: {"impl": "common_pipeline.ImageTextSentimentPipeline", "pt": ["AutoModelForSequenceClassification"]}
}


class ImageTextSentimentPipeline(Pipeline):
    """Classifies the sentiment of posts: `pipeline("image-text-sentiment", model=RUN)`.

    A post is a dictionary with "text", with "image" or "images" (an image that `load_image` reads, or a list of them)
    and, for aspect-level models, with "aspect"; some architectures read further columns, which `processor.columns`
    names, such as "caption". If the model reads vectors in place of images (`processor.image_feature_size`), the key
    "image_features" holds them: a list of numbers, or a list of such lists. A value may be None, and a key may be
    missing. Other keys are ignored, so the rows of a data set are posts. A model that was trained with aspects needs
    the aspect of each post. A model that was trained with further columns (`model.config.columns`) needs their keys,
    and the value may be None. A part that the model does not read (`model.modalities`) is left out. The parameters can
    be passed to `pipeline(...)` or to a call::

        classify({"text": "What a day", "image": "picture.jpg"})
        [{"label": "positive", "score": 0.93}, {"label": "neutral", "score": 0.05}, ...]

    Args:
        batch_size: The number of posts per forward pass, 1 by default.
        num_workers: The number of processes that read and decode images. A generator is read by at most one.
        top_k: The number of labels to return, the most probable first. All labels are returned by default.
        modality_scores: Whether to return `{"both": [...], "text": [...], "image": [...]}` for a post, where text and
            image are scored alone: by the model's `text_logits` and `image_logits` if the architecture has them,
            otherwise by forward passes without the other part. The aspect is always kept. The value is None for a
            part that the post does not have.
        allow_urls: Whether images may be https URLs, see `common_urls.fetch`.
        allow_empty: Whether a post may say nothing: it has neither text nor an image that the model reads. By default
            it is an error, since its labels would not be about it.

    Raises:
        ValueError: If the weights did not match the model when it was loaded, or hold NaN or infinity, or if the
            processor is that of another model.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False

    def __init__(self, model, *args, **kwargs):
        super().__init__(model, *args, **kwargs)
        check_weights(self.model)
        self.model.eval()  # a model that was just trained would apply dropout
        check_pair(self.model, self.processor)

    def __call__(self, inputs: Mapping | Iterable[Mapping], num_workers=None, batch_size=None, **kwargs) -> Any:
        """Classify a post, a list of posts, or any other iterable of posts.

        Returns:
            The labels of a post, as a list of `{"label", "score"}`. For a list of posts a list of these. For a data
            set or generator an iterator over these, which reads one batch at a time.

        Raises:
            BadImageError: If an image cannot be decoded, is too large, or cannot be fetched.
            TypeError: If the input is neither a post nor an iterable, or a parameter is unknown.
            ValueError: If an input is not a post, says nothing, or lacks the aspect or a column, if an image is a URL
                without `allow_urls`, if a score is not a finite number, or if `top_k` is below 1.
        """
        if isinstance(inputs, str | bytes) or not (hasattr(inputs, "__iter__") or hasattr(inputs, "__getitem__")):
            raise TypeError(f"{TASK} takes a post, {A_POST}, or an iterable of posts, not {inputs!r:.80}.")
        parameters = [self._preprocess_params, self._forward_params, self._postprocess_params]
        parameters = [old | new for old, new in zip(parameters, self._sanitize_parameters(**kwargs), strict=True)]
        workers = (self._num_workers if num_workers is None else num_workers) or 0
        batch_size = (self._batch_size if batch_size is None else batch_size) or 1
        posts = [inputs] if isinstance(inputs, Mapping) else inputs
        results = self.get_iterator(posts, workers, batch_size, *parameters)
        if isinstance(inputs, Mapping):
            return next(results)
        return list(results) if isinstance(inputs, list | tuple) else results

    def get_iterator(
        self, inputs, num_workers: int, batch_size: int, preprocess_params, forward_params, postprocess_params
    ) -> Iterator:
        """Yield one result per post. Posts are processed batch by batch, since the processor pads them."""
        if not (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")):
            inputs, num_workers = _Stream(inputs), min(num_workers, 1)  # each worker would read the whole stream
        # Not a method or a lambda: workers that are spawned get the processor, but not the model.
        collate = partial(make_batch, self.processor, **reading(self.model), **preprocess_params)
        position = 0
        for batch in DataLoader(inputs, batch_size, num_workers=num_workers, collate_fn=collate):
            outputs = self.forward(batch, **forward_params)
            is_scored = has_scores(outputs)  # (B,)
            if not is_scored.all():
                position += int(is_scored.int().argmin())
                raise ValueError(f"The post at position {position} gets scores that are not finite numbers.")
            position += len(is_scored)
            yield from self.postprocess(outputs, **postprocess_params)

    def _sanitize_parameters(self, **kwargs) -> tuple[dict, dict, dict]:
        names = ("allow_urls", "allow_empty"), ("modality_scores",), ("top_k",)
        unknown = set(kwargs) - {name for stage in names for name in stage}
        if unknown:
            raise TypeError(f"{TASK} has no parameter {', '.join(sorted(unknown))}.")
        top_k = kwargs.get("top_k")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k={top_k}: pass 1 or more, or None for all labels.")
        return tuple({name: kwargs[name] for name in stage if name in kwargs} for stage in names)

    def preprocess(self, posts: list[Mapping], **kwargs) -> dict[str, torch.Tensor]:
        """Make the batch of B posts, see `make_batch`."""
        return make_batch(self.processor, posts, **reading(self.model), **kwargs)

    def _forward(self, batch: dict[str, torch.Tensor], modality_scores: bool = False) -> dict[str, torch.Tensor]:
        """Return the logits (B, C) of "both".

        With `modality_scores`, also return the logits of "text" and "image", and which posts have these parts, as
        "has_text" and "has_image" (B,) bool.
        """
        name = self.processor.image_input
        batch = batch | {name: batch[name].to(self.model.dtype)}
        output = self.model(**batch)
        logits = {"both": output.logits}
        if modality_scores:
            for name, own_logits, other_mask in (
                ("text", output.text_logits, "image_mask"),
                ("image", output.image_logits, "attention_mask"),
            ):
                alone = batch | {other_mask: torch.zeros_like(batch[other_mask])}
                logits[name] = self.model(**alone).logits if own_logits is None else own_logits
            logits["has_text"] = batch["attention_mask"].bool().any(1)
            logits["has_image"] = batch["image_mask"].any(1)
        return logits

    def postprocess(self, outputs: dict[str, torch.Tensor], top_k: int | None = None) -> list:
        """Turn the output of `_forward` into B results."""
        ranked = {name: self._rank(outputs[name], top_k) for name in ("both", "text", "image") if name in outputs}
        if "text" not in ranked:
            return ranked["both"]
        for name in ("text", "image"):
            is_present = outputs[f"has_{name}"].tolist()
            ranked[name] = [labels if has else None for labels, has in zip(ranked[name], is_present, strict=True)]
        return [dict(zip(ranked, labels, strict=True)) for labels in zip(*ranked.values(), strict=True)]

    def _rank(self, logits: torch.Tensor, top_k: int | None) -> list[list[dict]]:
        """Return the most probable labels of B posts and their scores."""
        # Logits may differ where their probabilities do not. Of equal ones the first wins, as in argmax.
        labels = logits.float().argsort(dim=-1, descending=True, stable=True)[:, :top_k]  # (B, top_k)
        scores = probabilities(logits, self.model.config.score_temperature).gather(1, labels)  # (B, top_k)
        names = self.model.config.id2label
        return [
            [{"label": names[label], "score": score} for label, score in zip(*pairs, strict=True)]
            for pairs in zip(labels.tolist(), scores.tolist(), strict=True)
        ]

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """Save the model, its code, the code of this pipeline, and the processor."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)


class _Stream(IterableDataset):
    def __init__(self, posts: Iterable[Mapping]):
        self.posts = posts

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self.posts)


def reading(model: PreTrainedModel) -> dict[str, Any]:
    """Return what a model reads of a post, as the arguments `modalities`, `aspects` and `columns` of `make_batch`."""
    aspects = "ignored"
    if model.reads_aspect:
        aspects = "required" if model.config.aspects else "optional"  # or the model was trained without aspects
    return {"modalities": model.modalities, "aspects": aspects, "columns": tuple(model.config.columns or ())}


def probabilities(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the scores (B, C) of the classes: the softmax of logits (B, C) / temperature, in float32."""
    return (logits.float() / temperature).softmax(-1)


def make_batch(
    processor: MultimodalProcessor,
    posts: list[Mapping],
    modalities: tuple[str, ...] = ("text", "image"),
    aspects: Literal["required", "optional", "ignored"] = "optional",
    columns: tuple[str, ...] = (),
    allow_urls: bool = False,
    allow_empty: bool = False,
) -> dict[str, torch.Tensor]:
    """Check B posts and make their batch, see `MultimodalProcessor`.

    Args:
        columns: Those of the processor's further columns that each post must have.

    Raises:
        BadImageError: If an image cannot be decoded or fetched.
        ValueError: If a post is malformed, lacks an aspect or a column that is required, or says nothing without
            `allow_empty`, or if an image is a URL without `allow_urls`.
    """
    for post in posts:
        _check(post, aspects, processor.columns, columns)
    read = _vectors if processor.image_feature_size is not None else partial(_images, allow_urls=allow_urls)
    images = [read(post) if "image" in modalities else [] for post in posts]
    texts = [post.get("text") if "text" in modalities else None for post in posts]
    given = [post.get("aspect") for post in posts]
    further = {name: [post.get(name) for post in posts] for name in processor.columns}
    batch = dict(processor(images=images, text=texts, aspect=given if any(given) else None, **further))
    if not allow_empty and not (is_said := says_something(batch, processor)).all():
        post = posts[int(is_said.int().argmin())]
        reason = why_empty(post, processor, modalities)
        raise ValueError(f"This post has {reason}, so no label would be about it: {dict(post)!r:.200}")
    return batch


def says_something(batch: Mapping[str, torch.Tensor], processor: MultimodalProcessor) -> torch.Tensor:
    """Return for each post of a batch (B,) whether it has a text, an image or a text column that the model reads."""
    # The masks also show that the text steps of the processor have removed the whole text.
    names = ["attention_mask", "image_mask", *(f"{name}_attention_mask" for name in processor.text_columns)]
    return torch.stack([batch[name].bool().any(1) for name in names if name in batch]).any(0)


def why_empty(post: Mapping, processor: MultimodalProcessor, modalities: tuple[str, ...]) -> str:
    """Return what is missing in a post that says nothing, to be read after "the post has"."""
    parts = [*modalities, *processor.text_columns]
    names = [f"an {part}" if part == "image" else part for part in parts]
    reason = f"neither {' nor '.join(names)}" if len(parts) > 1 else f"no {parts[0]}"
    if len(modalities) == 1:
        reason += ", which is all that this model reads"
    is_cleaned = "text" in modalities and (post.get("text") or "").strip()
    return f"{reason} (after the text steps {', '.join(processor.text_steps)})" if is_cleaned else reason


def has_scores(outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return for each post (B,) whether all its logits, as `_forward` returns them, are finite numbers."""
    is_scored = outputs["both"].isfinite().all(1)
    for name in ("text", "image"):
        if name in outputs:  # the logits of an absent part are not used
            is_scored &= outputs[name].isfinite().all(1) | ~outputs[f"has_{name}"]
    return is_scored


def _check(post: Mapping, aspects: str, columns: tuple[str, ...], required: tuple[str, ...]) -> None:
    if not isinstance(post, Mapping) or not any(part in post for part in PARTS):
        actual = f"the keys {', '.join(map(str, post))}" if isinstance(post, Mapping) else type(post).__name__
        raise ValueError(f"A post is {A_POST}, but this one is {actual}.")
    if post.get("image") is not None and post.get("images") is not None:
        raise ValueError("A post has 'image' or 'images', not both.")
    for part in ("text", "aspect", *columns):
        if not isinstance(post.get(part), str | None):
            raise ValueError(f"The {part} of a post is a string or None, not {post[part]!r}.")
    for name in required:
        if name not in post:
            raise ValueError(f"This model reads a {name}: the post needs the key {name!r}, with a string or None.")
    has_aspect = bool((post.get("aspect") or "").strip())
    if aspects == "required" and not has_aspect:
        raise ValueError("This model judges an aspect: the post needs the key 'aspect' with a text.")
    if aspects == "ignored" and has_aspect:
        logger.warning_once("This model does not read an aspect: the aspects of posts are ignored.")


def _images(post: Mapping, allow_urls: bool) -> list:
    """Return the images of a post, with every URL replaced by what it points to."""
    images = post.get("images") if post.get("image") is None else post["image"]
    images = [] if images is None else images if isinstance(images, list | tuple) else [images]
    return [_fetched(image, allow_urls) if isinstance(image, str) else image for image in images]


def _vectors(post: Mapping) -> list:
    """Return the vectors that stand for the images of a post."""
    if "image_features" not in post and _images(post, allow_urls=True):
        raise ValueError(
            "This model does not read pictures: give the post 'image_features', the vector of the picture, as in its "
            "training posts."
        )
    return list(as_vectors(post.get("image_features")))


def _fetched(image: str, allow_urls: bool) -> str | dict:
    """Return a path as it is, and what a URL points to."""
    if not image.lower().startswith(("http://", "https://")):
        return image
    if not allow_urls:
        raise ValueError(f"{image} is a URL: download the image, or call the pipeline with allow_urls=True.")
    try:
        return {"bytes": fetch(image), "path": image}
    except UrlError as error:
        raise BadImageError(str(error)) from error

"""The task "image-text-sentiment": posts in, labels with scores out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from transformers import Pipeline

from .common_processing import BadImageError
from .common_urls import UrlError, fetch

TASK = "image-text-sentiment"
PARTS = ("text", "image", "images")
# What a saved config.json says, for `pipeline(TASK, model=FOLDER, trust_remote_code=True)` to find this file.
CUSTOM_PIPELINES = {
    TASK: {"impl": "common_pipeline.ImageTextSentimentPipeline", "pt": ["AutoModelForSequenceClassification"]}
}


class ImageTextSentimentPipeline(Pipeline):
    """Sentiment of posts: `pipeline("image-text-sentiment", model=RUN)`.

    A post is a dictionary with "text", "image" or "images" (anything that `load_image` reads, one or a list) and, for
    aspect-level models, "aspect". A part may be None or missing. Other keys are ignored: a data set's rows are posts.

        classify({"text": "What a day", "image": "picture.jpg"})
        [{"label": "positive", "score": 0.93}, {"label": "neutral", "score": 0.05}, ...]

    Parameters, of `pipeline(...)` or of each call:
        batch_size: posts a forward pass, 1 unless given.
        num_workers: processes that read and decode pictures; at most one for a generator.
        top_k: how many labels, from the likeliest on; all unless given.
        modality_scores: give `{"both": [...], "text": [...], "image": [...]}` a post, where text and image are scored
            alone: by the model's `text_logits` and `image_logits` where the architecture has them, else by passes
            without the other part. The aspect stays. None for a part that the post does not have.
        allow_urls: images may be https URLs, see `urls.fetch`.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_video_processor = False

    def __init__(self, model, *args, **kwargs):
        super().__init__(model, *args, **kwargs)
        self.model.eval()  # one that was just trained would draw dropout

    def __call__(self, inputs: Mapping | Iterable[Mapping], num_workers=None, batch_size=None, **kwargs) -> Any:
        """Classify a post, a list of posts, or any other iterable of posts.

        Returns:
            for a post its labels with scores, a list of `{"label", "score"}`; for a list of posts a list of these; for
            a data set or generator an iterator, which reads no further ahead than a batch.

        Raises:
            BadImageError: an image that cannot be decoded, is too large, or is a URL that could not be fetched.
            ValueError: something that is no post, a URL without `allow_urls`, or an unfit `top_k`.
        """
        parameters = [self._preprocess_params, self._forward_params, self._postprocess_params]
        parameters = [old | new for old, new in zip(parameters, self._sanitize_parameters(**kwargs), strict=True)]
        workers = num_workers or self._num_workers or 0
        posts = [inputs] if isinstance(inputs, Mapping) else inputs
        results = self.get_iterator(posts, workers, batch_size or self._batch_size or 1, *parameters)
        if isinstance(inputs, Mapping):
            return next(results)
        return list(results) if isinstance(inputs, list | tuple) else results

    def get_iterator(
        self, inputs, num_workers: int, batch_size: int, preprocess_params, forward_params, postprocess_params
    ) -> Iterator:
        """One result a post. The processor pads, so posts go through it by the batch, not one by one."""
        if not (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")):
            inputs, num_workers = _Stream(inputs), min(num_workers, 1)  # each worker would read the whole stream
        loader = DataLoader(
            inputs,
            batch_size,
            num_workers=num_workers,
            collate_fn=lambda posts: self.preprocess(posts, **preprocess_params),
        )
        for batch in loader:
            yield from self.postprocess(self.forward(batch, **forward_params), **postprocess_params)

    def _sanitize_parameters(self, **kwargs) -> tuple[dict, dict, dict]:
        names = ("allow_urls",), ("modality_scores",), ("top_k",)
        unknown = set(kwargs) - {name for stage in names for name in stage}
        if unknown:
            raise TypeError(f"{TASK} has no parameter {', '.join(sorted(unknown))}.")
        top_k = kwargs.get("top_k")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k={top_k}: give 1 or more, or None for all labels.")
        return tuple({name: kwargs[name] for name in stage if name in kwargs} for stage in names)

    def preprocess(self, posts: list[Mapping], allow_urls: bool = False) -> dict[str, torch.Tensor]:
        """The batch that B posts make, see `MultimodalProcessor`."""
        for post in posts:
            _check(post)
        images = [_images(post, allow_urls) for post in posts]
        aspects = [post.get("aspect") for post in posts]
        texts = [post.get("text") for post in posts]
        return dict(self.processor(text=texts, images=images, aspect=aspects if any(aspects) else None))

    def _forward(self, batch: dict[str, torch.Tensor], modality_scores: bool = False) -> dict[str, torch.Tensor]:
        """Logits (B, C) of "both"; if asked for those of "text" and "image", and which posts have these, (B,) bool."""
        batch = batch | {"pixel_values": batch["pixel_values"].to(self.model.dtype)}
        output = self.model(**batch)
        logits = {"both": output.logits}
        if modality_scores:
            for name, alone, other in (
                ("text", output.text_logits, "image_mask"),
                ("image", output.image_logits, "attention_mask"),
            ):
                hidden = batch | {other: torch.zeros_like(batch[other])}
                logits[name] = self.model(**hidden).logits if alone is None else alone
            logits["has_text"] = batch["attention_mask"].bool().any(1)
            logits["has_image"] = batch["image_mask"].any(1)
        return logits

    def postprocess(self, outputs: dict[str, torch.Tensor], top_k: int | None = None) -> list:
        """B results of what `_forward` gives."""
        ranked = {name: self._rank(outputs[name], top_k) for name in ("both", "text", "image") if name in outputs}
        if "text" not in ranked:
            return ranked["both"]
        for name in ("text", "image"):
            has = outputs[f"has_{name}"].tolist()
            ranked[name] = [row if there else None for row, there in zip(ranked[name], has, strict=True)]
        return [dict(zip(ranked, row, strict=True)) for row in zip(*ranked.values(), strict=True)]

    def _rank(self, logits: torch.Tensor, top_k: int | None) -> list[list[dict]]:
        count = logits.shape[1] if top_k is None else min(top_k, logits.shape[1])
        scores, labels = logits.float().softmax(-1).topk(count)  # (B, top_k), likeliest first
        names = self.model.config.id2label
        return [
            [{"label": names[label], "score": score} for label, score in zip(*row, strict=True)]
            for row in zip(labels.tolist(), scores.tolist(), strict=True)
        ]

    def save_pretrained(self, save_directory, **kwargs) -> None:
        """The model, with its code and this pipeline's, and the processor."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)


class _Stream(IterableDataset):
    def __init__(self, posts: Iterable[Mapping]):
        self.posts = posts

    def __iter__(self) -> Iterator[Mapping]:
        return iter(self.posts)


def _check(post: Mapping) -> None:
    if not isinstance(post, Mapping) or not any(part in post for part in PARTS):
        found = f"the keys {', '.join(map(str, post))}" if isinstance(post, Mapping) else type(post).__name__
        raise ValueError(f"A post is a dictionary with one of {', '.join(PARTS)} at least; this one is {found}.")
    if post.get("image") is not None and post.get("images") is not None:
        raise ValueError("A post has 'image' or 'images', not both.")
    for part in ("text", "aspect"):
        if not isinstance(post.get(part), str | None):
            raise ValueError(f"The {part} of a post is a string or None, not {post[part]!r}.")


def _images(post: Mapping, allow_urls: bool) -> list:
    images = post.get("images") if post.get("image") is None else post["image"]
    images = [] if images is None else images if isinstance(images, list | tuple) else [images]
    return [_fetched(image, allow_urls) if _is_url(image) else image for image in images]


def _is_url(image: Any) -> bool:
    return isinstance(image, str) and image.lower().startswith(("http://", "https://"))


def _fetched(url: str, allow_urls: bool) -> dict:
    if not allow_urls:
        raise ValueError(f"{url} is a URL: download the picture, or call the pipeline with allow_urls=True.")
    try:
        return {"bytes": fetch(url), "path": url}
    except UrlError as error:
        raise BadImageError(str(error)) from error

"""One processor for every architecture: tokenizer, image transforms and aspect, several images, missing parts."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    BatchFeature,
    ProcessorMixin,
    ViTImageProcessor,
)
from transformers.utils import logging

from .common_cnns import OWN_IMAGE_ENCODERS
from .common_images import BadImageError, load_image
from .common_text import check_text_steps, prepare_text
from .common_word_vectors import build_word_tokenizer

logger = logging.get_logger(__name__)


class MultimodalProcessor(ProcessorMixin):
    """Turns posts into the batch that every architecture reads.

    Args:
        image_processor: any of transformers' image processors; the default resizes the whole picture.
        tokenizer: any fast tokenizer.
        max_length: tokens of a text that are kept; a warning tells once that some text has more.
        max_aspect_length: tokens of an aspect that are kept.
        max_images: images of a post that are kept, from the first on; a warning tells once that some post has more.
        text_steps: what is done to texts and aspects before the tokenizer sees them, as keys of `TEXT_STEPS` in the
            order in which they are applied, say `["strip_links", "emoji_to_words"]`, for Chinese `["rjieba"]`. None
            leaves them as they are.

    Raises:
        ValueError: a step that is not in `TEXT_STEPS`.
    """

    _auto_class = "AutoProcessor"
    # What a subclass has of its paper.
    default_max_length = 50
    default_max_aspect_length = 4
    default_max_images = 1

    def __init__(
        self,
        image_processor,
        tokenizer,
        max_length: int | None = None,
        max_aspect_length: int | None = None,
        max_images: int | None = None,
        text_steps: list[str] | None = None,
    ):
        check_text_steps(text_steps or [])
        self.max_length = self.default_max_length if max_length is None else max_length
        self.max_aspect_length = self.default_max_aspect_length if max_aspect_length is None else max_aspect_length
        self.max_images = self.default_max_images if max_images is None else max_images
        self.text_steps = text_steps
        super().__init__(image_processor, tokenizer)

    @classmethod
    def from_backbones(
        cls,
        text: str | Path,
        image: str | Path,
        texts: Iterable[str] = (),
        vocab_size: int = 10_000,
        image_size: int | None = None,
        **kwargs,
    ) -> "MultimodalProcessor":
        """The processor that suits two encoders, named as in the model's `from_backbones`.

        Args:
            texts: the training texts, of which `"word_vectors"` takes its words.
            vocab_size: how many words it keeps.
            image_size: height and width of the pictures in pixels, for this project's own encoders and timm; theirs
                by default.
            kwargs: arguments of the processor: `text_steps`, with which the words are counted too, `max_length` and
                the like.
        """
        if text == "word_vectors":
            tokenizer = build_word_tokenizer(texts, vocab_size, kwargs.get("text_steps"))
        else:
            tokenizer = AutoTokenizer.from_pretrained(text)
        return cls(_image_processor(image, image_size), tokenizer, **kwargs)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the `pixel_values`, in pixels."""
        processor = self.image_processor
        size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
        return size["height"], size["width"]

    @property
    def model_input_names(self) -> list[str]:
        text, aspect = ["input_ids", "attention_mask"], ["aspect_input_ids", "aspect_attention_mask"]
        return [*text, *aspect, "pixel_values", "image_mask"]

    def __call__(
        self,
        text: str | list[str | None] | None = None,
        images: Any = None,
        aspect: str | list[str | None] | None = None,
        return_tensors: str = "pt",
        on_bad_image: str = "error",
    ) -> BatchFeature:
        """Make a batch of B posts; one post makes a batch of one.

        Args:
            text: a text, or a list of B; None or `""` where a post has none.
            images: for one post an image, a list of images or None; for B posts a list of B of these. An image is
                anything that `load_image` reads. None or `[]` where a post has none.
            aspect: a target or aspect, or a list of B, for aspect-level models.
            return_tensors: `"pt"`, the only kind.
            on_bad_image: what to do with an image that cannot be decoded: `"error"`, or `"missing"` to warn, naming
                it, and go on as if it were not there. (Leaving out the post is for the data set to do, see
                `dataset_scripts.screen_images`.)

        Returns:
            input_ids, attention_mask (B, L); aspect_input_ids, aspect_attention_mask (B, N) where aspect is given;
            pixel_values (B, K, 3, H, W), image_mask (B, K) bool.

        Raises:
            BadImageError: an image cannot be decoded and `on_bad_image` is `"error"`.
            ImportError: the package of a text step is not installed.
            ValueError: lists of different length, or no part given at all.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors={return_tensors!r}: only 'pt' is made here.")
        texts, images, aspects = self._as_lists(text, images, aspect)
        batch = self.encode_text(texts, self.max_length)
        if aspects is not None:
            encoded = self.encode_text(aspects, self.max_aspect_length)
            batch |= {f"aspect_{key}": value for key, value in encoded.items()}
        batch |= self.encode_images(images, on_bad_image)
        return BatchFeature(batch)

    def _as_lists(self, text, images, aspect) -> tuple[list, list[list], list | None]:
        """Every part as a list of one entry a post, each post's images as a list."""
        if text is None and images is None and aspect is None:
            raise ValueError("Give text, images or both.")
        several = isinstance(text, list | tuple) or isinstance(aspect, list | tuple)
        if not several and isinstance(images, list | tuple) and text is None:
            several = any(entry is None or isinstance(entry, list | tuple) for entry in images)
        if not several:
            text, images, aspect = [text], [images], None if aspect is None else [aspect]
        parts = {"text": text, "images": images, "aspect": aspect}
        lengths = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"Lists of different length: {lengths}. Give one entry a post, None where it has none.")
        count = next(iter(lengths.values()))
        texts = [None] * count if text is None else list(text)
        posts = [None] * count if images is None else list(images)
        nested = [list(post) if isinstance(post, list | tuple) else [] if post is None else [post] for post in posts]
        return texts, nested, aspect

    def encode_text(self, texts: list[str | None], max_length: int) -> dict[str, torch.Tensor]:
        """input_ids and attention_mask (B, L) of B texts, the part of `__call__` that reads them."""
        texts = [prepare_text(text, self.text_steps or []) for text in texts]
        blank = [not text.strip() for text in texts]
        # A blank text is read as one unknown word, so that a row is never empty, and then masked.
        filled = [self.tokenizer.unk_token if is_blank else text for text, is_blank in zip(texts, blank, strict=True)]
        encoded = self.tokenizer(
            filled, padding=True, padding_side="right", truncation=True, max_length=max_length, return_tensors="pt"
        )
        if any(encoding.overflowing for encoding in encoded.encodings):
            logger.warning_once(f"A text or aspect has over {max_length} tokens: the first {max_length} are kept.")
        attention_mask = encoded["attention_mask"]
        attention_mask[torch.tensor(blank)] = 0
        return {"input_ids": encoded["input_ids"], "attention_mask": attention_mask}

    @property
    def _min_side(self) -> int | None:
        """How far a JPEG may be reduced while it is decoded: to twice the longest side that it is then resized to, so
        that the resizing still averages over several pixels. None where the image processor does not resize."""
        if not getattr(self.image_processor, "do_resize", False):
            return None
        return 2 * max(side for side in dict(self.image_processor.size).values() if side)

    def encode_images(self, posts: list[list], on_bad_image: str = "error") -> dict[str, torch.Tensor]:
        """pixel_values (B, K, 3, H, W) and image_mask (B, K) of B lists of images, the part of `__call__` that reads
        them."""
        if on_bad_image not in ("error", "missing"):
            raise ValueError(f"on_bad_image={on_bad_image!r}: a processor knows 'error' and 'missing'.")
        min_side = self._min_side
        decoded: list[list[np.ndarray]] = []
        for post in posts:
            if len(post) > self.max_images:
                logger.warning_once(f"A post has {len(post)} images: the first {self.max_images} are kept.")
            kept = []
            for source in post[: self.max_images]:
                try:
                    kept.append(np.array(load_image(source, min_side)))
                except BadImageError as error:
                    if on_bad_image == "error":
                        raise
                    logger.warning(f"Taken as missing: {error}")
            decoded.append(kept)
        slots = max(1, *(len(images) for images in decoded))  # K
        image_mask = torch.tensor([[slot < len(images) for slot in range(slots)] for images in decoded])  # (B, K)
        arrays = [array for images in decoded for array in images]
        pixels = torch.zeros(0, 3, *self.image_size)  # (N, 3, H, W)
        if arrays:
            # As arrays with a stated layout: of a picture one pixel wide the layout cannot be told.
            encoded = self.image_processor(arrays, input_data_format="channels_last", return_tensors="pt")
            pixels = encoded["pixel_values"]
        if image_mask.all():  # no slot is empty: no copy is needed
            pixel_values = pixels.unflatten(0, image_mask.shape)  # (B, K, 3, H, W)
        else:
            pixel_values = torch.zeros(*image_mask.shape, 3, *self.image_size)  # (B, K, 3, H, W)
            pixel_values[image_mask] = pixels
        return {"pixel_values": pixel_values, "image_mask": image_mask}


def _image_processor(image: str | Path, image_size: int | None):
    """The image processor of an encoder. All but transformers' own backbones get one that resizes the whole picture,
    since a crop would lose regions that a post's sentiment may hang on."""
    if image in OWN_IMAGE_ENCODERS:
        size = image_size or OWN_IMAGE_ENCODERS[image].image_size
        return ViTImageProcessor(size={"height": size, "width": size})
    config = AutoConfig.from_pretrained(image)
    if config.model_type != "timm_wrapper":  # transformers' own, or a whole model of this project
        if image_size is not None:
            raise ValueError(f"image_size={image_size}: {image} comes with an image processor that knows its size.")
        return AutoImageProcessor.from_pretrained(image)
    pretrained = config.pretrained_cfg
    _, height, width = pretrained["input_size"]
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    return ViTImageProcessor(
        size={"height": image_size or height, "width": image_size or width},
        resample=resample[pretrained["interpolation"]],
        image_mean=list(pretrained["mean"]),
        image_std=list(pretrained["std"]),
    )

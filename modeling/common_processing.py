"""The processor that every architecture shares: a tokenizer and an image processor for posts with optional parts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, BatchFeature, ProcessorMixin, ViTImageProcessor
from transformers.processing_utils import ProcessingKwargs, TextKwargs, Unpack
from transformers.utils import logging

from .common_cnns import OWN_IMAGE_ENCODERS
from .common_images import MAX_IMAGE_PIXELS, BadImageError, load_image
from .common_loading import check_source
from .common_text import check_text_steps, prepare_text
from .common_word_vectors import build_word_tokenizer

logger = logging.get_logger(__name__)


class MultimodalProcessorKwargs(ProcessingKwargs, total=False):
    """Options of a call: `text_kwargs`, `images_kwargs`, or single options of either, such as `padding` or `size`.

    Attributes:
        on_bad_image: What to do with an image that cannot be decoded. `"error"` stops; `"missing"` logs a warning that
            names the image and treats it as absent. To leave out the post, screen the data set, see
            `dataset_scripts.screen_images`.
    """

    on_bad_image: Literal["error", "missing"]


class MultimodalProcessor(ProcessorMixin):
    """Turns posts into the batch that every architecture reads.

    Args:
        image_processor: An image processor of transformers. The default resizes the whole image.
        tokenizer: A fast tokenizer.
        max_length: The number of tokens of a text to keep. Cutting a text logs a warning once.
        max_aspect_length: The number of tokens of an aspect to keep.
        max_images: The number of images of a post to keep, from the first on. Dropping images logs a warning once.
        text_steps: Keys of `TEXT_STEPS`: the steps that are applied to texts and aspects before the tokenizer, in this
            order, for example `["strip_links", "emoji_to_words"]`, or `["rjieba"]` for Chinese.

    Raises:
        ValueError: If a step is not in `TEXT_STEPS`, or a number is not a whole number that is 1 or more.
    """

    _auto_class = "AutoProcessor"
    valid_processor_kwargs = MultimodalProcessorKwargs
    # Options of a call unless it has its own. The models expect padding on the right, whatever the tokenizer prefers.
    text_kwargs: TextKwargs = {
        "padding": True,
        "padding_side": "right",
        "truncation": True,
        "return_token_type_ids": False,
        "return_tensors": "pt",
    }
    on_bad_image = "error"
    # Defaults that a subclass takes from its paper.
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
        for name in ("max_length", "max_aspect_length", "max_images"):
            check_whole_number(name, getattr(self, name))
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
        """Build the processor for two encoders, named as in the model's `from_backbones`.

        Args:
            text: `"word_vectors"`, or the Hub id or folder of a transformer.
            image: The name of an own image encoder, or the Hub id or folder of a vision backbone.
            texts: The training texts, from which `"word_vectors"` takes its words.
            vocab_size: The number of words to keep.
            image_size: The height and width of the images in pixels, for this project's own encoders and timm. The
                default is that of the encoder.
            kwargs: Arguments of the processor. `text_steps` also apply when the words are counted.
        """
        if text == "word_vectors":
            tokenizer = build_word_tokenizer(texts, vocab_size, kwargs.get("text_steps"))
        else:
            check_source(text)
            tokenizer = AutoTokenizer.from_pretrained(text)
            if tokenizer.pad_token is None:  # as of GPT-2; padding is masked, so any token can pad
                tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
            if tokenizer.pad_token is None:
                raise ValueError(f"{text}: the tokenizer has no token for padding: set its pad_token, and save it.")
        return cls(_image_processor(image, image_size), tokenizer, **kwargs)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of `pixel_values`, in pixels.

        Raises:
            ValueError: If they depend on the image.
        """
        return _pixel_size(self.image_processor)

    @property
    def model_input_names(self) -> list[str]:
        text, aspect = ["input_ids", "attention_mask"], ["aspect_input_ids", "aspect_attention_mask"]
        return [*text, *aspect, "pixel_values", "image_mask"]

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str | None] | None = None,
        aspect: str | Sequence[str | None] | None = None,
        **kwargs: Unpack[MultimodalProcessorKwargs],
    ) -> BatchFeature:
        """Make a batch of B posts. A single post makes a batch of one.

        Args:
            images: For one post an image, a list of images or None. For B posts a list of B of these. An image is
                anything that `load_image` reads.
            text: A text, or a list of B texts. None or `""` means that a post has no text.
            aspect: A target or aspect, or a list of B of them, for aspect-level models. One aspect that is not in a
                list is that of all B posts.
            kwargs: See `MultimodalProcessorKwargs`. `return_tensors` is `"pt"` unless given; with None the batch
                consists of lists. `max_length` applies to texts; aspects keep `max_aspect_length`.

        Returns:
            input_ids, attention_mask (B, L); aspect_input_ids, aspect_attention_mask (B, N) if aspect is given;
            pixel_values (B, K, 3, H, W), image_mask (B, K) bool.

        Raises:
            BadImageError: If an image cannot be decoded and `on_bad_image` is `"error"`.
            ImportError: If the package of a text step is not installed.
            TypeError: If a text or an aspect is neither a string nor None.
            ValueError: If the lists differ in length or are empty, if nothing is given, or if an option is given
                twice.
        """
        options = self._merge_kwargs(**kwargs)
        images, text, aspect = _as_batch(images, text, aspect)
        text_kwargs = options["text_kwargs"]
        batch = self.encode_text(text, text_kwargs.pop("max_length", self.max_length), **text_kwargs)
        if aspect is not None:
            text_kwargs.pop("pad_to_multiple_of", None)  # aspects are cut at a length of their own
            encoded = self.encode_text(aspect, self.max_aspect_length, **text_kwargs)
            batch |= {f"aspect_{key}": value for key, value in encoded.items()}
        encoded = self.encode_images(images, options["on_bad_image"], **options["images_kwargs"])
        if text_kwargs["return_tensors"] is None:
            encoded = {"pixel_values": list(encoded["pixel_values"]), "image_mask": encoded["image_mask"].tolist()}
        return BatchFeature(batch | encoded, tensor_type=text_kwargs["return_tensors"])

    def encode_text(self, texts: Sequence[str | None], max_length: int | None, **text_kwargs) -> dict[str, Any]:
        """Encode B texts as input_ids and attention_mask (B, L), the part of `__call__` that reads them."""
        options = {**self.text_kwargs, **text_kwargs}
        return_tensors = options.pop("return_tensors")
        texts = [prepare_text(text, self.text_steps or []) for text in texts]
        blank = [not text.strip() for text in texts]
        # A blank text is encoded as one unknown word, so that its row is not empty, and then masked.
        blank_word = self.tokenizer.unk_token or self.tokenizer.pad_token
        filled = [blank_word if is_blank else text for text, is_blank in zip(texts, blank, strict=True)]
        encoded = self.tokenizer(filled, max_length=max_length, **options)
        if any(encoding.overflowing for encoding in encoded.encodings):
            logger.warning_once(f"A text or aspect has over {max_length} tokens: the first {max_length} are kept.")
        masks = encoded.get("attention_mask", [])
        masks[:] = [[0] * len(mask) if is_blank else mask for mask, is_blank in zip(masks, blank, strict=False)]
        return dict(encoded.convert_to_tensors(return_tensors))

    def encode_images(
        self, posts: Sequence[Sequence], on_bad_image: str = "error", **images_kwargs
    ) -> dict[str, torch.Tensor]:
        """Encode B lists of images as pixel_values (B, K, 3, H, W) and image_mask (B, K), the part of `__call__` that
        reads them."""
        min_side = None
        if getattr(self.image_processor, "do_resize", False) and not {"do_resize", "size"} & images_kwargs.keys():
            # A JPEG may be decoded at reduced size, if resizing it afterwards still averages over several pixels.
            min_side = 2 * max(side for side in dict(self.image_processor.size).values() if side)
        decoded = [self._decode(post, on_bad_image, min_side) for post in posts]
        slots = max(1, *(len(arrays) for arrays in decoded))  # K
        image_mask = torch.tensor([[slot < len(arrays) for slot in range(slots)] for arrays in decoded])  # (B, K)
        # Without any image, a black pixel shows the shape of an encoded image.
        arrays = [array for arrays in decoded for array in arrays] or [np.zeros((1, 1, 3), np.uint8)]
        # The layout is stated, because it cannot be inferred from an image that is one pixel wide.
        images_kwargs |= {"input_data_format": "channels_last", "return_tensors": "pt"}
        pixels = self.image_processor(arrays, **images_kwargs)["pixel_values"]  # (N, 3, H, W)
        if image_mask.all():  # no slot is empty: no copy is needed
            return {"pixel_values": pixels.unflatten(0, image_mask.shape), "image_mask": image_mask}
        pixel_values = pixels.new_zeros(*image_mask.shape, *pixels.shape[1:])  # (B, K, 3, H, W)
        pixel_values[image_mask] = pixels[: image_mask.sum()]
        return {"pixel_values": pixel_values, "image_mask": image_mask}

    def _decode(self, post: Sequence, on_bad_image: str, min_side: int | None) -> list[np.ndarray]:
        """Decode the images of a post that are kept."""
        if len(post) > self.max_images:
            logger.warning_once(f"A post has {len(post)} images: the first {self.max_images} are kept.")
        arrays = []
        for source in post[: self.max_images]:
            try:
                arrays.append(np.array(load_image(source, min_side)))
            except BadImageError as error:
                if on_bad_image == "error":
                    raise
                logger.warning(f"Treated as missing: {error}")
        return arrays


def check_whole_number(name: str, value: Any) -> None:
    """Raise a ValueError that names a number if it is not a whole number that is 1 or more."""
    if type(value) is not int or value < 1:  # True is an int too
        raise ValueError(f"{name}={value!r}: give a whole number that is 1 or more.")


def _as_batch(images, text, aspect) -> tuple[list[list], list, list | None]:
    """Turn every part into a list with one entry per post, and the images of each post into a list."""
    if images is None and text is None and aspect is None:
        raise ValueError("Pass text, images or both.")
    if images is not None and _is_text(images) and not _is_text(text):
        logger.warning_once("Images come before the text in a call of a processor: the two are swapped.")
        images, text = text, images
    is_batch = _is_list(text) or _is_list(aspect)
    if not is_batch and text is None and _is_list(images):
        is_batch = any(entry is None or _is_list(entry) for entry in images)
    parts = {"text": text, "images": images, "aspect": aspect}
    parts = {
        name: list(part) if is_batch and _is_list(part) else [part] for name, part in parts.items() if part is not None
    }
    for name in ("text", "aspect"):
        for entry in parts.get(name, []):
            if not isinstance(entry, str | None):
                raise TypeError(f"{name}: pass a string, or a list of strings and None, not {entry!r:.80}.")
    if isinstance(aspect, str):  # one aspect for all posts
        parts["aspect"] *= max(len(part) for part in parts.values())
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The lists differ in length: {lengths}. Pass one entry per post, None where it has none.")
    if 0 in lengths.values():
        raise ValueError("The lists are empty: pass one entry per post, None where it has none.")
    absent = [None] * next(iter(lengths.values()))
    posts = [list(post) if _is_list(post) else [] if post is None else [post] for post in parts.get("images", absent)]
    return posts, parts.get("text", absent), parts.get("aspect")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_text(value: Any) -> bool:
    entries = value if _is_list(value) else [value]
    return all(entry is None or isinstance(entry, str) for entry in entries)


def _image_processor(image: str | Path, image_size: int | None):
    """Return the image processor of an encoder.

    All but the backbones of transformers get one that resizes the whole image, since a crop would lose regions that
    the sentiment of a post may depend on.
    """
    if image in OWN_IMAGE_ENCODERS:
        size = image_size or OWN_IMAGE_ENCODERS[image].image_size
        return ViTImageProcessor(size={"height": size, "width": size})
    check_source(image)
    config = AutoConfig.from_pretrained(image)
    if config.model_type != "timm_wrapper":  # a backbone of transformers, or a whole model of this project
        if image_size is not None:
            raise ValueError(f"image_size={image_size}: {image} has an image processor that sets the size.")
        processor = AutoImageProcessor.from_pretrained(image)
        _pixel_size(processor)  # refuses a processor whose images cannot form a batch
        return processor
    pretrained = config.pretrained_cfg
    _, height, width = pretrained["input_size"]
    resample = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    return ViTImageProcessor(
        size={"height": image_size or height, "width": image_size or width},
        resample=resample[pretrained["interpolation"]],
        image_mean=list(pretrained["mean"]),
        image_std=list(pretrained["std"]),
    )


def _pixel_size(processor) -> tuple[int, int]:
    """Return the height and width of the `pixel_values` of an image processor."""
    crop_size = processor.crop_size if getattr(processor, "do_center_crop", False) else None
    for side in (*dict(processor.size).values(), *dict(crop_size or {}).values()):
        if side is not None:
            check_whole_number("size", side)
            if side**2 > MAX_IMAGE_PIXELS:
                raise ValueError(f"size={side}: images have at most {MAX_IMAGE_PIXELS:,} pixels.")
    size = dict(crop_size or processor.size)
    if size.get("height") and size.get("width"):
        return size["height"], size["width"]
    # A size such as {"shortest_edge": 224} alone does not tell what becomes of the other side.
    options = {"input_data_format": "channels_last", "return_tensors": "pt"}
    samples = [np.zeros(shape, np.uint8) for shape in ((40, 60, 3), (60, 40, 3))]
    shapes = {tuple(processor(sample, **options)["pixel_values"].shape[-2:]) for sample in samples}
    if len(shapes) > 1:
        raise ValueError(
            f"{type(processor).__name__} keeps the aspect ratio of images (size={size}), so that they cannot form "
            "a batch: set size to a height and a width, or do_center_crop to True."
        )
    return shapes.pop()

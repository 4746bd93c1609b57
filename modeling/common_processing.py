"""The processor that every architecture shares: a tokenizer and an image processor for posts with optional parts."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin
from transformers.processing_utils import ProcessingKwargs, TextKwargs, Unpack
from transformers.utils import logging

from .common_image_processors import build_image_processor, check_whole_number, pixel_size, stack_vectors
from .common_images import BadImageError, as_vectors, load_image
from .common_loading import check_source
from .common_precomputed import PrecomputedConfig
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
        aspect_steps: The steps that are applied to aspects instead of `text_steps`. The texts of Multi-ZOL are cut
            into words already, and its aspects are not: `["rjieba"]` cuts them into the words that the texts have.
        image_feature_size: The length of the vectors that take the place of images, if they were computed beforehand.

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
    # The further columns of a post that `encode_further` reads, such as "caption", and the inputs that it makes.
    columns: tuple[str, ...] = ()
    further_inputs: tuple[str, ...] = ()
    # Those of `columns` that hold a text of their own, whose words a model can read without the post's text. Their
    # tensors begin with the name of the column, as in "caption_input_ids" and "caption_attention_mask".
    text_columns: tuple[str, ...] = ()

    def __init__(
        self,
        image_processor,
        tokenizer,
        max_length: int | None = None,
        max_aspect_length: int | None = None,
        max_images: int | None = None,
        text_steps: list[str] | None = None,
        aspect_steps: list[str] | None = None,
        image_feature_size: int | None = None,
    ):
        check_text_steps(text_steps or [])
        check_text_steps(aspect_steps or [], "aspect_steps")
        self.max_length = self.default_max_length if max_length is None else max_length
        self.max_aspect_length = self.default_max_aspect_length if max_aspect_length is None else max_aspect_length
        self.max_images = self.default_max_images if max_images is None else max_images
        self.text_steps = text_steps
        self.aspect_steps = aspect_steps
        self.image_feature_size = image_feature_size
        for name in ("max_length", "max_aspect_length", "max_images", "image_feature_size"):
            if getattr(self, name) is not None:
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
        aspects: Iterable[str] = (),
        pre_cut: bool = False,
        crop: bool = False,
        **kwargs,
    ) -> "MultimodalProcessor":
        """Build the processor for two encoders, named as in the model's `from_backbones`.

        Args:
            text: `"word_vectors"`, or the Hub id or folder of a transformer.
            image: The name of an own image encoder, the Hub id or folder of a vision backbone, or `"precomputed"`.
            texts: The training texts, from which `"word_vectors"` takes its words.
            vocab_size: The number of words to keep.
            image_size: The height and width of the images in pixels, for this project's own encoders and timm. The
                default is that of the encoder.
            aspects: The training aspects, whose words are counted too.
            pre_cut: Whether the texts are cut into words already, see `build_word_tokenizer`; only for
                `"word_vectors"`.
            crop: Whether the shorter side of an image is resized to 8/7 of the size, and the centre is cut out, as in
                the code of MDSE (256 and 224 pixels). By default the whole image is resized, or what the backbone's
                own image processor does.
            kwargs: Arguments of the processor. Its steps also apply when the words are counted.
        """
        if text == "word_vectors":
            steps = kwargs.get("text_steps") or []
            aspect_steps = steps if kwargs.get("aspect_steps") is None else kwargs["aspect_steps"]
            words = chain(
                (prepare_text(text, steps) for text in texts), (prepare_text(text, aspect_steps) for text in aspects)
            )
            tokenizer = build_word_tokenizer(words, vocab_size, pre_cut=pre_cut)
        elif pre_cut:
            raise ValueError(f"pre_cut={pre_cut}: {text} has a tokenizer of its own, which cuts texts itself.")
        else:
            check_source(text)
            tokenizer = AutoTokenizer.from_pretrained(text)
            if tokenizer.pad_token is None:  # as of GPT-2; padding is masked, so any token can pad
                tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
            if tokenizer.pad_token is None:
                raise ValueError(f"{text}: the tokenizer has no token for padding: set its pad_token, and save it.")
        if image == PrecomputedConfig.model_type:
            kwargs = {"image_feature_size": PrecomputedConfig.hidden_size} | kwargs
        return cls(build_image_processor(image, image_size, crop), tokenizer, **kwargs)

    @property
    def image_size(self) -> tuple[int, int]:
        """The height and width of `pixel_values`, in pixels.

        Raises:
            ValueError: If they depend on the image.
        """
        return pixel_size(self.image_processor)

    @property
    def model_input_names(self) -> list[str]:
        text, aspect = ["input_ids", "attention_mask"], ["aspect_input_ids", "aspect_attention_mask"]
        return [*text, *aspect, self.image_input, "image_mask", *self.further_inputs]

    @property
    def image_input(self) -> str:
        """The name of the tensor that `encode_images` makes of the images."""
        return "pixel_values" if self.image_feature_size is None else "image_features"

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
                anything that `load_image` reads, or with `image_feature_size` an array of so many numbers.
            text: A text, or a list of B texts. None or `""` means that a post has no text.
            aspect: A target or aspect, or a list of B of them, for aspect-level models. One aspect that is not in a
                list is that of all B posts.
            kwargs: The further `columns` of the architecture, each a string or a list of B strings and None, and
                `MultimodalProcessorKwargs`. `return_tensors` is `"pt"` unless given; with None the batch
                consists of lists. `max_length` applies to texts; aspects keep `max_aspect_length`.

        Returns:
            input_ids, attention_mask (B, L); aspect_input_ids, aspect_attention_mask (B, N) if aspect is given;
            pixel_values (B, K, 3, H, W), or with `image_feature_size` image_features (B, K, 1, D), and image_mask
            (B, K) bool; the `further_inputs` of the architecture.

        Raises:
            BadImageError: If an image cannot be decoded and `on_bad_image` is `"error"`.
            ImportError: If the package of a text step is not installed.
            TypeError: If a text or an aspect is neither a string nor None.
            ValueError: If the lists differ in length or are empty, if nothing is given, or if an option is given
                twice.
        """
        columns = {name: kwargs.pop(name, None) for name in self.columns}
        options = self._merge_kwargs(**kwargs)
        images, columns = _as_batch(images, {"text": text, "aspect": aspect, **columns})
        text_kwargs = options["text_kwargs"]
        batch = self.encode_text(columns["text"], text_kwargs.pop("max_length", self.max_length), **text_kwargs)
        if aspect is not None:
            text_kwargs.pop("pad_to_multiple_of", None)  # aspects are cut at a length of their own
            batch |= self.encode_aspect(columns["aspect"], **text_kwargs)
        posts = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        encoded = self.encode_images(images, options["on_bad_image"], **options["images_kwargs"])
        encoded |= self.encode_further(posts)
        if text_kwargs["return_tensors"] is None:
            images = list(encoded.pop(self.image_input))
            encoded = {self.image_input: images} | {name: value.tolist() for name, value in encoded.items()}
        return BatchFeature(batch | encoded, tensor_type=text_kwargs["return_tensors"])

    def encode_text(self, texts: Sequence[str | None], max_length: int | None, **text_kwargs) -> dict[str, Any]:
        """Encode B texts as input_ids and attention_mask (B, L), the part of `__call__` that reads them."""
        return self._encode(texts, self.text_steps or [], max_length, **text_kwargs)

    def encode_aspect(self, aspects: Sequence[str | None], **text_kwargs) -> dict[str, Any]:
        """Encode B aspects as aspect_input_ids and aspect_attention_mask (B, N), likewise."""
        steps = self.text_steps if self.aspect_steps is None else self.aspect_steps
        encoded = self._encode(aspects, steps or [], self.max_aspect_length, **text_kwargs)
        return {f"aspect_{key}": value for key, value in encoded.items()}

    def encode_further(self, posts: Sequence[Mapping[str, str | None]]) -> dict[str, torch.Tensor]:
        """Encode what else an architecture reads: `further_inputs` of B posts with "text", "aspect" and `columns`."""
        return {}

    def _encode(
        self, texts: Sequence[str | None], steps: list[str], max_length: int | None, **text_kwargs
    ) -> dict[str, Any]:
        options = {**self.text_kwargs, **text_kwargs}
        return_tensors = options.pop("return_tensors")
        texts = [prepare_text(text, steps) for text in texts]
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
        reads them. With `image_feature_size` they are lists of vectors, or None, and become image_features."""
        if self.image_feature_size is not None:
            return stack_vectors([self._keep(as_vectors(post)) for post in posts], self.image_feature_size)
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

    def _keep(self, images: Sequence) -> Sequence:
        """Return the images of a post that are kept."""
        if len(images) > self.max_images:
            logger.warning_once(f"A post has {len(images)} images: the first {self.max_images} are kept.")
        return images[: self.max_images]

    def _decode(self, post: Sequence, on_bad_image: str, min_side: int | None) -> list[np.ndarray]:
        """Decode the images of a post that are kept."""
        arrays = []
        for source in self._keep(post):
            try:
                arrays.append(np.array(load_image(source, min_side)))
            except BadImageError as error:
                if on_bad_image == "error":
                    raise
                logger.warning(f"Treated as missing: {error}")
        return arrays


def _as_batch(images: Any, columns: dict[str, Any]) -> tuple[list[list], dict[str, list]]:
    """Turn every part into a list with one entry per post, and the images of each post into a list.

    Args:
        columns: Texts, aspects and the further columns.

    Returns:
        The images, and the columns; a column that is not given holds None for each post.
    """
    text = columns["text"]
    if images is None and all(column is None for column in columns.values()):
        raise ValueError("Pass text, images or both.")
    if images is not None and _is_text(images) and not _is_text(text):
        logger.warning_once("Images come before the text in a call of a processor: the two are swapped.")
        images, text = text, images
    is_batch = any(map(_is_list, columns.values())) or _is_list(text)
    if not is_batch and text is None and _is_list(images):
        is_batch = any(entry is None or _is_list(entry) for entry in images)
    parts = {"text": text, "images": images} | {name: column for name, column in columns.items() if name != "text"}
    parts = {
        name: list(part) if is_batch and _is_list(part) else [part] for name, part in parts.items() if part is not None
    }
    for name in columns.keys() & parts.keys():
        for entry in parts[name]:
            if not isinstance(entry, str | None):
                raise TypeError(f"{name}: pass a string, or a list of strings and None, not {entry!r:.80}.")
    if isinstance(columns["aspect"], str):  # one aspect for all posts
        parts["aspect"] *= max(len(part) for part in parts.values())
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The lists differ in length: {lengths}. Pass one entry per post, None where it has none.")
    if 0 in lengths.values():
        raise ValueError("The lists are empty: pass one entry per post, None where it has none.")
    absent = [None] * next(iter(lengths.values()))
    posts = [list(post) if _is_list(post) else [] if post is None else [post] for post in parts.get("images", absent)]
    return posts, {name: parts.get(name, absent) for name in columns}


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_text(value: Any) -> bool:
    entries = value if _is_list(value) else [value]
    return all(entry is None or isinstance(entry, str) for entry in entries)

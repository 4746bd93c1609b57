"""The image processor of an image encoder, the size of the images that it makes, and vectors in their place."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, ViTImageProcessor
from transformers.image_utils import SizeDict

from .common_cnns import OWN_IMAGE_ENCODERS
from .common_images import MAX_IMAGE_PIXELS
from .common_loading import check_source
from .common_precomputed import PrecomputedConfig


def check_whole_number(name: str, value: Any) -> None:
    """Raise a ValueError that names a number if it is not a whole number that is 1 or more."""
    if type(value) is not int or value < 1:  # True is an int too
        raise ValueError(f"{name}={value!r}: give a whole number that is 1 or more.")


def build_image_processor(image: str | Path, image_size: int | None = None, crop: bool = False):
    """Return the image processor of an encoder.

    All but the backbones of transformers get one that resizes the whole image, since a crop would lose regions that
    the sentiment of a post may depend on.

    Args:
        image: The name of an own image encoder, or the Hub id or folder of a vision backbone.
        image_size: The height and width in pixels, for this project's own encoders and timm.
        crop: Whether the shorter side is resized to 8/7 of the size, and the centre is cut out.
    """
    processor = _whole_image_processor(image, image_size)
    if crop:
        height, width = pixel_size(processor)
        processor.size = SizeDict(shortest_edge=max(height, width) * 8 // 7)
        processor.crop_size, processor.do_center_crop = SizeDict(height=height, width=width), True
    return processor


def _whole_image_processor(image: str | Path, image_size: int | None):
    if image == PrecomputedConfig.model_type:  # the processor reads no pixels
        return ViTImageProcessor(size={"height": 1, "width": 1})
    if image in OWN_IMAGE_ENCODERS:
        size = image_size or OWN_IMAGE_ENCODERS[image].image_size
        return ViTImageProcessor(size={"height": size, "width": size})
    check_source(image)
    config = AutoConfig.from_pretrained(image)
    if config.model_type != "timm_wrapper":  # a backbone of transformers, or a whole model of this project
        if image_size is not None:
            raise ValueError(f"image_size={image_size}: {image} has an image processor that sets the size.")
        processor = AutoImageProcessor.from_pretrained(image)
        pixel_size(processor)  # refuses a processor whose images cannot form a batch
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


def stack_vectors(posts: list[np.ndarray], size: int) -> dict[str, torch.Tensor]:
    """Stack the vectors (n, D) of B posts as image_features (B, K, 1, D), zero in empty slots, and image_mask (B, K).

    Raises:
        ValueError: If a vector does not have `size` numbers.
    """
    slots = max(1, *map(len, posts))  # K
    features = torch.zeros(len(posts), slots, 1, size)
    for row, vectors in zip(features, posts, strict=True):
        if not len(vectors):
            continue
        if vectors.shape[1] != size:
            raise ValueError(f"image_features has {vectors.shape[1]} numbers per image, and this model reads {size}.")
        row[: len(vectors), 0] = torch.from_numpy(vectors)
    counts = torch.tensor([len(vectors) for vectors in posts])
    return {"image_features": features, "image_mask": torch.arange(slots) < counts.unsqueeze(1)}


def pixel_size(processor) -> tuple[int, int]:
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

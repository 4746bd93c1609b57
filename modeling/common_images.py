"""Decoding of images from every kind of source. This file imports neither torch nor another file of the project."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

# Limits that are checked before decoding: a file of a few bytes can claim more pixels than any memory holds.
MAX_IMAGE_PIXELS = 50_000_000
MAX_IMAGE_BYTES = 20_000_000


class BadImageError(ValueError):
    """Raised for an image that cannot be decoded. The message names the reason, and the file if there is one."""


def load_image(source: Any, min_side: int | None = None) -> Image.Image:
    """Decode an image to upright RGB. Transparency becomes white, and an animation becomes its first frame.

    Args:
        source: A PIL image; a path; a `{"bytes", "path"}` dictionary of `datasets.Image(decode=False)`; or an array or
            tensor of shape (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels and values of 0..255 (8 bits),
            0..65535 (16 bits) or 0..1 (float).
        min_side: A JPEG file may be decoded at a half, a quarter or an eighth of its size, which is several times
            faster, as long as no side gets shorter than this. Images are decoded at full size by default.

    Raises:
        BadImageError: If the source is not an image, is truncated, or exceeds `MAX_IMAGE_PIXELS` or `MAX_IMAGE_BYTES`.
    """
    name = "<image>"
    try:
        if isinstance(source, Image.Image):
            name = getattr(source, "filename", "") or name
            _check_pixels(source)
            return _to_rgb(ImageOps.exif_transpose(source))
        if hasattr(source, "__array__"):
            return _to_rgb(_from_array(np.asarray(source)))
        if isinstance(source, dict):
            name = source["path"] or name
            source = source["path"] if source["bytes"] is None else BytesIO(source["bytes"])
        elif isinstance(source, str | Path):
            name = str(source)
        else:
            raise TypeError(f"{type(source).__name__} is not an image: pass a PIL image, a path or an array")
        size = source.getbuffer().nbytes if isinstance(source, BytesIO) else Path(source).stat().st_size
        if size > MAX_IMAGE_BYTES:
            raise ValueError(f"{size:,} bytes, over the limit of {MAX_IMAGE_BYTES:,}")
        with Image.open(source) as image:
            _check_pixels(image)
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            ImageOps.exif_transpose(image, in_place=True)  # otherwise an upright image would be copied
            return _to_rgb(image)
    # PIL's decoders raise many errors for damaged files: OSError, SyntaxError, struct.error, EOFError, ...
    except Exception as error:
        raise BadImageError(f"{name}: {error}") from error


def _check_pixels(image: Image.Image) -> None:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, over the limit of {MAX_IMAGE_PIXELS:,}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # PIL would clip these at 255 instead of scaling
        image = _from_array(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)  # (C, H, W) -> (H, W, C)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ValueError(f"an array of shape {array.shape} is not an image: pass (H, W), (H, W, C) or (C, H, W)")
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError("the array has negative or non-finite values")
    if array.dtype == np.bool_ or (np.issubdtype(array.dtype, np.floating) and array.max() <= 1):
        array = array * 255.0
    elif array.dtype != np.uint8 and array.max() > 255:
        array = array / 257  # 65535 = 257 · 255
    return Image.fromarray(array.round().clip(0, 255).astype(np.uint8))

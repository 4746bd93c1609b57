"""Decoding of images from every kind of source. This file imports neither torch nor another file of the project."""

import stat
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Limits that are checked before decoding: a file of a few bytes can claim more pixels than any memory holds.
MAX_IMAGE_PIXELS = 50_000_000
MAX_IMAGE_BYTES = 20_000_000
# PIL would otherwise try every format that it knows, and start Ghostscript for an EPS file whatever its name is.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
# Floats may lie outside of 0..1 by half a step of 8 bits, for example after resizing, and are then clipped.
FLOAT_TOLERANCE = 0.5 / 255


class BadImageError(ValueError):
    """Raised for an image that cannot be decoded. The message names the reason, and the file if there is one."""


def load_image(source: Any, min_side: int | None = None) -> Image.Image:
    """Decode an image to upright RGB. Transparency becomes white, and an animation becomes its first frame.

    The type of an array, a tensor or a PIL image alone tells the range of its values: uint8 0..255, uint16 0..65535,
    bool, or floats 0..1 with a tolerance of `FLOAT_TOLERANCE`. Every other type is refused.

    Args:
        source: A PIL image; a path of a regular file; a dictionary with "bytes" or "path", as of
            `datasets.Image(decode=False)`; or an array or tensor of shape (H, W), (H, W, C) or (C, H, W) with 1, 3 or
            4 channels.
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
            name = source.get("path") or name
            source = source.get("path") if source.get("bytes") is None else source["bytes"]
            if not isinstance(source, bytes | str | Path):
                raise TypeError("a dictionary is an image only if it has 'bytes' or a 'path'")
        elif isinstance(source, str | Path):
            name = str(source)
        else:
            raise TypeError(f"{type(source).__name__} is not an image: pass a PIL image, a path or an array")
        with open_image(source) as image:
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            ImageOps.exif_transpose(image, in_place=True)  # otherwise an upright image would be copied
            return _to_rgb(image)
    # PIL's decoders raise many errors for damaged files: OSError, SyntaxError, struct.error, EOFError, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or error  # str(error) would repeat the path, which may be long
        raise BadImageError(f"{name}: {reason}") from error


def open_image(source: str | Path | bytes) -> Image.Image:
    """Open an image file, or the content of one, without decoding it. No other function of the project does this.

    Raises:
        OSError: If the file does not exist, or cannot be read.
        ValueError: If it is not a regular file, has none of the `FORMATS`, or exceeds `MAX_IMAGE_PIXELS` or
            `MAX_IMAGE_BYTES`.
    """
    if isinstance(source, bytes):
        size = len(source)
    else:
        status = Path(source).stat()
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe or a device may never end
            raise ValueError("not a regular file")
        size = status.st_size
    if size > MAX_IMAGE_BYTES:
        raise ValueError(f"{size:,} bytes, over the limit of {MAX_IMAGE_BYTES:,}")
    try:
        image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"cannot identify an image in one of the formats {', '.join(FORMATS)}") from error
    try:
        _check_pixels(image)
    except ValueError:
        image.close()
        raise
    return image


def as_vectors(value: Any) -> np.ndarray:
    """Return the vectors that stand for the images of a post, float32 (n, D), where n may be 0.

    Args:
        value: The vector of one image, a list of the vectors of several, or None.

    Raises:
        ValueError: If it is something else, or a number is not finite.
    """
    try:
        vectors = np.asarray([] if value is None else value, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"image_features is neither a list of numbers nor a list of such lists: {error}") from error
    vectors = vectors[None] if vectors.ndim == 1 and len(vectors) else vectors
    if vectors.size == 0:
        return np.empty((0, 0), np.float32)
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"image_features of shape {vectors.shape} is not a vector per image, or is not finite.")
    return vectors


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
    if array.dtype == np.bool_:
        array = array * 255.0
    elif np.issubdtype(array.dtype, np.floating):
        low, high = array.min(), array.max()
        if not (low >= -FLOAT_TOLERANCE and high <= 1 + FLOAT_TOLERANCE):  # neither holds for NaN
            raise ValueError(f"the values of type {array.dtype} are {low:g} to {high:g}: scale floats to 0..1")
        array = array * 255.0
    elif array.dtype.newbyteorder("=") == np.uint16:  # a PIL image has its own order of bytes
        array = array / 257  # 65535 = 257 · 255
    elif array.dtype != np.uint8:
        raise TypeError(f"values of type {array.dtype} are not an image: pass uint8, uint16, bool, or floats of 0..1")
    return Image.fromarray(array.round().clip(0, 255).astype(np.uint8))

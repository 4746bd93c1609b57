"""What the HTML pages of the project have in common: how their templates are read, and pictures inside of a page."""

import base64
from io import BytesIO
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from mmsent.modeling.common_images import BadImageError, load_image


def load_templates(package: str) -> Environment:
    """Return the templates in the folder `templates` of a package. They escape what they insert, and refuse names that
    they do not get."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def encode_jpeg(image: Image.Image, quality: int) -> str:
    """Return an image as a JPEG file in Base64."""
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return base64.b64encode(file.getvalue()).decode()


def thumbnail(image: dict | str | Path, side: int) -> str | None:
    """Return a small JPEG file in Base64, or None if the image cannot be decoded.

    Args:
        side: The number of pixels of the longer side.
    """
    try:
        picture = load_image(image, min_side=side)
    except BadImageError:
        return None
    picture.thumbnail((side, side))
    return encode_jpeg(picture, 80)

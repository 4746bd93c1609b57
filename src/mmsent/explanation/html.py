"""Show an explanation as an HTML page.

Orange supports the explained label and blue opposes it. People with colour blindness can tell these two apart.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from mmsent.evaluation.html_parts import encode_jpeg, load_templates

from .attribution import Explanation, Hop
from .segments import segment

ORANGE, BLUE, VIOLET, GREY = (240, 130, 30), (80, 140, 235), (150, 110, 200), (150, 150, 150)
SIDE = 480  # length in pixels of the longer side of an image in the page


def to_html(explanation: Explanation) -> str:
    """Return a complete page for wide screens and phones. It contains its images, and no script and no address."""
    return _TEMPLATES.get_template("page.html").render(_values(explanation))


def to_section(explanation: Explanation) -> str:
    """Return the content of the page as a part of another page. Its style does not affect the rest of that page."""
    return _TEMPLATES.get_template("section.html").render(_values(explanation))


def heat_images(explanation: Explanation) -> list[Image.Image]:
    """Return each image in grey, tinted by the attribution of its segments on a common scale."""
    segments = [segment(image, heat) for image, heat in zip(explanation.images, explanation.heat, strict=True)]
    scale = _largest(np.abs(values).max() for values in segments) or 1
    tinted = []
    for image, values in zip(explanation.images, segments, strict=True):
        resized = _resize(image)
        grey = np.asarray(resized.convert("L"), dtype=float)[..., None] * 0.6 + 90  # pale, so that colours stand out
        density = Image.fromarray(values.astype(np.float32))
        signed = np.asarray(density.resize(resized.size, Image.Resampling.NEAREST)) / scale
        colour = np.where(signed[..., None] > 0, ORANGE, BLUE)
        strength = 0.85 * np.abs(signed).clip(0, 1)[..., None] ** 0.7
        tinted.append(Image.fromarray((grey * (1 - strength) + colour * strength).clip(0, 255).astype(np.uint8)))
    return tinted


def attention_images(explanation: Explanation, regions: list[np.ndarray]) -> list[Image.Image]:
    """Return each image, darkened where its regions (h, w) have little attention, on a common scale."""
    scale = _largest(grid.max() for grid in regions) or 1
    darkened = []
    for image, grid in zip(explanation.images, regions, strict=False):  # Padding has regions but no image.
        resized = _resize(image)
        light = Image.fromarray((grid / scale).astype(np.float32)).resize(resized.size, Image.Resampling.NEAREST)
        pixels = np.asarray(resized) * (0.2 + 0.8 * np.asarray(light)[..., None])
        darkened.append(Image.fromarray(pixels.astype(np.uint8)))
    return darkened


def _values(explanation: Explanation) -> dict[str, Any]:
    """Return the variables of the templates."""
    label, names = explanation.label, _image_names(explanation)
    contributions = {"text": sum(value for _, value in explanation.words)} if explanation.words else {}
    contributions |= {name: float(heat.sum()) for name, heat in zip(names, explanation.heat, strict=True)}
    largest = _largest(contributions.values()) or 1
    scale = _largest(value for _, value in explanation.words)
    captions = [f"{name}: orange speaks for {label}, blue against it" for name in names]
    return {
        "title": f"{label} {explanation.scores[label]:.0%}",
        "label": label,
        "labels": list(explanation.scores),
        "aspect": explanation.aspect,
        "columns": {name: value for name, value in explanation.columns.items() if value},
        "score_rows": explanation.score_rows(),
        "contributions": [(name, value, abs(value) / largest / 2) for name, value in contributions.items()],
        "change": sum(contributions.values()) + explanation.gap,
        "gap": abs(explanation.gap),
        "words": [
            (piece, value, _css(BLUE if value < 0 else ORANGE, abs(value), scale))
            for piece, value in explanation.words
        ],
        "images": _encode([*heat_images(explanation), *explanation.images], [*captions, *names]),
        "hops": [_hop_values(explanation, hop) for hop in explanation.attention],
        "colours": {"positive": _css(ORANGE), "negative": _css(BLUE), "neutral": _css(GREY)},
    }


def _hop_values(explanation: Explanation, hop: Hop) -> dict[str, Any]:
    """Return what a hop shows: its weights, the largest one, and what each would be if all were equal."""
    values: dict[str, Any] = {"words": None, "images": None}
    if hop.words is not None:
        largest = max(hop.words, default=0)
        pieces = [piece for piece, _ in explanation.words]
        values |= {
            "words": [
                (piece, weight, _css(VIOLET, weight, largest)) for piece, weight in zip(pieces, hop.words, strict=True)
            ],
            "largest_word": largest,
            "equal_words": 1 / hop.tokens,
            "rest": 1 - sum(hop.words),
        }
    if hop.regions is not None:
        captions = [
            f"Most in {name}: {grid.max():.3f}"
            for name, grid in zip(_image_names(explanation), hop.regions, strict=False)
        ]
        values |= {
            "images": _encode(attention_images(explanation, hop.regions), captions),
            "equal_regions": 1 / sum(grid.size for grid in hop.regions),
        }
    return values


def _image_names(explanation: Explanation) -> list[str]:
    count = len(explanation.images)
    return ["image"] if count == 1 else [f"image {number}" for number in range(1, count + 1)]


def _largest(values: Iterable[float]) -> float:
    return max((abs(value) for value in values), default=0)


def _css(colour: tuple[int, int, int], value: float = 1, scale: float = 1) -> str:
    """Return a CSS colour between white for the value 0 and the full colour for the value `scale`."""
    strength = min(1, value / scale) if scale > 0 else 0
    return "#{:02x}{:02x}{:02x}".format(*(round(255 + (channel - 255) * strength) for channel in colour))


def _encode(images: list[Image.Image], captions: list[str]) -> list[tuple[str, str]]:
    """Return the images as JPEG files in Base64, each with its caption."""
    return [(encode_jpeg(_resize(image), 88), caption) for image, caption in zip(images, captions, strict=True)]


def _resize(image: Image.Image) -> Image.Image:
    """Return the image with `SIDE` pixels on its longer side. Small images are enlarged, so that cells have edges."""
    factor = SIDE / max(image.size)
    return image.resize([max(1, round(side * factor)) for side in image.size])


_TEMPLATES = load_templates("mmsent.explanation")
_TEMPLATES.filters["percent"] = "{:.1%}".format

"""An explanation as a page that needs nothing else.

Orange speaks for the explained label and blue against it; people who do not see red or green tell these two apart.
"""

import base64
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from .attribution import Explanation

ORANGE, BLUE, VIOLET, GREY = (240, 130, 30), (80, 140, 235), (150, 110, 200), (150, 150, 150)
SIDE = 480  # of a picture in the page, in pixels
CELLS = 24  # attributions of single pixels are noise to the eye: they are shown as means over so many cells a side

STYLE = """
.explanation {
  color-scheme: light; color: #111; background: #fff; max-width: 60rem; margin: 0 auto; padding: 1rem;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei",
    "Noto Sans Arabic", sans-serif, "Noto Color Emoji", "Apple Color Emoji", "Segoe UI Emoji";
  h1, h2 { font-weight: 600 }
  h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem }
  .words { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1.15rem; line-height: 1.9; margin: .4rem 0 }
  .words span { border-radius: .2em; padding: .1em 0; mix-blend-mode: multiply }
  .small { color: #555; font-size: .85rem; margin: .3rem 0 }
  .wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
  th, td { text-align: start; font-weight: normal; padding: .2rem .6rem .2rem 0; border: 0 }
  td { min-width: 3.2rem; width: 30% } td:nth-child(2):last-child { width: 80% }
  thead th { color: #555; font-size: .85rem }
  @media (min-width: 40rem) { th { white-space: nowrap } }
  .bar { background: #eee; height: .7rem } .bar div { height: 100% }
  .pictures { display: flex; flex-wrap: wrap; gap: .8rem; margin: .6rem 0 }
  figure { margin: 0; flex: 0 1 18rem; min-width: 9rem }
  img { width: 100%; display: block; margin: 0 } figcaption { color: #555; font-size: .85rem }
  .legend { display: inline-block; width: 8rem; height: .7rem; margin: 0 .4rem }
}
"""


def to_html(explanation: Explanation) -> str:
    """One page: no script, no address, pictures inside; for wide screens and phones."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title_of(explanation))}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>body { margin: 0 }</style>'
        f"</head>\n<body>\n{to_section(explanation)}\n</body></html>\n"
    )


def to_section(explanation: Explanation) -> str:
    """The same as a part of another page, with a style that stays within it."""
    it = explanation
    body = [f'<style>{STYLE}</style><section class="explanation">', f"<h1>{escape(title_of(it))}</h1>"]
    if it.aspect:
        body.append(f'<p>about <strong lang="" dir="auto">{escape(it.aspect)}</strong></p>')
    body += ["<h2>Scores, and what becomes of them without a part</h2>", _score_table(it)]
    body += [f"<h2>What speaks for “{escape(it.label)}”</h2>", _contribution_table(it)]
    gradient = f"linear-gradient(to right, {_css(BLUE)}, #fff, {_css(ORANGE)})"
    legend = f'against<span class="legend" style="background: {gradient}"></span>for.'
    body.append(f'<p class="small">{legend} {escape(note_on(it))}</p>')
    if it.words:
        body.append(_html_words(it.words, signed_scale([value for _, value in it.words]), signed=True))
    if it.images:
        names = [f"{_slot(it, slot)}: orange speaks for {it.label}, blue against it" for slot in range(len(it.images))]
        originals = [(picture, _slot(it, slot)) for slot, picture in enumerate(it.images)]
        body.append(_html_pictures([*zip(heat_pictures(it), names, strict=True), *originals]))
    for number, hop in enumerate(it.attention, start=1):
        body.append(f"<h2>Attention, {number} of {len(it.attention)}</h2>")
        if hop.words is not None:
            weighed = [(piece, weight) for (piece, _), weight in zip(it.words, hop.words, strict=True)]
            body.append(_html_words(weighed, max(hop.words, default=0), signed=False))
            body.append(f'<p class="small">{attended(hop.words)}</p>')
        if hop.regions is not None:
            names = [f"{_slot(it, slot)}: {most_lit(grid)}" for slot, grid in enumerate(hop.regions[: len(it.images)])]
            body.append(_html_pictures([*zip(lit_pictures(it, hop.regions), names, strict=True)]))
    return "\n".join([*body, "</section>"])


def title_of(it: Explanation) -> str:
    return f"{it.label} {it.scores[it.label]:.0%}"


def _slot(it: Explanation, slot: int) -> str:
    return "image" if len(it.images) == 1 else f"image {slot + 1}"


def note_on(it: Explanation) -> str:
    total = sum(contributions(it).values())
    return (
        f"Integrated gradients, from average words and grey pictures to this post: the score of {it.label} (its logit "
        f"less the mean logit) moves by {total + it.gap:+.2f}, of which {abs(it.gap):.3f} is left unexplained."
    )


def contributions(it: Explanation) -> dict[str, float]:
    """The summed attribution of each part."""
    text = {"text": sum(value for _, value in it.words)} if it.words else {}
    return text | {_slot(it, slot): float(heat.sum()) for slot, heat in enumerate(it.heat)}


def score_rows(it: Explanation) -> dict[str, dict[str, float]]:
    return {"everything": it.scores} | {f"without {part}": scores for part, scores in it.without.items()}


def attended(weights: list[float]) -> str:
    rest = 1 - sum(weights)
    return f"darkest: {max(weights):.2f}" + (f"; {rest:.2f} on the tokenizer's special tokens" if rest > 0.005 else "")


def most_lit(grid: np.ndarray) -> str:
    return f"brightest: {grid.max():.2f} of {grid.size} regions"


def signed_scale(values) -> float:
    return max((abs(value) for value in values), default=0)


def tint(value: float, scale: float, signed: bool = True) -> tuple[int, int, int]:
    """White at 0, a full colour at ± scale."""
    strength = min(1, abs(value) / scale) if scale > 0 else 0
    colour = (ORANGE if value > 0 else BLUE) if signed else VIOLET
    return tuple(round(255 + (channel - 255) * strength) for channel in colour)


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _score_table(it: Explanation) -> str:
    heads = "".join(f"<th>{escape(label)}</th>" for label in it.scores)
    lines = [f"<thead><tr><th></th>{heads}</tr></thead>"]
    for name, scores in score_rows(it).items():
        cells = [_bar(value, 0, value, ORANGE if label == it.label else GREY) for label, value in scores.items()]
        lines.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _bar(value: float, start: float, share: float, colour: tuple[int, int, int], form: str = ".1%") -> str:
    style = f"margin-inline-start: {start:.1%}; width: {share:.1%}; background: {_css(colour)}"
    return f'<td>{value:{form}}<div class="bar"><div style="{style}"></div></div></td>'


def _contribution_table(it: Explanation) -> str:
    parts, lines = contributions(it), []
    scale = signed_scale(parts.values()) or 1
    for name, value in parts.items():
        share = abs(value) / scale / 2
        bar = _bar(value, 0.5 if value > 0 else 0.5 - share, share, ORANGE if value > 0 else BLUE, "+.2f")
        lines.append(f"<tr><th>{name}</th>{bar}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _html_words(words: list[tuple[str, float]], scale: float, signed: bool) -> str:
    spans = []
    for piece, value in words:
        style = f' style="background: {_css(tint(value, scale, signed))}" title="{value:.3f}"' if value else ""
        spans.append(f"<span{style}>{escape(piece)}</span>")
    return f'<p class="words" lang="" dir="auto">{"".join(spans)}</p>'


def _html_pictures(pictures: list[tuple[Image.Image, str]]) -> str:
    figures = []
    for picture, name in pictures:
        file = BytesIO()
        resized(picture).save(file, "JPEG", quality=88)
        data = base64.b64encode(file.getvalue()).decode()
        alt = escape(name)
        figures.append(
            f'<figure><img alt="{alt}" src="data:image/jpeg;base64,{data}"><figcaption>{alt}</figcaption></figure>'
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def resized(picture: Image.Image) -> Image.Image:
    """At most SIDE pixels a side; small ones are enlarged, so that cells keep their edges."""
    factor = SIDE / max(picture.size)
    return picture.resize([max(1, round(side * factor)) for side in picture.size])


def heat_pictures(it: Explanation) -> list[Image.Image]:
    """Each picture in grey, tinted by the attribution of its cells; one scale for all."""
    cells = [Image.fromarray(heat.astype(np.float32)).resize((CELLS, CELLS), Image.Resampling.BOX) for heat in it.heat]
    scale = signed_scale(np.abs(np.asarray(cell)).max() for cell in cells) or 1
    tinted = []
    for picture, cell in zip(it.images, cells, strict=True):
        small = resized(picture)
        grey = np.asarray(small.convert("L"), dtype=float)[..., None] * 0.6 + 90  # pale, so that colours stand out
        signed = np.asarray(cell.resize(small.size, Image.Resampling.BICUBIC)) / scale
        colour = np.where(signed[..., None] > 0, ORANGE, BLUE)
        strength = 0.85 * np.abs(signed).clip(0, 1)[..., None] ** 0.7
        tinted.append(Image.fromarray((grey * (1 - strength) + colour * strength).clip(0, 255).astype(np.uint8)))
    return tinted


def lit_pictures(it: Explanation, regions: list[np.ndarray]) -> list[Image.Image]:
    """Each picture, dark where nothing was attended to; one scale for all."""
    scale = signed_scale(grid.max() for grid in regions) or 1
    lit = []
    for picture, grid in zip(it.images, regions, strict=False):
        small = resized(picture)
        light = Image.fromarray((grid / scale).astype(np.float32)).resize(small.size, Image.Resampling.NEAREST)
        lit.append(Image.fromarray((np.asarray(small) * (0.2 + 0.8 * np.asarray(light)[..., None])).astype(np.uint8)))
    return lit

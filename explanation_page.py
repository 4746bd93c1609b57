"""An explanation as a page that needs nothing else, and as a picture.

Orange speaks for the explained label and blue against it; people who do not see red or green tell these two apart.
"""

import base64
import unicodedata
import warnings
from functools import cache
from html import escape
from io import BytesIO

import numpy as np
import regex
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageFont
from PIL import ImageDraw as Draw

from modeling.explanation import Explanation

ORANGE, BLUE, VIOLET, GREY = (240, 130, 30), (80, 140, 235), (150, 110, 200), (150, 150, 150)
SIDE = 480  # of a picture in the page, in pixels
CELLS = 24  # attributions of single pixels are noise to the eye: they are shown as means over so many cells a side

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei",
  "Noto Sans Arabic", sans-serif, "Noto Color Emoji", "Apple Color Emoji", "Segoe UI Emoji";
  max-width: 60rem; margin: 0 auto; padding: 1rem; color: #111; background: #fff }
h1 { font-size: 1.5rem; margin: .5rem 0 } h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem }
.words { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 1.15rem; line-height: 1.9; margin: .4rem 0 }
.words span { border-radius: .2em; padding: .1em 0; mix-blend-mode: multiply }
.small { color: #555; font-size: .85rem; margin: .3rem 0 }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: start; font-weight: normal; padding: .2rem .6rem .2rem 0 }
td { min-width: 3.2rem; width: 30% } td:nth-child(2):last-child { width: 80% }
thead th { color: #555; font-size: .85rem }
@media (min-width: 40rem) { th { white-space: nowrap } }
.bar { background: #eee; height: .7rem } .bar div { height: 100% }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem; margin: .6rem 0 }
figure { margin: 0; flex: 0 1 18rem; min-width: 9rem }
img { width: 100%; display: block } figcaption { color: #555; font-size: .85rem }
.legend { display: inline-block; width: 8rem; height: .7rem; margin: 0 .4rem }
"""


def to_html(explanation: Explanation) -> str:
    """One page: no script, no address, pictures inside; for wide screens and phones."""
    it, title = explanation, _title(explanation)
    body = [f"<h1>{escape(title)}</h1>"]
    if it.aspect:
        body.append(f'<p>about <strong lang="" dir="auto">{escape(it.aspect)}</strong></p>')
    body += ["<h2>Scores, and what becomes of them without a part</h2>", _score_table(it)]
    body += [f"<h2>What speaks for “{escape(it.label)}”</h2>", _contribution_table(it)]
    gradient = f"linear-gradient(to right, {_css(BLUE)}, #fff, {_css(ORANGE)})"
    legend = f'against<span class="legend" style="background: {gradient}"></span>for.'
    body.append(f'<p class="small">{legend} {escape(_note(it))}</p>')
    if it.words:
        body.append(_html_words(it.words, _scale([value for _, value in it.words]), signed=True))
    if it.images:
        names = [f"{_slot(it, slot)}: orange speaks for {it.label}, blue against it" for slot in range(len(it.images))]
        originals = [(picture, _slot(it, slot)) for slot, picture in enumerate(it.images)]
        body.append(_html_pictures([*zip(_heat_pictures(it), names, strict=True), *originals]))
    for number, hop in enumerate(it.attention, start=1):
        body.append(f"<h2>Attention, {number} of {len(it.attention)}</h2>")
        if hop.words is not None:
            weighed = [(piece, weight) for (piece, _), weight in zip(it.words, hop.words, strict=True)]
            body.append(_html_words(weighed, max(hop.words, default=0), signed=False))
            body.append(f'<p class="small">{_attended(hop.words)}</p>')
        if hop.regions is not None:
            names = [f"{_slot(it, slot)}: {_most(grid)}" for slot, grid in enumerate(hop.regions[: len(it.images)])]
            body.append(_html_pictures([*zip(_lit_pictures(it, hop.regions), names, strict=True)]))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _title(it: Explanation) -> str:
    return f"{it.label} {it.scores[it.label]:.0%}"


def _slot(it: Explanation, slot: int) -> str:
    return "image" if len(it.images) == 1 else f"image {slot + 1}"


def _note(it: Explanation) -> str:
    total = sum(_contributions(it).values())
    return (
        f"Integrated gradients, from average words and grey pictures to this post: the score of {it.label} (its logit "
        f"less the mean logit) moves by {total + it.gap:+.2f}, of which {abs(it.gap):.3f} is left unexplained."
    )


def _contributions(it: Explanation) -> dict[str, float]:
    """The summed attribution of each part."""
    text = {"text": sum(value for _, value in it.words)} if it.words else {}
    return text | {_slot(it, slot): float(heat.sum()) for slot, heat in enumerate(it.heat)}


def _rows(it: Explanation) -> dict[str, dict[str, float]]:
    return {"everything": it.scores} | {f"without {part}": scores for part, scores in it.without.items()}


def _attended(weights: list[float]) -> str:
    rest = 1 - sum(weights)
    return f"darkest: {max(weights):.2f}" + (f"; {rest:.2f} on the tokenizer's special tokens" if rest > 0.005 else "")


def _most(grid: np.ndarray) -> str:
    return f"brightest: {grid.max():.2f} of {grid.size} regions"


def _scale(values) -> float:
    return max((abs(value) for value in values), default=0)


def _tint(value: float, scale: float, signed: bool = True) -> tuple[int, int, int]:
    """White at 0, a full colour at ± scale."""
    strength = min(1, abs(value) / scale) if scale > 0 else 0
    colour = (ORANGE if value > 0 else BLUE) if signed else VIOLET
    return tuple(round(255 + (channel - 255) * strength) for channel in colour)


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _score_table(it: Explanation) -> str:
    heads = "".join(f"<th>{escape(label)}</th>" for label in it.scores)
    lines = [f"<thead><tr><th></th>{heads}</tr></thead>"]
    for name, scores in _rows(it).items():
        cells = [_bar(value, 0, value, ORANGE if label == it.label else GREY) for label, value in scores.items()]
        lines.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _bar(value: float, start: float, share: float, colour: tuple[int, int, int], form: str = ".1%") -> str:
    style = f"margin-inline-start: {start:.1%}; width: {share:.1%}; background: {_css(colour)}"
    return f'<td>{value:{form}}<div class="bar"><div style="{style}"></div></div></td>'


def _contribution_table(it: Explanation) -> str:
    parts, lines = _contributions(it), []
    scale = _scale(parts.values()) or 1
    for name, value in parts.items():
        share = abs(value) / scale / 2
        bar = _bar(value, 0.5 if value > 0 else 0.5 - share, share, ORANGE if value > 0 else BLUE, "+.2f")
        lines.append(f"<tr><th>{name}</th>{bar}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _html_words(words: list[tuple[str, float]], scale: float, signed: bool) -> str:
    spans = []
    for piece, value in words:
        style = f' style="background: {_css(_tint(value, scale, signed))}" title="{value:.3f}"' if value else ""
        spans.append(f"<span{style}>{escape(piece)}</span>")
    return f'<p class="words" lang="" dir="auto">{"".join(spans)}</p>'


def _html_pictures(pictures: list[tuple[Image.Image, str]]) -> str:
    figures = []
    for picture, name in pictures:
        file = BytesIO()
        _small(picture).save(file, "JPEG", quality=88)
        data = base64.b64encode(file.getvalue()).decode()
        alt = escape(name)
        figures.append(
            f'<figure><img alt="{alt}" src="data:image/jpeg;base64,{data}"><figcaption>{alt}</figcaption></figure>'
        )
    return f'<div class="pictures">{"".join(figures)}</div>'


def _small(picture: Image.Image) -> Image.Image:
    """At most SIDE pixels a side; small ones are enlarged, so that cells keep their edges."""
    factor = SIDE / max(picture.size)
    return picture.resize([max(1, round(side * factor)) for side in picture.size])


def _heat_pictures(it: Explanation) -> list[Image.Image]:
    """Each picture in grey, tinted by the attribution of its cells; one scale for all."""
    cells = [Image.fromarray(heat.astype(np.float32)).resize((CELLS, CELLS), Image.Resampling.BOX) for heat in it.heat]
    scale = _scale(np.abs(np.asarray(cell)).max() for cell in cells) or 1
    tinted = []
    for picture, cell in zip(it.images, cells, strict=True):
        small = _small(picture)
        grey = np.asarray(small.convert("L"), dtype=float)[..., None] * 0.6 + 90  # pale, so that colours stand out
        signed = np.asarray(cell.resize(small.size, Image.Resampling.BICUBIC)) / scale
        colour = np.where(signed[..., None] > 0, ORANGE, BLUE)
        strength = 0.85 * np.abs(signed).clip(0, 1)[..., None] ** 0.7
        tinted.append(Image.fromarray((grey * (1 - strength) + colour * strength).clip(0, 255).astype(np.uint8)))
    return tinted


def _lit_pictures(it: Explanation, regions: list[np.ndarray]) -> list[Image.Image]:
    """Each picture, dark where nothing was attended to; one scale for all."""
    scale = _scale(grid.max() for grid in regions) or 1
    lit = []
    for picture, grid in zip(it.images, regions, strict=False):
        small = _small(picture)
        light = Image.fromarray((grid / scale).astype(np.float32)).resize(small.size, Image.Resampling.NEAREST)
        lit.append(Image.fromarray((np.asarray(small) * (0.2 + 0.8 * np.asarray(light)[..., None])).astype(np.uint8)))
    return lit


WIDTH, MARGIN, SIZE = 720, 24, 13  # of the figure and of its letters, in points


def to_figure(explanation: Explanation) -> Figure:
    """The same as a picture. Emoji are in colour where Noto Color Emoji is installed.

    Warns of characters that no installed font has; a box stands for them.
    """
    it = explanation
    sheet = _Sheet([it.aspect or "", *it.scores, *(piece for piece, _ in it.words)])
    sheet.line(_title(it) + (f"   ({it.aspect})" if it.aspect else ""), size=1.5 * SIZE)
    columns = len(it.scores)
    sheet.bars({"": dict.fromkeys(it.scores)}, columns, it)
    sheet.bars(_rows(it), columns, it)
    sheet.line(f"what speaks for {it.label} (orange) and against it (blue)", gap=10)
    parts = _contributions(it)
    scale = _scale(parts.values()) or 1
    for name, value in parts.items():
        sheet.signed_bar(name, value, value / scale)
    note = _note(it)
    middle = note.index(":") + 1
    sheet.line(note[:middle], size=0.7 * SIZE)
    sheet.line(note[middle:].strip(), size=0.7 * SIZE)
    sheet.words(it.words, _scale([value for _, value in it.words]), signed=True)
    heat = _heat_pictures(it)
    for row in [heat + it.images] if len(it.images) == 1 else [heat, it.images]:
        sheet.pictures(row)
    for number, hop in enumerate(it.attention, start=1):
        notes = [_attended(hop.words)] if hop.words else []
        notes += ["images " + ", ".join(_most(grid) for grid in hop.regions[: len(it.images)])] if hop.regions else []
        sheet.line(f"attention, {number} of {len(it.attention)}: {' / '.join(notes)}", gap=10, size=0.8 * SIZE)
        if hop.words is not None:
            weighed = [(piece, weight) for (piece, _), weight in zip(it.words, hop.words, strict=True)]
            sheet.words(weighed, max(hop.words, default=0), signed=False)
        if hop.regions is not None:
            sheet.pictures(_lit_pictures(it, hop.regions))
    return sheet.finish()


class _Sheet:
    """A figure that is filled from top to bottom, in points."""

    def __init__(self, texts: list[str]):
        self.figure = Figure(figsize=(WIDTH / 72, 1), dpi=72)
        self.renderer = FigureCanvasAgg(self.figure).get_renderer()
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.emoji = _emoji_font()
        self.families, self.missing = _families(_drawn("".join(texts), self.emoji is not None))
        self.y = MARGIN

    def finish(self) -> Figure:
        height = self.y + MARGIN
        self.figure.set_size_inches(WIDTH / 72, height / 72)
        self.axes.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="auto")
        return self.figure

    def line(self, text: str, size: float = SIZE, gap: float = 0) -> None:
        self.y += gap
        self.text(MARGIN, text, size=size)
        self.y += 1.6 * size

    def text(self, x: float, text: str, size: float = SIZE) -> float:
        """Draw on the current line and return the width."""
        start = x
        for run, is_emoji in _runs(text, self.emoji is not None):
            if is_emoji:
                self.image(_emoji(run), x, self.y, 1.15 * size, 1.15 * size)
                x += 1.25 * size
                continue
            font = {"family": self.families, "size": size}
            self.axes.text(x, self.y + size, self.boxed(run), parse_math=False, **font)
            x += self.width(run, size)
        return x - start

    def boxed(self, text: str) -> str:
        return "".join("□" if sign in self.missing else sign for sign in text)

    def width(self, text: str, size: float = SIZE) -> float:
        font = font_manager.FontProperties(family=self.families, size=size)
        runs = _runs(text, self.emoji is not None)
        return sum(
            1.25 * size if is_emoji else self.renderer.get_text_width_height_descent(self.boxed(run), font, False)[0]
            for run, is_emoji in runs
        )

    def box(self, x: float, y: float, width: float, height: float, colour: tuple[int, int, int]) -> None:
        colour = tuple(channel / 255 for channel in colour)
        self.axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor="none"))

    def image(self, picture: Image.Image, x: float, y: float, width: float, height: float) -> None:
        self.axes.imshow(np.asarray(picture), extent=(x, x + width, y + height, y), aspect="auto", zorder=3)

    def bars(self, rows: dict[str, dict[str, float | None]], columns: int, it: Explanation) -> None:
        """A line of bars each; the heads where the values are None."""
        left = MARGIN + 140
        step = (WIDTH - MARGIN - left) / columns
        for name, scores in rows.items():
            self.text(MARGIN, name, size=0.85 * SIZE)
            for index, (label, value) in enumerate(scores.items()):
                if value is not None:
                    full = max(step - 60, 4)
                    colour = ORANGE if label == it.label else GREY
                    self.box(left + index * step, self.y, full, SIZE, (238, 238, 238))
                    self.box(left + index * step, self.y, full * value, SIZE, colour)
                text, x = (label, 0) if value is None else (f"{value:.1%}", step - 54)
                self.text(left + index * step + x, text, size=0.85 * SIZE)
            self.y += 1.6 * SIZE

    def signed_bar(self, name: str, value: float, share: float) -> None:
        left, full = MARGIN + 140, WIDTH - 2 * MARGIN - 200
        self.text(MARGIN, name, size=0.85 * SIZE)
        self.box(left, self.y, full, SIZE, (238, 238, 238))
        width = full / 2 * share
        self.box(left + full / 2 + min(0, width), self.y, abs(width), SIZE, ORANGE if value > 0 else BLUE)
        self.text(left + full + 6, f"{value:+.2f}", size=0.85 * SIZE)
        self.y += 1.6 * SIZE

    def words(self, words: list[tuple[str, float]], scale: float, signed: bool) -> None:
        """Shaded words, wrapped; from right to left if the first letter is."""
        directions = (unicodedata.bidirectional(sign) for piece, _ in words for sign in piece)
        first = next((direction for direction in directions if direction in ("L", "R", "AL")), "L")
        room, x = WIDTH - 2 * MARGIN, 0.0
        self.y += 4
        parts = [(part, value) for piece, value in words for part in regex.findall(r"\S+|\s", piece)]
        while parts and parts[-1][0].isspace():
            parts.pop()
        cells = [(part, value, self.width(part)) for part, value in parts]
        cells = [cell for part in cells for cell in ([part] if part[2] <= room else self._split(part))]
        for index, (part, value, width) in enumerate(cells):
            unbroken = 0.0  # what follows without a blank stays on one line, unless it is long, as in Chinese
            for later, _, more in cells[index:]:
                if later.isspace() or unbroken > room / 3:
                    break
                unbroken += more
            starts = index == 0 or cells[index - 1][0].isspace()
            need = unbroken if starts and unbroken <= room / 3 else width
            if part == "\n" or x + need > room:
                x, self.y = 0.0, self.y + 1.9 * SIZE
            if part.isspace():
                x += 0 if x == 0 or part in "\n\r" else 0.3 * SIZE
                continue
            left = MARGIN + (x if first == "L" else room - x - width)
            if value:
                self.box(left, self.y - 0.15 * SIZE, width, 1.5 * SIZE, _tint(value, scale, signed))
            self.text(left, part)
            x += width
        self.y += 2.2 * SIZE

    def _split(self, cell: tuple[str, float, float]) -> list[tuple[str, float, float]]:
        return [(sign, cell[1], self.width(sign)) for sign in regex.findall(r"\X", cell[0])]

    def pictures(self, pictures: list[Image.Image]) -> None:
        """Up to four a row, at one height each row."""
        for start in range(0, len(pictures), 4):
            row, height = pictures[start : start + 4], 0.0
            width = min(230, (WIDTH - 2 * MARGIN) / len(row) - 8)
            for index, picture in enumerate(row):
                factor = min(width / picture.width, 200 / picture.height)
                height = max(height, picture.height * factor)
                size = picture.width * factor, picture.height * factor
                self.image(_small(picture), MARGIN + index * (width + 8), self.y, *size)
            self.y += height + 8


_EMOJI = regex.compile(r"(?=\p{Emoji_Presentation}|\p{RI}|\p{Emoji}(?:\uFE0F|\p{EMod}))\X")


def _runs(text: str, colour: bool) -> list[tuple[str, bool]]:
    """The text cut into emoji, to be drawn in colour, and what lies between; without signs that are not drawn."""
    runs, done = [], 0
    for match in _EMOJI.finditer(text) if colour else ():
        runs += [(text[done : match.start()], False), (match[0], True)]
        done = match.end()
    runs.append((text[done:], False))
    return [(run if is_emoji else _drawn(run, False), is_emoji) for run, is_emoji in runs if run]


def _drawn(text: str, colour: bool) -> str:
    """What fonts must have: no emoji that are drawn in colour, no control signs and joiners of emoji."""
    text = _EMOJI.sub("", text) if colour else text
    return regex.sub(r"[\p{Cc}\p{Cs}\uFE0E\uFE0F\u200D\p{EMod}]", "", regex.sub(r"\s", " ", text))


@cache
def _emoji_font() -> ImageFont.FreeTypeFont | None:
    paths = [path for path in font_manager.findSystemFonts() if path.endswith("NotoColorEmoji.ttf")]
    return ImageFont.truetype(paths[0], 109) if paths else None  # the one size that its bitmaps have


def _emoji(cluster: str) -> Image.Image:
    picture = Image.new("RGBA", (136, 136))
    Draw.Draw(picture).text((0, 4), cluster, font=_emoji_font(), embedded_color=True)
    return picture


def _families(text: str) -> tuple[list[str], set[str]]:
    """Names of installed fonts that together have the text's characters, and the characters that none has."""
    families, missing = ["DejaVu Sans"], set(text) - _has("DejaVu Sans", text)
    for known in (True, False):
        if missing and not known:  # fonts installed since matplotlib made its list
            listed = {font.fname for font in font_manager.fontManager.ttflist}
            for path in sorted(set(font_manager.findSystemFonts()) - listed):
                try:
                    font_manager.fontManager.addfont(path)
                except (RuntimeError, NotImplementedError):
                    continue  # not one that matplotlib can draw
        fonts = font_manager.fontManager.ttflist
        names = {font.name for font in fonts if font.style == "normal" and font.weight in (400, "normal", "regular")}
        names = {name for name in names if not name.startswith("Last Resort")}  # has a box for every script
        for name in sorted(
            names, key=lambda name: (name != "Noto Sans CJK SC", not name.startswith("Noto Sans"), name)
        ):
            found = _has(name, missing) if missing else set()
            if found:
                families.append(name)
                missing -= found
    if missing:
        warnings.warn(
            f"No installed font has {' '.join(sorted(missing))}: a box stands for them. "
            "Install fonts, on Debian fonts-noto-core, fonts-noto-cjk, fonts-noto-color-emoji and fonts-symbola.",
            stacklevel=2,
        )
    return families, missing


def _has(family: str, signs) -> set[str]:
    path = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
    font = font_manager.get_font(path)
    return {sign for sign in signs if font.get_char_index(ord(sign))}

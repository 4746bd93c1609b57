"""An explanation as a picture, in any script, with emoji."""

import unicodedata
import warnings
from functools import cache

import numpy as np
import regex
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageFont
from PIL import ImageDraw as Draw

from .attribution import Explanation
from .html import (
    BLUE,
    GREY,
    ORANGE,
    attended,
    contributions,
    heat_pictures,
    lit_pictures,
    most_lit,
    note_on,
    resized,
    score_rows,
    signed_scale,
    tint,
    title_of,
)

WIDTH, MARGIN, SIZE = 720, 24, 13  # of the figure and of its letters, in points


def to_figure(explanation: Explanation) -> Figure:
    """The same as a picture. Emoji are in colour where Noto Color Emoji is installed.

    Warns of characters that no installed font has; a box stands for them.
    """
    it = explanation
    sheet = _Sheet([it.aspect or "", *it.scores, *(piece for piece, _ in it.words)])
    sheet.line(title_of(it) + (f"   ({it.aspect})" if it.aspect else ""), size=1.5 * SIZE)
    columns = len(it.scores)
    sheet.bars({"": dict.fromkeys(it.scores)}, columns, it)
    sheet.bars(score_rows(it), columns, it)
    sheet.line(f"what speaks for {it.label} (orange) and against it (blue)", gap=10)
    parts = contributions(it)
    scale = signed_scale(parts.values()) or 1
    for name, value in parts.items():
        sheet.signed_bar(name, value, value / scale)
    note = note_on(it)
    middle = note.index(":") + 1
    sheet.line(note[:middle], size=0.7 * SIZE)
    sheet.line(note[middle:].strip(), size=0.7 * SIZE)
    sheet.words(it.words, signed_scale([value for _, value in it.words]), signed=True)
    heat = heat_pictures(it)
    for row in [heat + it.images] if len(it.images) == 1 else [heat, it.images]:
        sheet.pictures(row)
    for number, hop in enumerate(it.attention, start=1):
        notes = [attended(hop.words)] if hop.words else []
        notes += (
            ["images " + ", ".join(most_lit(grid) for grid in hop.regions[: len(it.images)])] if hop.regions else []
        )
        sheet.line(f"attention, {number} of {len(it.attention)}: {' / '.join(notes)}", gap=10, size=0.8 * SIZE)
        if hop.words is not None:
            weighed = [(piece, weight) for (piece, _), weight in zip(it.words, hop.words, strict=True)]
            sheet.words(weighed, max(hop.words, default=0), signed=False)
        if hop.regions is not None:
            sheet.pictures(lit_pictures(it, hop.regions))
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
                self.box(left, self.y - 0.15 * SIZE, width, 1.5 * SIZE, tint(value, scale, signed))
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
                self.image(resized(picture), MARGIN + index * (width + 8), self.y, *size)
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

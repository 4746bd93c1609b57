"""The images of sample_posts, drawn with NumPy: three people side by side, or a scene without people.

Each shape is a signed distance, negative inside, so that its edge has one soft pixel. The code uses only +, -, *, /,
sqrt, min and max, and RandomState, NumPy's frozen random generator: every machine and version draws the same pixels.
"""

import hashlib
import io

import numpy as np
from PIL import Image

SIZE = 128
COLUMNS = (slice(0, 43), slice(43, 85), slice(85, SIZE))
Y, X = np.mgrid[0:SIZE, 0:SIZE] + 0.5

SHIRTS = {"red": (206, 62, 58), "green": (72, 160, 84), "blue": (62, 98, 190)}
FACES = {"negative": (182, 160, 206), "neutral": (238, 222, 202), "positive": (255, 210, 96)}
SMILES = {"negative": -4.5, "neutral": 0.0, "positive": 5.0}  # How far the middle of the mouth lies below its ends.
INK = (48, 38, 44)
HAIR = ((62, 46, 40), (112, 78, 50), (36, 36, 44), (160, 118, 66), (134, 134, 138))
WALLS = ((206, 222, 226), (226, 216, 204), (214, 224, 206), (220, 212, 226), (230, 222, 190))
SKIES = (((120, 176, 220), (220, 236, 244)), ((150, 160, 196), (238, 214, 200)), ((152, 172, 184), (222, 226, 226)))
GREENS = ((112, 158, 104), (136, 166, 92), (92, 142, 112), (150, 156, 104))
BRICKS = ((176, 128, 112), (168, 160, 150), (196, 176, 144), (136, 140, 156))


def random_state(name: str) -> np.random.RandomState:
    """Return a generator seeded by the SHA-256 of a name. Python's own hash changes from run to run."""
    return np.random.RandomState(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))


def png(canvas: np.ndarray) -> bytes:
    """Return an image of shape (3, 128, 128) with values from 0 to 255 as a PNG file."""
    pixels = canvas.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()


def paint(canvas, distance, colour):
    """Paint `colour`, shape (3,), on `canvas`, shape (3, H, W), where `distance`, shape (H, W), is negative."""
    canvas += (0.5 - distance).clip(0, 1) * (np.reshape(colour, (3, 1, 1)) - canvas)


def ellipse(x, y, cx, cy, rx, ry):
    """Return the approximate distance to an ellipse. It is exact for a circle."""
    return (np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2) - 1) * min(rx, ry)


def box(x, y, cx, cy, half_width, half_height, corner=0.0):
    """Return the distance to a box whose corners have the radius `corner`."""
    dx, dy = abs(x - cx) - half_width + corner, abs(y - cy) - half_height + corner
    outside = np.sqrt(dx.clip(0) ** 2 + dy.clip(0) ** 2)
    return outside + np.minimum(np.maximum(dx, dy), 0) - corner


def draw_person(canvas, x, y, rng, shirt, mood):
    """Draw a person that fills a column of the image.

    Args:
        canvas: The column, shape (3, 128, 43) or (3, 128, 42).
        x: Horizontal coordinates of its pixels.
        y: Vertical coordinates of its pixels.
        rng: Random generator.
        shirt: One of `SHIRTS`.
        mood: One of `FACES`.
    """
    cx = x.mean() + rng.uniform(-2, 2)
    radius = rng.uniform(15.5, 18)
    cy = rng.uniform(46, 56)
    light = rng.uniform(0.94, 1.04)
    face, cloth = np.array(FACES[mood]) * light, np.array(SHIRTS[shirt]) * rng.uniform(0.9, 1.1)
    hair = HAIR[rng.randint(len(HAIR))]
    shoulders = cy + radius + rng.uniform(5, 8)

    paint(canvas, box(x, y, cx, shoulders, 5, 10), face * 0.9)  # neck
    paint(canvas, box(x, y, cx, shoulders + 42, rng.uniform(17.5, 19), 41, corner=10), cloth)
    paint(canvas, ellipse(x, y, cx, shoulders, 6.5, 4.5), face * 0.9)  # collar
    rows = slice(int(cy) - 24, int(cy) + 24)
    canvas, x, y = canvas[:, rows], x[rows], y[rows]  # The head fits into these rows; this saves time.
    paint(canvas, ellipse(x, y, cx, cy - 2.5, radius + 1.8, radius + 1.2), hair)
    paint(canvas, ellipse(x, y, cx, cy + 1.5, radius - 0.5, radius - 0.5), face)
    fringe = np.maximum(ellipse(x, y, cx, cy, radius, radius), y - cy + radius * rng.uniform(0.5, 0.65))
    paint(canvas, fringe, hair)
    for side in (-1, 1):
        paint(canvas, ellipse(x, y, cx + side * radius * 0.4, cy - radius * 0.08, 2.0, 2.5), INK)
    width, bend = radius * 0.5, SMILES[mood] * radius / 17
    across = (x - cx) / width
    slope = 2 * bend / width * across
    line = abs(y - cy - radius * 0.5 - bend * (0.5 - across**2)) / np.sqrt(1 + slope**2) - 1.3
    paint(canvas, np.maximum(line, abs(x - cx) - width), INK)


def draw_people(name: str, moods: dict[str, str]) -> bytes:
    """Draw three people and return a PNG file.

    Args:
        name: Seed of the random generator, which also decides the order of the people.
        moods: The mood of the person in each shirt.
    """
    rng = random_state(name)
    wall = np.array(WALLS[rng.randint(len(WALLS))]) * rng.uniform(0.92, 1.05)
    canvas = wall[:, None, None] * (1.04 - 0.12 * Y / SIZE)
    shirts = [list(moods)[i] for i in rng.permutation(3)]
    for column, shirt in zip(COLUMNS, shirts, strict=True):
        draw_person(canvas[:, :, column], X[:, column], Y[:, column], rng, shirt, moods[shirt])
    return png(canvas)


def draw_scene(name: str) -> bytes:
    """Draw sky, clouds, hills, and houses or trees, which have no sentiment, and return a PNG file."""
    rng = random_state(name)
    top, bottom = np.array(SKIES[rng.randint(len(SKIES))]) * rng.uniform(0.94, 1.04)
    canvas = top[:, None, None] + (bottom - top)[:, None, None] * (Y / 90).clip(0, 1)
    for _ in range(rng.randint(1, 4)):
        cx, cy = rng.uniform(10, 118), rng.uniform(12, 40)
        for dx, dy, size in ((-9, 2, 0.8), (0, 0, 1.2), (10, 2, 0.9)):
            paint(canvas, ellipse(X, Y, cx + dx, cy + dy, 10 * size, 5 * size), bottom * 0.4 + 150)
    green = np.array(GREENS[rng.randint(len(GREENS))])
    for depth in range(2):
        cx, radius, crest = rng.uniform(0, SIZE), rng.uniform(90, 160), rng.uniform(66, 80) + 10 * depth
        haze = 0.45 - 0.25 * depth
        paint(canvas, ellipse(X, Y, cx, crest + radius, radius, radius), green + haze * (bottom - green))
    ground = rng.uniform(100, 110)
    shapes = [draw_house if rng.uniform() < 0.5 else draw_tree for _ in range(rng.randint(3, 6))]
    for i, draw_shape in enumerate(shapes):
        draw_shape(canvas, SIZE * (i + 0.5) / len(shapes) + rng.uniform(-4, 4), ground + 2, rng, green)
    paint(canvas, ground - Y, green * 0.9)
    return png(canvas)


def draw_house(canvas, cx, foot, rng, green):
    """Draw a house with the centre `cx` and the lower edge `foot`."""
    wall = np.array(BRICKS[rng.randint(len(BRICKS))]) * rng.uniform(0.9, 1.1)
    half, height = rng.uniform(8, 12), rng.uniform(24, 54)
    columns = slice(max(int(cx) - 16, 0), int(cx) + 17)
    canvas, x, y = canvas[:, :, columns], X[:, columns], Y[:, columns]
    paint(canvas, box(x, y, cx, foot - height / 2, half, height / 2), wall)
    paint(canvas, box(x, y, cx, foot - height, half + 1.5, 1.5), wall * 0.7)
    for row in range(int(height // 10)):
        for side in (-0.45, 0.45):
            pane = box(x, y, cx + side * half, foot - height + 8 + 10 * row, 1.8, 2.6)
            paint(canvas, pane, (226, 230, 232))


def draw_tree(canvas, cx, foot, rng, green):
    """Draw a tree of a shade of `green` with the centre `cx` and the lower edge `foot`."""
    height, crown = rng.uniform(18, 30), rng.uniform(8, 12)
    columns = slice(max(int(cx) - 16, 0), int(cx) + 17)
    canvas, x, y = canvas[:, :, columns], X[:, columns], Y[:, columns]
    paint(canvas, box(x, y, cx, foot - height / 2, 1.6, height / 2), (110, 88, 72))
    leaves = ellipse(x, y, cx, foot - height, crown, crown * rng.uniform(1, 1.4))
    paint(canvas, leaves, green * rng.uniform(0.7, 0.85))

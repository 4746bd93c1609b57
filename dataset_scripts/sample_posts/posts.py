"""The posts of sample_posts. Each post is made from its id alone: `kind-cell-index`, for example "both-0012-4".

A cell is a group of posts that lie in the same split. There are three kinds:

- text: one image with three texts, one of each label. The image contains no information about the label.
- image: one text with three images, one of each label. The text contains no information about the label.
- both: three texts combined with three images. The text names by a shirt which of three people the writer is; the
  image shows how each of them feels. Over the three images, a shirt has each mood once, and in each image each mood
  occurs once (a Latin square). Neither the text nor the image alone contains information about the label.

Two cells share neither a text nor an image. From the text alone (or from the image alone), a model can therefore get
at most all labels of one kind and a third of the others: 5/9 of a split.
"""

from functools import lru_cache
from itertools import product

from ..common_schema import LABELS
from .drawing import SHIRTS, draw_people, draw_scene, random_state

BLOCKS = {"train": 40, "validation": 10, "test": 10}  # A block has nine posts of each kind.
CELLS_PER_BLOCK = {"text": 3, "image": 3, "both": 1}

TEMPLATES = {
    "text": (
        "the {thing} at the {place} was {word} {time}.",
        "{time} we had a {word} {thing} at the {place}.",
        "a {word} {thing} near the {place} {time}.",
        "at the {place} {time}, the {thing} was {word}.",
    ),
    "image": (
        "me and my friends at the {place} {time}.",
        "here we are at the {place} {time}.",
        "the three of us near the {place} {time}.",
        "{time} with my friends at the {place}.",
    ),
    "both": (
        "that is me in the {shirt} shirt at the {place} {time}.",
        "{time} near the {place}, I am in the {shirt} shirt.",
        "I wear the {shirt} shirt at the {place} {time}.",
        "here at the {place} {time}: the {shirt} shirt is me.",
    ),
}
WORDS = {
    "negative": ["terrible", "horrible", "boring", "dreadful", "bad", "nasty", "poor", "dull"],
    "neutral": ["normal", "plain", "standard", "common", "typical", "regular", "simple", "usual"],
    "positive": ["great", "lovely", "wonderful", "perfect", "brilliant", "charming", "superb", "fantastic"],
}
THINGS = [
    *("soup", "coffee", "lunch", "dinner", "film", "song", "book", "game"),
    *("concert", "tour", "talk", "show", "walk", "class", "meal", "party"),
]
PLACES = [
    *("airport", "bakery", "beach", "bridge", "cafe", "castle", "garden", "harbour", "hotel", "lake"),
    *("library", "market", "museum", "office", "park", "school", "square", "stadium", "station", "theatre"),
]
TIMES = ["today", "tonight", "yesterday", "this morning", "this evening", "on Monday", "on Friday", "at noon"]


def split_ids() -> dict[str, list[str]]:
    """Return the ids of each split, block after block, so that every section of a split has all kinds and labels.

    The split files were made from it once, by `write_splits(folder, split_ids())`.
    """
    ids, first = {}, 0
    for split, blocks in BLOCKS.items():
        ids[split] = [
            f"{kind}-{cell:04}-{index}"
            for block in range(first, first + blocks)
            for kind, cells in CELLS_PER_BLOCK.items()
            for cell in range(block * cells, (block + 1) * cells)
            for index in range(9 // cells)
        ]
        first += blocks
    return ids


@lru_cache
def settings(kind: str) -> list[tuple[str, str, str, str]]:
    """Return template, thing, place and time of every cell of a kind. They all differ, so that two cells share no
    text."""
    combinations = list(product(TEMPLATES[kind], THINGS if kind == "text" else [""], PLACES, TIMES))
    return [combinations[i] for i in random_state(kind).permutation(len(combinations))]


def latin_square(cell: str) -> list[dict[str, str]]:
    """Return {shirt: mood} for each image of a cell: one of the twelve Latin squares of order three."""
    rng = random_state(cell)
    step, turn, start = rng.randint(1, 3), rng.randint(1, 3), rng.randint(3)
    return [
        {shirt: LABELS[(step * s + turn * image + start) % 3] for s, shirt in enumerate(SHIRTS)} for image in range(3)
    ]


# Nine consecutive posts share at most three images.
cached_people = lru_cache(maxsize=3)(lambda name, moods: draw_people(name, dict(moods)))
cached_scene = lru_cache(maxsize=1)(draw_scene)


def make_post(post_id: str) -> dict:
    """Return the row of a post."""
    kind, number, index = post_id.split("-")
    cell, index = f"{kind}-{number}", int(index)
    template, thing, place, time = settings(kind)[int(number)]
    words = {"thing": thing, "place": place, "time": time}
    text_label = image_label = "neutral"
    if kind == "text":
        label = text_label = LABELS[index]
        words["word"] = WORDS[label][random_state(post_id).randint(len(WORDS[label]))]
        image = cached_scene(cell)
    elif kind == "image":
        label = image_label = LABELS[index]
        image = draw_people(post_id, dict.fromkeys(SHIRTS, label))
    else:
        moods = latin_square(cell)[index // 3]
        words["shirt"] = list(SHIRTS)[index % 3]
        label = moods[words["shirt"]]
        image = cached_people(f"{cell}-{index // 3}", tuple(moods.items()))
    text = template.format(**words)
    return {
        "id": post_id,
        "text": text[0].upper() + text[1:],
        "images": [image],
        "aspect": thing or place,
        "label": label,
        "text_label": text_label,
        "image_label": image_label,
        "decided_by": kind,
    }

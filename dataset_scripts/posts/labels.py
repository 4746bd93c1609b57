"""The classes of a table: cells with labels are cleaned, merged and ordered."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from mmsent.modeling.common_text import replace_lone_surrogates

from ..common_files import join_names

MAX_CLASSES = 200  # A column with more different values holds no classes.
SENTIMENTS = [
    ("very negative", "strongly negative"),
    ("negative", "neg"),
    ("neutral", "neu"),
    ("positive", "pos"),
    ("very positive", "strongly positive"),
]
RANK = {word: rank for rank, words in enumerate(SENTIMENTS) for word in words}
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


def clean_label(value: Any) -> str:
    """Return a cell with a label as text without outer blanks, "" if it is empty. The number 1.0 is "1"."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if not isinstance(value, str | int | float):
        raise ValueError(f"a label is a word or a number, and not of the type {type(value).__name__}")
    word = " ".join(replace_lone_surrogates(str(value)).split())
    if NUMBER.fullmatch(word):
        number = float(word)
        return str(int(number)) if number.is_integer() else str(number)
    return word


def label_order(names: Iterable[str]) -> list[str]:
    """Return numbers in their order, the usual words of sentiment from negative to positive, and others sorted."""
    names = sorted(names)
    if all(NUMBER.fullmatch(name) for name in names):
        return sorted(names, key=float)
    plain = {name: re.sub(r"[\s_-]+", " ", name).casefold() for name in names}
    if all(word in RANK for word in plain.values()):
        return sorted(names, key=lambda name: RANK[plain[name]])
    return names


class Labels:
    """The classes of a table, which are learned from its cells.

    Args:
        given: The names of the classes in the order of their numbers, where the user or the table gives them.
    """

    def __init__(self, given: Sequence[str] | None = None):
        self.given = None if given is None else [clean_label(name) for name in given]
        if self.given is not None and len(set(self.given)) < len(self.given):
            raise ValueError(f"label_names={', '.join(self.given)}: a name occurs twice; remove one of them")
        self.codes: dict[str, int] = {}  # class without case -> its provisional number, in the order of appearance
        self.spellings: list[Counter[str]] = []  # of each class, as the cells have them

    def code(self, value: Any) -> int:
        """Return the provisional number of the class in a cell, or -1 if the cell is empty.

        Raises:
            ValueError: If it is none of the given names, or not clearly one of them.
        """
        key = self._key(value)
        if not key:
            return -1
        code = self.codes.setdefault(key, len(self.codes))
        if code == len(self.spellings):
            self.spellings.append(Counter())
        self.spellings[code][value if isinstance(value, str) else clean_label(value)] += 1
        return code

    def _key(self, value: Any) -> str:
        """Return what all spellings of a class have in common."""
        word = clean_label(value)
        if self.given is None or not word:
            return word.casefold()
        if word in self.given:
            return word
        similar = [name for name in self.given if name.casefold() == word.casefold()]
        if len(similar) != 1:
            problem = f"could be {' or '.join(similar)}" if similar else f"is not one of {', '.join(self.given)}"
            raise ValueError(f"the label {word!r} {problem}; correct it, or change label_names")
        return similar[0]

    def names(self) -> list[str]:
        """Return the names of the classes in the order of their numbers."""
        return label_order(self.name_of_key.values()) if self.given is None else self.given

    @cached_property
    def name_of_key(self) -> dict[str, str]:
        """The name of each class, in the order of the provisional numbers: the most frequent spelling."""
        if self.given is not None:
            return {key: key for key in self.codes}
        names = {}
        for key, spellings in zip(self.codes, self.spellings, strict=True):
            counts = Counter()
            for spelling, count in spellings.items():
                counts[clean_label(spelling)] += count
            names[key] = min(counts, key=lambda name: (-counts[name], name))
        return names

    def name(self, value: Any) -> str | None:
        """Return the name of the class in a cell, or None if the cell is empty. All cells must have been read."""
        key = self._key(value)
        return self.name_of_key[key] if key else None

    def notes(self) -> list[str]:
        """Return which spellings were merged, and the order of the classes."""
        notes = []
        for name, spellings in zip(self.name_of_key.values(), self.spellings, strict=True):
            others = {spelling: count for spelling, count in spellings.items() if spelling != name}
            if others:
                words = join_names([repr(spelling) for spelling in sorted(others)])
                notes.append(f"{sum(others.values())} labels that are written {words} count as {name!r}")
        order = ", ".join(f"{number} {name}" for number, name in enumerate(self.names()))
        return [*notes, f"the classes, in the order of their numbers: {order}"]

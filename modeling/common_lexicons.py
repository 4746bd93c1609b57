"""The strength of the positive and of the negative words of a text, by a lexicon."""

import importlib
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import regex

VADER = "vader"  # the package vaderSentiment, which has a lexicon
STRONGEST = 5.0  # as in SentiStrength, where 1 and -1 mean that there is no such word
# A word with apostrophes or hyphens inside, or signs such as those of an emoticon.
_WORD = regex.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]+")


def read_lexicon(path: str | Path) -> dict[str, float]:
    """Read a lexicon with one word and its strength (-5 to 5) per line, separated by a tab; further columns are not
    read. A word that ends with `*` stands for all words that begin so.

    Raises:
        ValueError: If there is no such file, or a line is wrong. The message names it.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"lexicon={path}: give '{VADER}' or a text file with a word, a tab and its strength per line."
        )
    lexicon: dict[str, float] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8: {error}. Save it as UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, *numbers = (cell.strip() for cell in line.split("\t"))
        try:
            strength = float(numbers[0]) if numbers else math.nan
        except ValueError:
            strength = math.nan
        word = word.casefold()
        if not word.removesuffix("*") or not abs(strength) <= STRONGEST:
            raise ValueError(f"{path}, line {number}: {line!r:.80} is not a word, a tab and a strength from -5 to 5.")
        if word in lexicon:
            raise ValueError(f"{path}, line {number}: an earlier line has the word {word} too; remove one of them.")
        lexicon[word] = strength
    if not lexicon:
        raise ValueError(f"{path} has no words: give a file with a word, a tab and its strength per line.")
    return lexicon


def strengths(text: str, lexicon: str | Mapping[str, float]) -> tuple[float, float]:
    """Return the positive strength (1 to 5) and the negative strength (-1 to -5) of a text.

    As in SentiStrength, these are the strengths of its strongest positive and of its strongest negative word.

    VADER gives each word of the text a number from -4 to 4, by its lexicon and by rules about negations, amplifiers,
    capitals and exclamation marks; here it is taken one step further from zero. With a lexicon, no rules are applied.

    Args:
        lexicon: "vader", or the strengths of words.

    Raises:
        ImportError: If the lexicon is "vader", and its package is not installed.
    """
    if lexicon == VADER:
        found = [value + math.copysign(1, value) for value in _vader().polarity_scores(text) if value]
    else:
        found = [_strength(word, lexicon) for word in _WORD.findall(text.casefold())]
    return min(max([1.0, *found]), STRONGEST), max(min([-1.0, *found]), -STRONGEST)


def _strength(word: str, lexicon: Mapping[str, float]) -> float:
    """Return the strength of a word, or of the longest beginning of it that the lexicon has with `*`; 0 if none."""
    beginnings = (f"{word[:length]}*" for length in range(len(word), 0, -1))
    return next((lexicon[key] for key in (word, *beginnings) if key in lexicon), 0.0)


@cache
def _vader():
    """Return VADER's analyser, whose `polarity_scores` returns the numbers of the words."""
    # This is not an import statement, because transformers refuses to load remote code that imports missing packages.
    try:
        module = importlib.import_module("vaderSentiment.vaderSentiment")
    except ImportError as error:
        raise ImportError(
            f"The lexicon '{VADER}' needs the package vaderSentiment: pip install \"mmsent[lexicon]\", or give a "
            "lexicon file."
        ) from error

    class Analyzer(module.SentimentIntensityAnalyzer):
        def score_valence(self, sentiments, text):
            return sentiments

    return Analyzer()

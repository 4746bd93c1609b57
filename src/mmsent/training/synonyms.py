"""Replace words of training texts by synonyms."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import torch
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from mmsent.dataset_scripts.common_files import read_lines

WORDNET = "wordnet"
SHARE = 0.1  # of the words that have synonyms, as in EDA (Wei and Zou, EMNLP 2019)
# A word between spaces, with its punctuation. Links, mentions, hashtags and $T$ are none.
WORD = re.compile(r"(?<!\S)([\"'(]*)([^\W\d_]+)([.,!?;:\"')]*)(?!\S)")


@cache
def load_synonyms(source: str) -> dict[str, list[str]]:
    """Return the synonyms of each word, from WordNet or from a file with one group of synonyms per line.

    Args:
        source: `"wordnet"`, or a text file whose lines are words separated by commas: `good, fine, great`.

    Raises:
        ImportError: If NLTK is not installed, through which WordNet is read.
        OSError: If the file cannot be read.
        ValueError: If NLTK does not find WordNet, or the file has no group of synonyms.
    """
    if source == WORDNET:
        synonyms = _by_word(_wordnet())
        return {word: others for word, others in synonyms.items() if word not in ENGLISH_STOP_WORDS}
    lines = read_lines(Path(source))
    synonyms = _by_word([word.strip() for word in line.split(",") if word.strip()] for _, line in lines)
    if not synonyms:
        raise ValueError("the file has no line with two words or more, separated by commas")
    return synonyms


def _wordnet() -> Iterator[list[str]]:
    try:
        from nltk.corpus import wordnet
    except ImportError as error:
        raise ImportError('NLTK reads WordNet: pip install -e ".[synonyms]"') from error
    try:
        wordnet.ensure_loaded()
    except LookupError as error:  # its message has 20 lines
        raise ValueError(
            "NLTK does not find WordNet: run `python -m nltk.downloader wordnet`, or give a file of synonyms"
        ) from error
    for synset in wordnet.all_synsets():
        yield [name.replace("_", " ") for name in synset.lemma_names()]


def _by_word(groups: Iterable[list[str]]) -> dict[str, list[str]]:
    """Return the other members of its groups for each single word, in their order."""
    synonyms: dict[str, dict[str, None]] = {}
    for group in groups:
        for word in group:
            others = [other for other in group if other.lower() != word.lower()]
            if others and " " not in word:
                synonyms.setdefault(word.lower(), {}).update(dict.fromkeys(others))
    return {word: list(others) for word, others in synonyms.items()}


def replace_words(text: str, synonyms: dict[str, list[str]]) -> str:
    """Replace a tenth of the words that have synonyms, drawn with PyTorch's generator. Capitals stay capitals."""

    def draw(match: re.Match) -> str:
        before, word, after = match.groups()
        others = synonyms.get(word.lower())
        if others is None or torch.rand(()) >= SHARE:
            return match[0]
        other = others[int(torch.randint(len(others), ()))]
        return before + (other[0].upper() + other[1:] if word[0].isupper() else other) + after

    return WORD.sub(draw, text)

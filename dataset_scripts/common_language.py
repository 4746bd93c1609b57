"""The language and the spelling of texts."""

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import py3langid

SHORTEST = 20  # characters of a text whose language can be told
_NAMES = re.compile(r"https?://\S+|[@#]\w+")  # links, mentions and hashtags are words of no language
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def language(text: str) -> str | None:
    """Return the code of the language of a text, such as "en", or None if the text is too short to tell."""
    words = _NAMES.sub(" ", text)
    return py3langid.classify(words)[0] if len(words.strip()) >= SHORTEST else None


def spelled_share(text: str) -> float:
    """Return the share of the words of a text that an English dictionary has; 1.0 if the text has no words.

    Links, mentions, hashtags and numbers do not count. The dictionary does not have most names.
    """
    dictionary = _dictionary()
    words = [word.replace("’", "'") for word in _WORD.findall(_NAMES.sub(" ", text))]
    return sum(word in dictionary for word in words) / len(words) if words else 1.0


def dictionary_version() -> str:
    """Return the version of the package that holds the dictionary.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return version("pyspellchecker")
    except PackageNotFoundError as error:
        raise ImportError('the spelling needs the package pyspellchecker: pip install "mmsent[spelling]"') from error


@cache
def _dictionary():
    from spellchecker import SpellChecker  # an extra

    return SpellChecker(language="en")

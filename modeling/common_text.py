"""What is done to a text before the tokenizer sees it: named steps, applied in the order in which they are given.

A step takes a text and returns one. To use your own: `TEXT_STEPS["mine"] = function`, before the processor is built
and before it is loaded. The order matters: `strip_links` goes before the steps that would cut a link into pieces, and
segmentation comes last.
"""

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType

import regex

# http://…, https://…, www.… and the picture links that Twitter glues to the word before them. A link ends where its
# alphabet does, at a Chinese sign, an emoji or a closing quote; the "…" of one that was cut off is part of it.
_LINK = regex.compile(
    r"(?:https?://|(?<![0-9A-Za-z_@])www\.(?=\w)|pic\.twitter\.com/)[!-~\u00a1-\u1fff]*…?", regex.IGNORECASE
)
# One word, as the word tokenizer cuts it: "@user's" and "#love-it" go as a whole, and so do "@a@b" and "#a#b". The
# sign may follow a Chinese character, but not a Latin letter, as in an e-mail address or "C#". A tag has a letter:
# "#1" is a rank and "&#39;" an escaped sign. `\w` has the vowel signs of Hindi and Thai here, unlike that of `re`.
_NAME = r"\w+(?:['’\-]\w+)*"
_MENTIONS = regex.compile(rf"(?<![0-9A-Za-z_])(?:[@＠](?=[\p{{L}}\p{{N}}_]){_NAME})+")
_HASHTAGS = regex.compile(rf"(?<![0-9A-Za-z_&])(?:[#＃](?=[\p{{N}}_]*\p{{L}}){_NAME})+")


def _fix_encoding(text: str) -> str:
    return _package("ftfy", "fix_encoding").fix_text(text)


def _strip_links(text: str) -> str:
    return _LINK.sub(" ", text)


def _strip_mentions(text: str) -> str:
    return _MENTIONS.sub(" ", text)


def _strip_hashtags(text: str) -> str:
    return _HASHTAGS.sub(" ", text)


def _emoji_to_words(text: str) -> str:
    # Not emoji.demojize, whose ":grinning_face:" could not be told from a ":name_of_ours:" in the text.
    return _package("emoji", "emoji_to_words").replace_emoji(
        text, lambda _, data: f" {data['en'].strip(':').replace('_', ' ')} "
    )


def _characters(text: str) -> str:
    return regex.sub(r"([\u3400-\u9fff\uf900-\ufaff])", r" \1 ", text)


def _jieba(text: str) -> str:
    return " ".join(_package("jieba", "jieba").cut(text))


def _rjieba(text: str) -> str:
    return " ".join(_package("rjieba", "rjieba").cut(text))


def _package(name: str, step: str) -> ModuleType:
    # Not an import statement: transformers refuses to load remote code that has one for a package that is missing.
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"The text step {step!r} needs the package {name}: pip install {name}. "
            'Those of all steps but jieba come with pip install "mmsent[text]".'
        ) from error


TEXT_STEPS: dict[str, Callable[[str], str]] = {
    "fix_encoding": _fix_encoding,  # by ftfy: "cafÃ©" is "café"; HTML escapes and curled quotes become plain ones too
    "strip_links": _strip_links,  # the three strip steps together are MultiSentiNet's cleaning
    "strip_mentions": _strip_mentions,
    "strip_hashtags": _strip_hashtags,
    "emoji_to_words": _emoji_to_words,  # by emoji: "😀" is "grinning face"
    "characters": _characters,  # blanks around every Chinese character
    "jieba": _jieba,  # blanks between Chinese words
    "rjieba": _rjieba,  # the same, faster
}


def check_text_steps(steps: Sequence[str]) -> None:
    """Check the names of steps.

    Raises:
        ValueError: a step that is not in `TEXT_STEPS`, or a single name in place of a list.
    """
    if isinstance(steps, str):
        raise ValueError(f"text_steps={steps!r}: give a list of names, as in [{steps}].")
    for step in steps:
        if step not in TEXT_STEPS:
            raise ValueError(f"Text step {step!r} is unknown: choose from {', '.join(TEXT_STEPS)}, or add yours.")


def replace_lone_surrogates(text: str) -> str:
    """Replace each half of a surrogate pair, which no encoding can write, by the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def prepare_text(text: str | None, steps: Sequence[str] = ()) -> str:
    """Apply steps to a text, in their order; None is the empty text.

    Half a surrogate pair, as broken JSON has it, cannot be encoded and becomes the replacement sign. White space is
    squeezed where there are steps; without any it is left alone.

    Raises:
        ValueError: a step that is not in `TEXT_STEPS`.
        ImportError: a step whose package is not installed.
    """
    check_text_steps(steps)
    text = replace_lone_surrogates(text or "")
    for step in steps:
        text = TEXT_STEPS[step](text)
    return " ".join(text.split()) if steps else text

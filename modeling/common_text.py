"""Named steps that prepare a text for the tokenizer. This file imports no torch and no other file of the project.

A step takes a text and returns a text. To add your own step, set `TEXT_STEPS["mine"] = function` before the processor
is built or loaded. The order matters: `strip_links` comes before the steps that would cut a link into pieces, and
segmentation comes last.
"""

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType

import regex

# http://…, https://…, www.… and the image links that Twitter appends to the word before them. A link ends at the first
# character that links do not contain, such as a Chinese character, an emoji or a closing quotation mark. It includes
# the "…" of a link that was cut off.
_LINK = regex.compile(
    r"(?:https?://|(?<![0-9A-Za-z_@])www\.(?=\w)|pic\.twitter\.com/)[!-~\u00a1-\u1fff]*…?", regex.IGNORECASE
)
# A name is one word of the word tokenizer, so "@user's" and "#love-it" are removed whole, as are "@a@b" and "#a#b".
# The sign may follow a Chinese character but not a Latin letter, as in an e-mail address or "C#". A hashtag contains
# a letter: "#1" is a rank and "&#39;" an escaped character. Unlike in `re`, `\w` has the vowel signs of Hindi.
_NAME = r"\w+(?:['’\-]\w+)*"
_MENTIONS = regex.compile(rf"(?<![0-9A-Za-z_])(?:[@＠](?=[\p{{L}}\p{{N}}_]){_NAME})+")
_HASHTAGS = regex.compile(rf"(?<![0-9A-Za-z_&])(?:[#＃](?=[\p{{N}}_]*\p{{L}}){_NAME})+")
_ANCHOR = regex.compile(r"<(?:a\s[^<>]*|/a\s*)>", regex.IGNORECASE)  # the tags around a link in HTML
_ANCHOR_WORDS = regex.compile(r"\b(?:href|rel)(?=\s*=)", regex.IGNORECASE)
# Closing quotation marks and brackets belong to the sentence that they close.
_SENTENCE_END = regex.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[”’」』）]*\s*|\s*\n\s*")
_CHINESE = regex.compile(r"([\u3400-\u9fff\uf900-\ufaff])")


def _links_to_words(text: str) -> str:
    text = _ANCHOR.sub(lambda tag: f" {' '.join(_ANCHOR_WORDS.findall(_LINK.sub(' ', tag[0]))).lower()} ", text)
    return _LINK.sub(" href ", text)


def _emoji_to_words(text: str) -> str:
    # emoji.demojize would write ":grinning_face:", which a text may contain literally.
    return _package("emoji", "emoji_to_words").replace_emoji(
        text, lambda _, data: f" {data['en'].strip(':').replace('_', ' ')} "
    )


def _package(name: str, step: str) -> ModuleType:
    # This is not an import statement, because transformers refuses to load remote code that imports missing packages.
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"The text step {step!r} needs the package {name}: pip install {name}. "
            'The packages of all steps except jieba come with pip install "mmsent[text]".'
        ) from error


TEXT_STEPS: dict[str, Callable[[str], str]] = {
    # ftfy: "cafÃ©" becomes "café"; HTML escapes and curly quotation marks become plain characters
    "fix_encoding": lambda text: _package("ftfy", "fix_encoding").fix_text(text),
    "strip_links": lambda text: _LINK.sub(" ", text),  # the three strip steps are the cleaning of MultiSentiNet
    # '<a href="http://…" rel="nofollow">here</a>' becomes "href rel here", and a bare link "href". The MVSO study has
    # the words href and rel in place of links; that they are the attributes of Flickr's HTML is our reading.
    "links_to_words": _links_to_words,
    "strip_mentions": lambda text: _MENTIONS.sub(" ", text),
    "strip_hashtags": lambda text: _HASHTAGS.sub(" ", text),
    "emoji_to_words": _emoji_to_words,  # emoji: "😀" becomes "grinning face"
    "characters": lambda text: _CHINESE.sub(r" \1 ", text),  # blanks around every Chinese character
    "jieba": lambda text: " ".join(_package("jieba", "jieba").cut(text)),  # blanks between Chinese words
    "rjieba": lambda text: " ".join(_package("rjieba", "rjieba").cut(text)),  # the same, but faster
}


def check_text_steps(steps: Sequence[str], argument: str = "text_steps") -> None:
    """Check the names of steps.

    Raises:
        ValueError: If a step is not in `TEXT_STEPS`, or if `steps` is a single name instead of a list.
    """
    if not isinstance(steps, list | tuple):
        raise ValueError(f"{argument}={steps!r}: pass a list of names, as in [strip_links].")
    for step in steps:
        if not isinstance(step, str) or step not in TEXT_STEPS:
            raise ValueError(f"Text step {step!r} is unknown: choose from {', '.join(TEXT_STEPS)}, or add your own.")


def replace_lone_surrogates(text: str) -> str:
    """Replace each half of a surrogate pair, which no encoding can write, by the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def prepare_text(text: str | None, steps: Sequence[str] = ()) -> str:
    """Apply steps to a text, in their order.

    None becomes the empty text, and lone surrogates are replaced. White space is collapsed if there are any steps.

    Raises:
        ValueError: If a step is not in `TEXT_STEPS`.
        ImportError: If the package of a step is not installed.
    """
    check_text_steps(steps)
    text = replace_lone_surrogates(text or "")
    for step in steps:
        text = TEXT_STEPS[step](text)
    return " ".join(text.split()) if steps else text


def sentence_starts(text: str) -> list[int]:
    """Return the positions in a text at which its sentences begin, except for the first.

    A sentence ends after `.`, `!`, `?` or `…` where a blank follows, after `。`, `！` or `？`, and at the end of a
    line. The rule does not know abbreviations: "Dr. Who" is cut.
    """
    end = len(text.rstrip())
    return [match.end() for match in _SENTENCE_END.finditer(text) if match.start() and match.end() < end]

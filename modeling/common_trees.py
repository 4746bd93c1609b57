"""Binary trees over the tokens of texts: from bracketed parses or balanced, and laid out level by level.

A tree of n tokens is a list of n - 1 pairs of children, in which children come before their parents and the root is
last. A child that is 0 or more is a token, and the child `~k`, which is negative, is pair k.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import torch

# How the Penn Treebank writes words that could be taken for brackets, and quotation marks.
_ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}", "``": '"', "''": '"'}
Tree = Sequence[tuple[int, int]]


@lru_cache(maxsize=1024)
def balanced_tree(count: int) -> Tree:
    """Return the tree of `count` tokens that joins neighbours, then neighbouring pairs, and so on."""
    pairs: list[tuple[int, int]] = []
    _join_balanced(range(count), pairs)
    return tuple(pairs)


def parsed_tree(parse: str, text: str, offsets: Sequence[tuple[int, int]]) -> Tree:
    """Return the tree of the tokens of a text that a bracketed parse describes.

    The parse has the form of the Penn Treebank: `(S (NP (DT the) (NN day)) (VP (VBD was) (ADJP (JJ good))))`. Labels
    are not used. A bracket with one part is that part, and of more than two parts the last two are joined first.
    Several parses in a row, as of several sentences, are joined likewise.

    A token belongs to the last word that begins no later than the token. A token without characters, such as [CLS],
    belongs to the word of the token before it, or at the beginning to the first word. The tokens of a word are joined
    by a balanced tree. A word without tokens, because the text was cut before it, is left out.

    Args:
        text: The text, as the tokenizer reads it.
        offsets: The first character of each token, and the one after its last.

    Raises:
        ValueError: If the brackets are wrong, or if the words are not those of the text.
    """
    parts = _without_labels(parse)
    starts = _word_starts([part for part in parts if part not in "()"], text)
    tokens: list[list[int]] = [[] for _ in starts]
    word = 0
    for token, (start, end) in enumerate(offsets):
        if end > start:
            word = max(int(np.searchsorted(starts, start, side="right")) - 1, 0)
        tokens[word].append(token)
    pairs: list[tuple[int, int]] = []
    open_brackets: list[list[int]] = [[]]
    words = iter(tokens)
    for part in parts:
        if part == "(":
            open_brackets.append([])
        elif part == ")":
            children = open_brackets.pop()
            open_brackets[-1] += _join_right(children, pairs)
        else:
            open_brackets[-1] += _join_balanced(next(words), pairs)
    _join_right(open_brackets[0], pairs)
    return pairs


def _without_labels(parse: str) -> list[str]:
    """Return the brackets and the words of a parse."""
    parts: list[str] = []
    depth, has_label = 0, True
    for piece in re.findall(r"[()]|[^\s()]+", parse):
        if piece == ")" and parts[-1:] in (["("], []):
            raise ValueError("a bracket has no word" if parts else "it begins with a closing bracket")
        if piece not in "()":
            if depth == 0:
                raise ValueError(f"{piece!r} stands outside of the brackets")
            if not has_label:
                has_label = True
                continue
        depth += {"(": 1, ")": -1}.get(piece, 0)
        has_label = piece != "("
        if depth < 0:
            raise ValueError("it closes a bracket that was not opened")
        parts.append(piece)
    if depth:
        raise ValueError(f"it does not close {depth} of its brackets")
    return parts


def _word_starts(words: Iterable[str], text: str) -> list[int]:
    """Return the first character of each word in a text."""
    starts, end = [], 0
    for number, word in enumerate(words, start=1):
        rest = text[end:].lstrip()
        start = len(text) - len(rest)
        written = next((form for form in (word, _ESCAPED.get(word)) if form and rest.startswith(form)), None)
        if written is None:
            raise ValueError(f"its word {number} is {word!r}, but the text goes on with {rest[:20]!r}")
        starts.append(start)
        end = start + len(written)
    if text[end:].strip():
        raise ValueError(f"it ends before {text[end:].strip()[:20]!r}")
    return starts


def _join_balanced(children: Sequence[int], pairs: list[tuple[int, int]]) -> list[int]:
    """Join neighbours until one child is left, and return it in a list; the list is empty if there are no children."""
    children = list(children)
    while len(children) > 1:
        joined = []
        for left, right in zip(children[::2], children[1::2], strict=False):
            pairs.append((left, right))
            joined.append(~(len(pairs) - 1))
        children = joined + children[2 * len(joined) :]
    return children


def _join_right(children: list[int], pairs: list[tuple[int, int]]) -> list[int]:
    """Join the last two children until one is left, likewise."""
    children = list(children)
    while len(children) > 1:
        right, left = children.pop(), children.pop()
        pairs.append((left, right))
        children.append(~(len(pairs) - 1))
    return children


def lay_out(trees: Sequence[Tree]) -> torch.Tensor:
    """Return the pairs of B trees as (B, S, 3) int64: left child, right child and level.

    The level of a pair is one more than the highest of its children's, where tokens have the level 0. A slot s has the
    same level in all trees, and slots are in the order of their levels. A child `~s` is the pair in slot s. Unused
    slots are zero.
    """
    levels = [_levels(tree) for tree in trees]
    counts = [Counter(of_tree) for of_tree in levels]
    widths = [max(count[level] for count in counts) for level in range(1, 1 + max(map(len, counts)))]
    starts = list(accumulate(widths, initial=0))
    nodes = np.zeros((len(trees), max(1, starts[-1]), 3), np.int64)
    for row, tree, of_tree in zip(nodes, trees, levels, strict=True):
        free, slots = starts.copy(), []
        for children, level in zip(tree, of_tree, strict=True):
            slots.append(free[level - 1])
            free[level - 1] += 1
            row[slots[-1]] = [*(child if child >= 0 else ~slots[~child] for child in children), level]
    return torch.from_numpy(nodes)


def _levels(tree: Tree) -> list[int]:
    """Return the level of each pair of a tree."""
    levels: list[int] = []
    for children in tree:
        levels.append(1 + max(0 if child >= 0 else levels[~child] for child in children))
    return levels

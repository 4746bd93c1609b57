"""Where the aspect stands in a text, for models that weight words by their distance to it."""

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F

from .common_processing import MultimodalProcessor
from .common_text import prepare_text

MARK = "$T$"  # In a text, it stands for the aspect: the tweets of Twitter-2015 and Twitter-2017 have it.


class PositionProcessor(MultimodalProcessor):
    """A processor that also makes `positions` (B, L): how many tokens a token stands after the nearest `$T$`.

    The number is negative before it, and zero within it. It is zero everywhere if the text has no `$T$`.
    """

    further_inputs = ("positions",)

    def encode_further(self, posts: Sequence[Mapping[str, str | None]]) -> dict[str, torch.Tensor]:
        texts = [prepare_text(post["text"], self.text_steps or []) for post in posts]
        options = {"truncation": True, "max_length": self.max_length, "return_offsets_mapping": True}
        rows = [_distances(text, self.tokenizer(text, **options)["offset_mapping"]) for text in texts]
        longest = max(1, *map(len, rows))
        return {"positions": torch.tensor([row + [0] * (longest - len(row)) for row in rows])}


def _distances(text: str, offsets: list[tuple[int, int]]) -> list[int]:
    """Return the signed distance of each token, which spans these characters of the text, to the nearest mark."""
    marks = [match.span() for match in re.finditer(re.escape(MARK), text)]
    tokens = range(len(offsets))
    inside = [
        token for token in tokens if any(offsets[token][0] < end and offsets[token][1] > start for start, end in marks)
    ]
    if not inside:  # or the mark was cut off
        return [0] * len(offsets)
    return [min((token - place for place in inside), key=abs) for token in tokens]


def fit_positions(positions: torch.Tensor | None, mask: torch.Tensor) -> torch.Tensor:
    """Return the positions (B, L) of the tokens with this mask (B, L) bool, zero where they are not given.

    The tokens may be cut or padded differently, as features in a cache are.
    """
    if positions is None:
        return torch.zeros_like(mask, dtype=torch.long)
    return F.pad(positions, (0, mask.shape[1] - positions.shape[1])) * mask  # a negative padding cuts

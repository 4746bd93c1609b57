"""Where the aspect stands in a text: for words, subwords, cut texts, cached features and texts without its mark."""

import pytest
import tiny
import torch

from mmsent.modeling.common_positions import fit_positions

TEXTS = ["good $T$ was bad not", "the day was $T$ so good $T$", "plain", None, "$T$"]
WORDS = [[-1, 0, 1, 2, 3], [-3, -2, -1, 0, 1, -1, 0], [0], [], [0]]


def positions(processor, texts: list[str | None], **options) -> list[list[int]]:
    batch = processor(text=texts, **options)
    assert batch["positions"].shape == batch["input_ids"].shape
    return [row[mask.bool()].tolist() for row, mask in zip(batch["positions"], batch["attention_mask"], strict=True)]


def test_words(backbones):
    processor, _ = tiny.build("memnet", "own", backbones)
    marks = len(processor.tokenizer.tokenize("$T$"))  # the mark may be several tokens
    assert positions(processor, ["plain day"]) == [[0, 0]]
    for text, found, words in zip(TEXTS, positions(processor, TEXTS), WORDS, strict=True):
        outside = [place for place in found if place]
        assert outside == [place for place in words if place], text
        assert found.count(0) == ((text or "").count("$T$") * marks or len(words)), text


def test_subwords_and_special_tokens(backbones):
    processor, _ = tiny.build("ram", "transformers", backbones)
    marks = len(processor.tokenizer.tokenize("$T$"))
    assert positions(processor, ["good $T$ day"]) == [[-2, -1, *[0] * marks, 1, 2]]  # with [CLS] and [SEP]
    processor.max_length = 3  # the mark is cut off
    assert positions(processor, ["good day $T$"]) == [[0, 0, 0]]


@pytest.mark.parametrize("length", [2, 5])
def test_tokens_that_are_cut_or_padded_differently(length):
    mask = torch.ones(1, length, dtype=torch.bool)
    fitted = fit_positions(torch.tensor([[-1, 0, 1]]), mask)
    assert fitted.tolist() == [[-1, 0, 1, 0, 0][:length]]
    assert fit_positions(None, mask).tolist() == [[0] * length]


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["memnet", "ram"])
def test_the_place_of_the_aspect_changes_the_scores_and_the_batch_does_not(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones)
    texts = ["$T$ good day bad", "good day bad $T$", "good $T$", "good day", None]
    batch = processor(text=texts, aspect=["coffee"] * 5)
    together = model(**batch).logits
    for post, text in enumerate(texts):
        alone = model(**processor(text=text, aspect="coffee")).logits[0]
        torch.testing.assert_close(alone, together[post], rtol=0, atol=1e-5)
    without = model(**{name: value for name, value in batch.items() if name != "positions"}).logits
    changed = (without - together).abs().amax(1) > 1e-4
    assert changed.tolist() == [True, True, True, False, False]

"""Word vectors, the text encoder of the years before transformers: tokenizer, embedding table, files of vectors."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from huggingface_hub.dataclasses import strict
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .common_text import check_text_steps, prepare_text

# A link, a #tag or @mention, a word with apostrophes or hyphens inside, or a single sign such as an emoji.
_WORD = r"https?://\S+|[#@]?\w+(?:['’\-]\w+)*|[^\w\s]"


@strict
class WordVectorsConfig(PreTrainedConfig):
    """Config of an embedding table with one vector per word.

    Args:
        vocab_size: The number of words of the tokenizer, including the padding word and the unknown word.
        hidden_size: The length of a vector.
        pad_token_id: The row that stays zero.
    """

    model_type = "word_vectors"

    vocab_size: int = 2
    hidden_size: int = 100
    pad_token_id: int | None = 0


class WordVectors(nn.Embedding):
    """The embedding table. It is a class of its own so that weight initialisation can recognise it."""

    def __init__(self, config: WordVectorsConfig):
        super().__init__(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)


def build_word_tokenizer(
    texts: Iterable[str], vocab_size: int = 10_000, text_steps: Sequence[str] | None = None, pre_cut: bool = False
) -> PreTrainedTokenizerFast:
    """Build a fast tokenizer that knows the most frequent words, in lower case unless they are pre-cut.

    Index 0 is the padding word and index 1 the unknown word.

    Args:
        texts: The texts of the training split.
        vocab_size: The number of words to keep, including the two special ones. MultiSentiNet keeps 10,000.
        text_steps: Keys of `TEXT_STEPS`: the steps that the processor will apply.
        pre_cut: Whether the texts are cut into words already, as those of Multi-ZOL. Then a word is what stands
            between blanks, with its case and its characters as they are, so that files of vectors have it.

    Raises:
        ValueError: If a step is not in `TEXT_STEPS`.
        ImportError: If the package of a step is not installed.
    """
    steps = text_steps or []
    check_text_steps(steps)
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    if pre_cut:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    tokenizer.train_from_iterator((prepare_text(text, steps) for text in texts), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


def read_word_vectors(
    path: str | Path, tokenizer: PreTrainedTokenizerBase, hidden_size: int
) -> tuple[torch.Tensor, int]:
    """Read the vectors of the tokenizer's words from a GloVe or word2vec text file.

    Words that are not in the file get random vectors, whose standard deviation is that of the vectors in the file.

    Args:
        path: A text file with one word and its numbers per line, separated by single blanks. A header is skipped.
        tokenizer: The tokenizer whose words are looked up, in exactly its spelling.
        hidden_size: The length that the vectors of the file must have.

    Returns:
        The table (vocab_size, hidden_size) and the number of words that the file has.

    Raises:
        ValueError: If the path is not a regular file, a line is wrong, or the file has none of the words.
    """
    if Path(path).exists() and not Path(path).is_file():  # a pipe or a device may never end
        raise ValueError(f"{path} is not a regular file.")
    vocabulary, vectors = tokenizer.get_vocab(), {}  # word -> row, row -> vector
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            fields = line.strip().split(b" ")
            is_header = number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields)
            # Some words of GloVe contain blanks ("at name@domain.com"), so the numbers are counted from the right.
            word, values = fields[:-hidden_size], fields[-hidden_size:]
            has_width = int(fields[1]) == hidden_size if is_header else word and not _has_number_at_its_end(word)
            if not has_width:
                width = int(fields[1]) if is_header else len(fields) - 1
                raise ValueError(
                    f"{path}, line {number}: {width} numbers per word, but the model expects {hidden_size}. Set "
                    "text_hidden_size to the width of the file, or correct the line."
                )
            index = None if is_header else vocabulary.get(b" ".join(word).decode("utf-8", "replace"))
            if index is None or index in vectors:
                continue
            try:
                vectors[index] = _vector(values)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}. Correct or delete the line.") from error
    if not vectors:
        raise ValueError(f"{path} has none of the tokenizer's {len(vocabulary)} words.")
    table = torch.randn(len(tokenizer), hidden_size) * torch.stack(list(vectors.values())).std().item()
    for index, vector in vectors.items():
        table[index] = vector
    table[tokenizer.pad_token_id] = 0
    return table, len(vectors)


def _vector(values: list[bytes]) -> torch.Tensor:
    vector = torch.tensor([float(value) for value in values])
    if not vector.isfinite().all():
        raise ValueError("a value is NaN or infinity")
    return vector


def _has_number_at_its_end(word: list[bytes]) -> bool:
    """Tell whether a word of several parts ends in a number, which then belongs to a longer vector."""
    try:
        float(word[-1])
    except ValueError:
        return False
    return len(word) > 1

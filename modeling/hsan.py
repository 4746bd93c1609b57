"""HSAN: a hierarchy of words and sentences, in which the caption of the image is one more sentence.

Xu: *Analyzing Multimodal Public Sentiment Based on Hierarchical Semantic Attentional Network*. ISI 2017.

No code was published. The equations are those of Yang et al., Hierarchical Attention Networks for Document
Classification (NAACL 2016), which the paper takes up. These are readings of this project: the recurrent layers are
BiLSTMs, their sizes, the dropout, the rule that cuts sentences, and that the caption comes after the sentences of the
text.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import ContextAttention, MaskedLSTM
from .common_processing import MultimodalProcessor
from .common_text import prepare_text, sentence_starts

MAX_SENTENCES = 10  # The words after so many sentences belong to the last of them.


@strict
class HSANConfig(MultimodalConfig):
    """Config of HSAN: the fields of `MultimodalConfig` and these.

    Args:
        hidden_size: The size of the states of words and of sentences, in each direction.
        dropout: The share of the post's vector that is dropped before the classifier.
    """

    model_type = "hsan"

    hidden_size: int = 100
    dropout: float = 0.2

    @property
    def fused_size(self) -> int:
        """The length of the vector of a post."""
        return 2 * self.hidden_size


class HSANProcessor(MultimodalProcessor):
    """The processor of HSAN, which cuts texts into sentences: by default 50 tokens of text and 50 of caption."""

    columns = text_columns = ("caption",)
    further_inputs = ("sentence_positions", "caption_input_ids", "caption_attention_mask")

    def encode_further(self, posts: Sequence[Mapping[str, str | None]]) -> dict[str, torch.Tensor]:
        """Return sentence_positions (B, S, T), and the token ids and mask (B, C) of captions if a post has one.

        sentence_positions holds the positions in the text (0 to L - 1) of the tokens of each sentence, followed by -1.
        """
        texts = [prepare_text(post["text"], self.text_steps or []) for post in posts]
        encodings = self.tokenizer(texts, truncation=True, max_length=self.max_length).encodings
        cut = [_cut(text, encoding.offsets) for text, encoding in zip(texts, encodings, strict=True)]
        count = max(1, *map(len, cut))  # S
        width = max((len(sentence) for sentences in cut for sentence in sentences), default=1)  # T
        positions = torch.full((len(cut), count, width), -1)
        for post, sentences in enumerate(cut):
            for number, sentence in enumerate(sentences):
                positions[post, number, : len(sentence)] = torch.tensor(sentence)
        captions = [post["caption"] for post in posts]
        encoded = self.encode_text(captions, self.max_length) if any(captions) else {}
        return {"sentence_positions": positions} | {f"caption_{name}": value for name, value in encoded.items()}


def _cut(text: str, offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the positions of the tokens of each sentence, from the places (begin, end) of the tokens in the text."""
    starts = sentence_starts(text)[: MAX_SENTENCES - 1]
    # A token may begin with the blank before its word. Special tokens, whose place is (0, 0), stay with those before.
    numbers = accumulate((bisect_left(starts, end) for _, end in offsets), max)
    sentences: list[list[int]] = [[] for _ in range(len(starts) + 1)]
    for position, number in enumerate(numbers):
        sentences[number].append(position)
    return [sentence for sentence in sentences if sentence]


class HSANPreTrainedModel(MultimodalPreTrainedModel):
    config_class = HSANConfig
    base_model_prefix = "hsan"
    input_modalities = ("text",)
    further_inputs = HSANProcessor.further_inputs


class HSANModel(HSANPreTrainedModel):
    """The attention over words and over sentences, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: HSANConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.word_lstm = MaskedLSTM(config.text_hidden_size, config.hidden_size, bidirectional=True)
        self.word_attention = ContextAttention(2 * config.hidden_size)
        self.sentence_lstm = MaskedLSTM(2 * config.hidden_size, config.hidden_size, bidirectional=True)
        self.sentence_attention = ContextAttention(2 * config.hidden_size)
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor,
        text_mask: torch.Tensor,
        regions: None,
        image_mask: None,
        sentence_positions: torch.Tensor | None,
        caption_input_ids: torch.Tensor | None,
        caption_attention_mask: torch.Tensor | None,
    ) -> MultimodalOutput:
        """Read words into sentences and sentences into `fused` (B, 2H), with a BiLSTM and attention at each level.

        The weight of a token in `text_attentions` is its own in its sentence times that of the sentence. They sum to
        less than one if the post has a caption.

        Args:
            sentence_positions: (B, S, T) The positions of the tokens of each sentence, -1 for none. Without it, the
                text is one sentence.
            caption_input_ids, caption_attention_mask: (B, C) The captions. A row of zeros means that there is none.
        """
        length = tokens.shape[1]
        if sentence_positions is None:
            sentence_positions = torch.arange(length, device=tokens.device).expand(len(tokens), 1, -1)
        inside = (sentence_positions >= 0) & (sentence_positions < length)  # (B, S, T)
        index = torch.where(inside, sentence_positions, 0).flatten(1)  # (B, S·T)
        words = tokens.take_along_dim(index.unsqueeze(-1), 1).unflatten(1, inside.shape[1:])  # (B, S, T, D)
        mask = text_mask.take_along_dim(index, 1).unflatten(1, inside.shape[1:]) & inside
        if caption_input_ids is not None:
            caption = self.encode_text(caption_input_ids, caption_attention_mask, None)  # (B, C, D), (B, C)
            words, mask = _with_sentence(words, mask, *caption)  # S + 1 sentences

        shape = mask.shape[:2]
        states = self.word_lstm(words.flatten(0, 1), mask.flatten(0, 1))  # (B·S, T, 2H)
        sentences, word_weights = self.word_attention(states, mask.flatten(0, 1))
        sentences, sentence_mask = sentences.unflatten(0, shape), mask.any(-1)  # (B, S, 2H), (B, S)
        fused, sentence_weights = self.sentence_attention(self.sentence_lstm(sentences, sentence_mask), sentence_mask)

        weights = word_weights.unflatten(0, shape) * sentence_weights.unsqueeze(-1)  # (B, S, T)
        weights = weights[:, : inside.shape[1], : inside.shape[2]].flatten(1)  # without the caption
        attention = weights.new_zeros(text_mask.shape).scatter_add(1, index, weights)  # (B, L)
        return MultimodalOutput(text_attentions=(attention,), fused=fused)


def _with_sentence(
    words: torch.Tensor, mask: torch.Tensor, sentence: torch.Tensor, sentence_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Append a sentence (B, C, D) to the sentences (B, S, T, D): return (B, S + 1, max(T, C), D), and so the masks."""
    width = max(words.shape[2], sentence.shape[1])
    parts = [
        (F.pad(tokens, (0, 0, 0, width - tokens.shape[2])), F.pad(flags, (0, width - flags.shape[2])))
        for tokens, flags in ((words, mask), (sentence.unsqueeze(1), sentence_mask.unsqueeze(1)))
    ]
    return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))


class HSANForSequenceClassification(MultimodalForSequenceClassification, HSANPreTrainedModel):
    """HSAN with its classifier, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = HSANModel

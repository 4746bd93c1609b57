"""Compare a training step of MIMN with the same network as a literal loop over hops and words.

    python benchmarks/mimn_step.py [--output benchmarks/mimn_step.json]

Both networks have the same weights, and the benchmark first compares their logits. The literal network reads its
memories word by word, as in the equations: one LSTM cell per word and direction, one score per slot.
"""

import copy
import statistics

import torch
from common_report import parser_of, take_turns, write_report
from torch import nn

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_layers import GuidedAttention, MaskedLSTM, attend, masked_softmax
from mmsent.modeling.common_word_vectors import WordVectorsConfig

LENGTHS = (80, 160, 320)
BATCH_SIZES = (8, 32)
REPEATS = 5


class LiteralLSTM(nn.Module):
    """A `MaskedLSTM` with one cell per word. A masked word does not change the state."""

    def __init__(self, lstm: MaskedLSTM):
        super().__init__()
        self.lstm = lstm

    def forward(self, sequence: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Read a sequence (B, M, D) with mask (B, M) bool: return the states (B, M, 2H)."""
        positions = range(sequence.shape[1])
        halves = [
            self.read(self.lstm.forward_lstm, sequence, mask, positions),
            self.read(self.lstm.backward_lstm, sequence, mask, reversed(positions)),
        ]
        return torch.cat(halves, -1) * mask.unsqueeze(-1)

    @staticmethod
    def read(lstm: nn.LSTM, sequence: torch.Tensor, mask: torch.Tensor, positions) -> torch.Tensor:
        h = c = sequence.new_zeros(len(sequence), lstm.hidden_size)
        states = [h] * sequence.shape[1]
        for position in positions:
            x = sequence[:, position]
            gates = x @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + h @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
            i, f, g, o = gates.chunk(4, -1)
            new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            new_h = o.sigmoid() * new_c.tanh()
            is_word = mask[:, position].unsqueeze(-1)
            h, c = torch.where(is_word, new_h, h), torch.where(is_word, new_c, c)
            states[position] = h
        return torch.stack(states, 1)


class LiteralAttention(nn.Module):
    """A `GuidedAttention` that scores the slots one by one."""

    def __init__(self, attention: GuidedAttention):
        super().__init__()
        self.attention = attention

    def forward(self, memory: torch.Tensor, mask: torch.Tensor, guide: torch.Tensor):
        weight = torch.cat([self.attention.memory_proj.weight, self.attention.guide_proj.weight], 1)
        scores = []
        for slot in range(memory.shape[1]):
            hidden = torch.tanh(torch.cat([memory[:, slot], guide], -1) @ weight.T + self.attention.memory_proj.bias)
            scores.append(self.attention.score(hidden))
        weights = masked_softmax(torch.cat(scores, -1), mask)
        return attend(weights, memory), weights


def literal(model: nn.Module) -> nn.Module:
    """Return the same network with literal layers."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            for kind, replacement in ((MaskedLSTM, LiteralLSTM), (GuidedAttention, LiteralAttention)):
                if isinstance(child, kind) and not isinstance(module, (LiteralLSTM, LiteralAttention)):
                    setattr(module, name, replacement(child))
    return model


def batch(size: int, length: int) -> dict[str, torch.Tensor]:
    """Return posts of `length / 2` to `length` words, with five images of four regions and an aspect of two words."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(length // 2, length + 1, (size,), generator=generator)
    lengths[0] = length
    return {
        "input_ids": torch.randint(1, 1000, (size, length), generator=generator),
        "attention_mask": (torch.arange(length) < lengths.unsqueeze(1)).long(),
        "aspect_input_ids": torch.randint(1, 1000, (size, 2), generator=generator),
        "aspect_attention_mask": torch.ones(size, 2, dtype=torch.long),
        "image_features": torch.randn(size, 5, 4, 128, generator=generator),
        "image_mask": torch.ones(size, 5, dtype=torch.bool),
        "labels": torch.randint(0, 3, (size,), generator=generator),
    }


def train_step(model: nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    model(**inputs).loss.backward()
    model.zero_grad()


def measure(size: int, length: int) -> dict:
    torch.manual_seed(0)
    row = ARCHITECTURES["mimn"]
    config = row.config(
        text_config=WordVectorsConfig(vocab_size=1000, hidden_size=100), image_config=SmallCNNConfig(image_size=32)
    )
    fast = row.classifier(config).eval()  # without dropout, so that both can be compared
    slow, inputs = literal(fast), batch(size, length)
    difference = (fast(**inputs).logits - slow(**inputs).logits).abs().max().item()
    assert difference < 1e-4, difference
    ways = {"fast": lambda: train_step(fast, inputs), "literal": lambda: train_step(slow, inputs)}
    seconds = take_turns(ways, REPEATS)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "posts": size,
        "words": length,
        "milliseconds": {name: round(1000 * value, 1) for name, value in medians.items()},
        "ratio": round(medians["literal"] / medians["fast"], 2),
        "largest_difference_of_logits": difference,
    }


def main() -> None:
    args = parser_of(__file__, __doc__).parse_args()
    figures = [measure(size, length) for size in BATCH_SIZES for length in LENGTHS]
    write_report(args, figures, repeats=REPEATS, hops=3)


if __name__ == "__main__":
    main()

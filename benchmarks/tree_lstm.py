"""Compare a training step of T-LSTM's trees, level by level, with the same trees post by post and node by node.

    python benchmarks/tree_lstm.py [--output benchmarks/tree_lstm.json]

Both have the same weights, and the benchmark first compares the states of their roots. The trees are balanced or drawn
at random, which are as deep as parses are.
"""

import random
import statistics

import torch
from common_report import parser_of, take_turns, write_report

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_trees import balanced_tree, lay_out
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.modeling.t_lstm import TreeLSTM

POSTS, WORDS, WIDTH, REGIONS, REPEATS = 32, 40, 100, 49, 5


def random_tree(count: int, generator: random.Random) -> list[tuple[int, int]]:
    """Return a tree that joins random neighbours."""
    children, pairs = list(range(count)), []
    while len(children) > 1:
        place = generator.randrange(len(children) - 1)
        pairs.append((children[place], children.pop(place + 1)))
        children[place] = ~(len(pairs) - 1)
    return pairs


def literal(layers: TreeLSTM, trees: list, tokens: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Return the states (B, H) of the roots, from one node after another."""
    roots = []
    for tree, words, memory in zip(trees, tokens, regions, strict=True):

        def look(query: torch.Tensor, keys: torch.nn.Linear, memory: torch.Tensor = memory) -> torch.Tensor:
            weights = (keys(memory) @ query).softmax(-1)  # (M,)
            return layers.visual_proj(weights @ memory)  # (5H,)

        states = {}
        for token, word in enumerate(words):
            gates = look(word, layers.word_keys) + layers.children_proj.bias
            i, o, u = (gates[: layers.word_proj.out_features] + layers.word_proj(word)).chunk(3)
            c = i.sigmoid() * u.tanh()
            states[token] = o.sigmoid() * c.tanh(), c
        for pair, (left, right) in enumerate(tree):
            (h_left, c_left), (h_right, c_right) = states[left], states[right]
            h = torch.cat([h_left, h_right])
            gates = layers.children_proj(h) + look(h, layers.children_keys)
            i, o, u, f_left, f_right = gates.chunk(5)
            c = i.sigmoid() * u.tanh() + f_left.sigmoid() * c_left + f_right.sigmoid() * c_right
            states[~pair] = o.sigmoid() * c.tanh(), c
        roots.append(states[~(len(tree) - 1)][0])
    return torch.stack(roots)


def measure(kind: str) -> dict:
    torch.manual_seed(0)
    generator = random.Random(0)
    trees = [balanced_tree(WORDS) if kind == "balanced" else random_tree(WORDS, generator) for _ in range(POSTS)]
    text, image = WordVectorsConfig(vocab_size=2, hidden_size=WIDTH), SmallCNNConfig()
    layers = TreeLSTM(ARCHITECTURES["t_lstm"].config(text_config=text, image_config=image))
    tokens, regions = torch.randn(POSTS, WORDS, WIDTH), torch.randn(POSTS, REGIONS, image.hidden_size)
    mask = torch.ones(POSTS, REGIONS, dtype=torch.bool)

    def by_level() -> torch.Tensor:  # with the layout of the trees, which the processor makes
        return layers(tokens, regions, mask, lay_out(trees))[0]

    def by_node() -> torch.Tensor:
        return literal(layers, trees, tokens, regions)

    def step(states) -> None:
        states().sum().backward()
        layers.zero_grad()

    with torch.no_grad():
        difference = (by_level() - by_node()).abs().max().item()
    assert difference < 1e-5, difference
    seconds = take_turns({"by_level": lambda: step(by_level), "by_node": lambda: step(by_node)}, REPEATS)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "trees": kind,
        "levels": lay_out(trees)[..., 2].max().item(),
        "milliseconds": {name: round(1000 * value, 1) for name, value in medians.items()},
        "ratio": round(medians["by_node"] / medians["by_level"], 1),
        "largest_difference_of_states": difference,
    }


def main() -> None:
    args = parser_of(__file__, __doc__).parse_args()
    figures = [measure(kind) for kind in ("balanced", "random")]
    write_report(args, figures, posts=POSTS, words=WORDS, regions=REGIONS, repeats=REPEATS)


if __name__ == "__main__":
    main()

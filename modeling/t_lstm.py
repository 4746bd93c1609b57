"""T-LSTM: an LSTM over the tree of a sentence, whose every node attends to the regions of the image.

You, Cao, Jin, Luo: *Robust Visual-Textual Sentiment Analysis: When Attention Meets Tree-Structured Recursive
Neural Networks*. ACM MM 2016, https://doi.org/10.1145/2964284.2964288.

No code was published. A node is a binary Tree-LSTM (Tai et al., ACL 2015) with the input [word; visual], where the
word is zero at inner nodes and the children's states are zero at leaves:

    i, o, u, f_l, f_r = W [word; visual] + U [h_l; h_r] + b
    c = σ(i) tanh(u) + σ(f_l) c_l + σ(f_r) c_r        h = σ(o) tanh(c)
    visual = Σ_r softmax_r(query · M v_r) v_r

The query of a leaf is its word. The following is this project's reading: the query of an inner node is [h_l; h_r],
with an M of its own; the tree of a post without a parse is balanced; an absent text is one leaf without a word. So is
the auxiliary loss, which matches words and regions: the score of a text and an image is the mean over the words of
max_r word · M v_r, and with the image of its own post it should be higher by a margin of one than with that of the
next post of the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import flatten_regions, masked_mean, masked_softmax
from .common_processing import MultimodalProcessor
from .common_text import prepare_text
from .common_trees import Tree, balanced_tree, lay_out, parsed_tree


@strict
class TLSTMConfig(MultimodalConfig):
    """Config of T-LSTM: the fields of `MultimodalConfig` and these.

    Args:
        hidden_size: The length of the states h and c of a node.
        dropout: The share of the root's state that is dropped before the classifier.
        matching_weight: The weight of the auxiliary loss.
    """

    model_type = "t_lstm"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *MultimodalConfig.keys_to_ignore_at_inference,
        "matching_loss",
    ]

    hidden_size: int = 128
    dropout: float = 0.2
    matching_weight: float = 0.1

    @property
    def fused_size(self) -> int:
        return self.hidden_size


class TLSTMProcessor(MultimodalProcessor):
    """The processor of T-LSTM: by default 150 tokens of text and one image.

    The further column `tree` has the bracketed parse of the text as the text steps leave it, see `parsed_tree`. The
    tree of a post without one is balanced.
    """

    default_max_length = 150
    columns = ("tree",)
    further_inputs = ("tree_nodes",)

    def encode_further(self, posts: Sequence[Mapping[str, str | None]]) -> dict[str, torch.Tensor]:
        """Encode the trees of B posts as `tree_nodes` (B, S, 3), see `lay_out`."""
        texts = [prepare_text(post["text"], self.text_steps or []) for post in posts]
        options = {"max_length": self.max_length, "truncation": True, "return_offsets_mapping": True}
        offsets = self.tokenizer(texts, **options)["offset_mapping"]
        trees = [self._tree(*parts) for parts in zip(texts, offsets, (post["tree"] for post in posts), strict=True)]
        return {"tree_nodes": lay_out(trees)}

    @staticmethod
    def _tree(text: str, offsets: list[tuple[int, int]], parse: str | None) -> Tree:
        if not text.strip():
            return ()
        if not (parse or "").strip():
            return balanced_tree(len(offsets))
        try:
            return parsed_tree(parse, text, offsets)
        except ValueError as error:
            raise ValueError(
                f"column tree of the post {text[:40]!r}: {error}. Give a parse such as (S (NP it) (VP rains)) of the "
                "text as text_steps leave it, or nothing."
            ) from error


@dataclass
class TLSTMOutput(MultimodalOutput):
    """The fields of `MultimodalOutput` and these.

    Args:
        matching_loss: () The auxiliary loss.
    """

    matching_loss: torch.Tensor | None = None


class TreeLSTM(nn.Module):
    """The binary Tree-LSTM, for all nodes of a level of all posts at once."""

    def __init__(self, config: TLSTMConfig):
        super().__init__()
        size = config.hidden_size
        self.word_proj = nn.Linear(config.text_hidden_size, 3 * size, bias=False)  # a leaf forgets no children
        self.visual_proj = nn.Linear(config.image_hidden_size, 5 * size, bias=False)
        self.children_proj = nn.Linear(2 * size, 5 * size)
        self.word_keys = nn.Linear(config.image_hidden_size, config.text_hidden_size, bias=False)
        self.children_keys = nn.Linear(config.image_hidden_size, 2 * size, bias=False)

    def forward(
        self, tokens: torch.Tensor, regions: torch.Tensor, region_mask: torch.Tensor, nodes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Read the trees of B posts.

        Args:
            tokens: (B, L, D) The words, zero where there are none.
            regions: (B, M, D_i) The regions of all images, with their mask (B, M) bool.
            nodes: (B, S, 3) The inner nodes, see `lay_out`.

        Returns:
            The state h (B, H) of the roots, their attention (B, M), and the matching loss ().
        """
        # Σ_r α_r (W v_r) = W Σ_r α_r v_r: the regions are projected once, and not once per node.
        visual, children_keys = self.visual_proj(regions), self.children_keys(regions)  # (B, M, 5H), (B, M, 2H)
        word_keys = self.word_keys(regions)  # (B, M, D)

        def look(query: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """Attend with a query (B, W, Q) to keys (B, M, Q): return gates (B, W, 5H) and weights (B, W, M)."""
            weights = masked_softmax(query @ keys.mT, region_mask.unsqueeze(1))
            return weights.to(visual.dtype) @ visual, weights

        gates, weights = look(tokens, word_keys)
        gates = self.word_proj(tokens) + (gates + self.children_proj.bias)[..., : self.word_proj.out_features]
        i, o, u = gates.chunk(3, -1)
        c = i.sigmoid() * u.tanh()  # (B, L, H)
        states, attentions = torch.cat([o.sigmoid() * c.tanh(), c], -1), [weights]  # (B, L, 2H)
        for level in split_levels(nodes):  # (B, W, 3)
            children = level[..., :2].flatten(1)  # (B, 2W)
            children = torch.where(children < 0, tokens.shape[1] + ~children, children)
            h, c = states.take_along_dim(children.unsqueeze(-1), 1).unflatten(1, (-1, 2)).chunk(2, -1)  # (B, W, 2, H)
            h = h.flatten(2)  # (B, W, 2H)
            gates, weights = look(h, children_keys)
            i, o, u, f_l, f_r = (self.children_proj(h) + gates).chunk(5, -1)
            c = i.sigmoid() * u.tanh() + f_l.sigmoid() * c[:, :, 0] + f_r.sigmoid() * c[:, :, 1]  # (B, W, H)
            states = torch.cat([states, torch.cat([o.sigmoid() * c.tanh(), c], -1)], 1)  # (B, L + S, 2H)
            attentions.append(weights)
        height, slot = nodes[..., 2].max(1)  # (B,)
        root = torch.where(height > 0, tokens.shape[1] + slot, 0)[:, None, None]
        h = states.chunk(2, -1)[0].take_along_dim(root, 1).squeeze(1)
        attention = torch.cat(attentions, 1).take_along_dim(root, 1).squeeze(1)
        return h, attention, matching_loss(tokens, word_keys, region_mask)


def split_levels(nodes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Split nodes (B, S, 3) into those of each level (B, W, 3), the lowest first."""
    if torch.compiler.is_compiling():  # a graph cannot depend on the levels: the slots are read one after another
        return nodes.split(1, 1)
    levels = nodes[..., 2].amax(0)  # (S,)
    return nodes.split(levels.unique_consecutive(return_counts=True)[1].tolist(), 1)


def matching_loss(tokens: torch.Tensor, keys: torch.Tensor, region_mask: torch.Tensor) -> torch.Tensor:
    """Return max(0, 1 - own + other), the mean over the posts that have a text and whose own image and that of the
    next post exist.

    Args:
        tokens: (B, L, D) The words, zero where there are none.
        keys: (B, M, D) The regions, projected.
        region_mask: (B, M) bool The regions that exist.
    """
    is_word = tokens.abs().sum(-1) > 0  # (B, L)

    def scores(keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        best = (tokens @ keys.mT).float().masked_fill(~mask.unsqueeze(1), torch.finfo(torch.float32).min).amax(2)
        return masked_mean((best * mask.any(1, keepdim=True)).unsqueeze(-1), is_word).squeeze(-1)  # (B,)

    others = region_mask.roll(-1, 0)
    counts = is_word.any(1) & region_mask.any(1) & others.any(1) & (len(tokens) > 1)  # (B,)
    losses = (1 - scores(keys, region_mask) + scores(keys.roll(-1, 0), others)).relu()
    return (losses * counts).sum() / counts.sum().clamp(min=1)


class TLSTMPreTrainedModel(MultimodalPreTrainedModel):
    config_class = TLSTMConfig
    base_model_prefix = "t_lstm"
    further_inputs = ("tree_nodes",)


class TLSTMModel(TLSTMPreTrainedModel):
    """The Tree-LSTM with attention, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: TLSTMConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.tree_lstm = TreeLSTM(config)
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor,
        text_mask: torch.Tensor,
        regions: torch.Tensor,
        image_mask: torch.Tensor,
        tree_nodes: torch.Tensor | None = None,
    ) -> TLSTMOutput:
        """Read the trees from the words to the root; `fused` is the state of the root (B, H).

        `image_attentions` has one tensor, the attention of the root.

        Args:
            tree_nodes: (B, S, 3) The trees, as the processor makes them; by default they are balanced.
        """
        if tree_nodes is None:
            trees = [balanced_tree(count) for count in text_mask.sum(1).tolist()]
            tree_nodes = lay_out(trees).to(tokens.device)
        elif not torch.compiler.is_compiling() and tree_nodes[..., :2].amax() >= tokens.shape[1]:
            raise ValueError(
                f"tree_nodes holds token {tree_nodes[..., :2].amax()}, but the texts have {tokens.shape[1]} tokens: "
                "set max_length of the processor, not of its call."
            )
        memory, memory_mask = flatten_regions(regions, image_mask)  # (B, M, D_i), (B, M)
        tokens = tokens * text_mask.unsqueeze(-1)
        nodes = tree_nodes * text_mask.any(1)[:, None, None]  # an absent text has no tree
        fused, attention, loss = self.tree_lstm(tokens, memory, memory_mask, nodes)
        return TLSTMOutput(fused=fused, image_attentions=(attention,), matching_loss=loss)


class TLSTMForSequenceClassification(MultimodalForSequenceClassification, TLSTMPreTrainedModel):
    """T-LSTM with its classifier at the root, trained with cross-entropy and the auxiliary loss."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = TLSTMModel

    def compute_loss(self, output: TLSTMOutput, labels: torch.Tensor, *modality_labels) -> torch.Tensor:
        matching = self.config.matching_weight * output.matching_loss
        return self.classification_loss(output.logits, labels) + matching

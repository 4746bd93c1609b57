"""What the models of MIMN's repository have in common, most of which are memory networks that an aspect guides."""

from typing import Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init

from .common_base import MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_layers import BilinearAttention, GuidedProjection, ProjectedAttentionWeight, flatten_regions, masked_mean
from .common_word_vectors import WordVectors, WordVectorsConfig


@strict
class PublishedInitConfig(MultimodalConfig):
    """Config of a model whose weights may start as in MIMN's code: the fields of `MultimodalConfig` and this one.

    Args:
        initialization: `"default"`, or `"official"` as the authors' code starts all weights: Xavier's uniform
            distribution, also for the word vectors. (The code overwrites pretrained vectors by it: to follow it, give
            none.) The code gives the projections of an attention an extra dimension, which makes them start ten times
            smaller at 200 units.
    """

    initialization: Literal["default", "official"] = "default"


@strict
class AspectMemoryConfig(PublishedInitConfig):
    """Config of a memory network that reads an aspect: the fields of `PublishedInitConfig` and these.

    Args:
        hops: The number of passes over the memories, at least 1.
        pad_to: The number of words to which every text is padded, 320 in MIMN's paper. The attentions of the authors'
            code read padding, and as much of it as the batch happens to have. With a fixed length a post has the
            scores that it has there beside a text of this length. By default padding is not read. The `max_length` of
            the processor must not be larger.
        pad_images_to: The number of images to which those of every post are padded if `pad_to` is set (5 in the paper
            and in the code).
    """

    hops: int = 3
    pad_to: int | None = None
    pad_images_to: int = 5

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.hops < 1:
            raise ValueError(f"hops={self.hops}: at least one hop is needed.")

    @property
    def image_slots(self) -> int | None:
        """The number of slots to which the image memory is padded, or None."""
        if self.pad_to is None:
            return None
        return self.pad_images_to * (1 if self.image_memory == "images" else self.image_regions)


@strict
class TextAspectConfig(PublishedInitConfig):
    """Config of a model of texts and aspects: the fields of `PublishedInitConfig` and these.

    Args:
        reading: Whose equations are followed: `"paper"`, those of the paper that the docstring of the file names, or
            `"official"`, the class of this name in the code of MIMN's authors.
        pad_to: The number of words to which every text is padded, as in `AspectMemoryConfig`; only with
            `reading="official"`.
        pad_aspect_to: The number of words to which every aspect is padded if `pad_to` is set (4 in MIMN's paper, 2 in
            the code). Where the code reads the mean of the aspect's words, it sums this padding, too: with n words, it
            is their mean and (pad_aspect_to - n) / n times the vector of padding, which is trained.
    """

    reading: Literal["paper", "official"] = "paper"
    pad_to: int | None = None
    pad_aspect_to: int = 4

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.pad_to is not None and self.reading != "official":
            raise ValueError(f"pad_to={self.pad_to} needs reading='official': the paper does not read padding.")

    @property
    def aspect_length(self) -> int | None:
        """The number of words to which aspects are padded, or None."""
        return None if self.pad_to is None else self.pad_aspect_to


class PublishedInitPreTrainedModel(MultimodalPreTrainedModel):
    """A base with weights that start larger than usual by default, and as in MIMN's code on request."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if self.config.initialization == "official" and self._init_as_in_the_code(module):
            return
        # Memories, the vectors read from them and their combination are all squashed. At the usual scales they are so
        # small that no guide changes an attention: of the sample posts that only text and image together decide, 33 %
        # are right after 30 epochs, and 100 % after 12 epochs with these scales. All of them are needed.
        if isinstance(module, nn.LSTM):
            size = module.hidden_size
            init.normal_(module.weight_ih_l0, std=3 * module.input_size**-0.5)
            init.normal_(module.weight_hh_l0, std=size**-0.5)
            init.copy_(module.bias_ih_l0, torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat_interleave(size))  # output gate
            init.zeros_(module.bias_hh_l0)
        elif isinstance(module, nn.GRUCell):
            size = module.hidden_size
            init.normal_(module.weight_ih, std=2 * module.input_size**-0.5)
            init.normal_(module.weight_hh, std=size**-0.5)
            # The update gate starts low, so that the new state counts more than the old one.
            init.copy_(module.bias_ih, torch.tensor([0.0, -1.0, 0.0]).repeat_interleave(size))
            init.zeros_(module.bias_hh)
        elif isinstance(module, GuidedProjection):
            init.normal_(module.weight, std=3 * module.in_features**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, BilinearAttention):
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def _init_as_in_the_code(self, module: nn.Module) -> bool:
        """Start the weights of a module as `reset_parameters` in main_asp.py of the authors' code does: matrices by
        Xavier, and vectors as PyTorch and the class Attention start them. Return False for other kinds of modules."""
        if isinstance(module, nn.LSTM | nn.GRUCell):
            for weight in module.parameters(recurse=False):
                _xavier_or(weight, module.hidden_size)
        elif isinstance(module, ProjectedAttentionWeight):
            size = module.in_features
            # Xavier takes (1, D, D) for D inputs with D positions each. The vector w has 2D numbers, for D units.
            bound = (2 / size) ** 0.5 if module.out_features == 1 else (6 / (size * size + size)) ** 0.5
            init.uniform_(module.weight, -bound, bound)
        elif isinstance(module, nn.Linear):
            for weight in module.parameters(recurse=False):
                _xavier_or(weight, module.in_features)
        elif isinstance(module, WordVectors):
            rows = self.config.get_text_config().vocab_size  # the row of padding is a module of its own
            bound = (6 / (rows + module.embedding_dim)) ** 0.5
            init.uniform_(module.weight, -bound, bound)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])
        else:
            return False
        return True


class AspectMemoryPreTrainedModel(PublishedInitPreTrainedModel):
    """The base of memory networks that read an aspect."""

    reads_aspect = True


class TextAspectPreTrainedModel(AspectMemoryPreTrainedModel):
    """The base of models that read a text and an aspect."""

    input_modalities = ("text",)


def _xavier_or(weight: torch.Tensor, fan_in: int) -> None:
    """Start a matrix by Xavier, and a vector uniformly between ±1/√fan_in."""
    if weight.ndim > 1:
        init.xavier_uniform_(weight)
    else:
        init.uniform_(weight, -(fan_in**-0.5), fan_in**-0.5)


def padding_word(config: MultimodalConfig) -> WordVectors | None:
    """Return the word that fills up aspects if the config has `pad_to`. It is a word of its own, since the row of
    padding in the word table is always zero."""
    if config.pad_to is None:
        return None
    return WordVectors(WordVectorsConfig(vocab_size=1, hidden_size=config.text_hidden_size, pad_token_id=None))


def mean_aspect(aspect: torch.Tensor, mask: torch.Tensor, padding: WordVectors | None, length: int) -> torch.Tensor:
    """Return the mean (B, D) of the aspect's tokens (B, N, D) with mask (B, N) bool. With a word of padding, the sum
    that is divided by the number n of tokens has it length - n times."""
    mean = masked_mean(aspect, mask)
    if padding is None:
        return mean
    words = mask.sum(1, keepdim=True)  # (B, 1)
    missing = (length - words).clamp(min=0) * (words > 0)
    return mean + missing / words.clamp(min=1) * padding.weight


def image_slots(
    regions: torch.Tensor, image_mask: torch.Tensor, image_memory: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the slots of the image memory (B, M, D) and their mask (B, M) bool.

    Args:
        regions: (B, K, R, D) The regions of the images.
        image_mask: (B, K) bool The mask of the images.
        image_memory: `"images"` for M = K slots, the means of the regions of each image; `"regions"` for M = K·R.
    """
    if image_memory == "images":
        return regions.mean(2), image_mask
    return flatten_regions(regions, image_mask)


def region_weights(weights: torch.Tensor, num_regions: int, image_memory: str) -> torch.Tensor:
    """Return the weights (B, K·R) of the regions; if a slot is an image, spread its weight evenly over its regions."""
    return weights.repeat_interleave(num_regions, 1) / num_regions if image_memory == "images" else weights

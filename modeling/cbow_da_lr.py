"""CBOW+DA+LR: word vectors, a denoising autoencoder of the image and logistic regression that are trained together.

Baecchi, Uricchio, Bertini, Del Bimbo: *A Multimodal Feature Learning Approach for Sentiment Analysis of Social Network
Multimedia*. Multimedia Tools and Applications 2016.

No code was published. The docstrings say what is a reading of this project. The regression adds up what the text and
what the image say: posts that only both together decide are beyond it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import initialization as init

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import masked_mean
from .common_processing import MultimodalProcessor
from .common_word_vectors import WordVectorsConfig


@strict
class CBOWDALRConfig(MultimodalConfig):
    """Config of CBOW+DA+LR: the fields of `MultimodalConfig` and these, whose defaults the paper does not state.

    Args:
        window: The number of words on each side of a word that are its context.
        negatives: The number of words that are drawn for each window, against which its word is told apart.
        code_size: The length of the autoencoder's code of an image.
        noise: The share of the image's features that is set to zero in training.
        cbow_weight: The weight of the loss of CBOW; that of the regression has the weight 1.
        autoencoder_weight: The weight of the loss of the autoencoder.
        dropout: The share of [h; z] that is dropped before the regression.
    """

    model_type = "cbow_da_lr"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        *MultimodalConfig.keys_to_ignore_at_inference,
        "cbow_loss",
        "autoencoder_loss",
    ]

    window: int = 5
    negatives: int = 5
    code_size: int = 128
    noise: float = 0.3
    cbow_weight: float = 0.1
    autoencoder_weight: float = 1.0
    dropout: float = 0.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.noise >= 1:
            raise ValueError(f"noise={self.noise}: give a share below 1.")

    @property
    def fused_size(self) -> int:
        """The length of [h; z]."""
        return self.text_hidden_size + self.code_size

    @property
    def predicts_words(self) -> bool:
        """Whether CBOW is trained: whether the text encoder is a table of word vectors that is not frozen."""
        return isinstance(self.text_config, WordVectorsConfig) and not self.freeze_text


class CBOWDALRProcessor(MultimodalProcessor):
    """The processor of CBOW+DA+LR: by default 50 tokens of text and one image."""


@dataclass
class CBOWDALROutput(MultimodalOutput):
    """The fields of `MultimodalOutput` and, in training, these.

    Args:
        cbow_loss: () The loss of CBOW; None if the text encoder is frozen or is not a table of word vectors.
        autoencoder_loss: () The loss of the autoencoder.
    """

    cbow_loss: torch.Tensor | None = None
    autoencoder_loss: torch.Tensor | None = None


class OutputVectors(nn.Embedding):
    """The vectors u of the words that CBOW predicts, zero at the start as in word2vec."""


class DenoisingAutoencoder(nn.Module):
    """Vincent et al.'s autoencoder with tied weights: `z = sigmoid(W x~ + b)`, and W'z + b' shall be x.

    x~ is x with a share of its features set to zero, in training. That W is tied and that the output is linear, since
    the features have no bounds, is the reading of this project.
    """

    def __init__(self, size: int, code_size: int, noise: float):
        super().__init__()
        self.noise = noise
        self.encoder = nn.Linear(size, code_size)
        self.output_bias = nn.Parameter(torch.empty(size))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the codes (B, H) of features (B, D)."""
        if self.training:
            features = features * (torch.rand_like(features) >= self.noise)
        return torch.sigmoid(self.encoder(features))

    def loss(self, code: torch.Tensor, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the mean square () of W'z + b' - x over the features (B, D) of the posts in the mask (B,) bool.

        No gradient goes through x, so that an encoder that is trained does not make its features simple.
        """
        output = F.linear(code, self.encoder.weight.T, self.output_bias)  # (B, D)
        errors = (output - features.detach()).float().square().mean(1)  # (B,)
        return (errors * mask).sum() / mask.sum().clamp(min=1)


class CBOWDALRPreTrainedModel(MultimodalPreTrainedModel):
    config_class = CBOWDALRConfig
    base_model_prefix = "cbow_da_lr"
    pools_regions = True
    reads_input_ids = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, OutputVectors):
            init.zeros_(module.weight)
        elif isinstance(module, DenoisingAutoencoder):
            init.zeros_(module.output_bias)
        else:
            super()._init_weights(module)

    def get_output_embeddings(self) -> nn.Embedding | None:
        """Return the vectors of the words that CBOW predicts, so that they change their number with the input's."""
        return self.base_model.output_vectors

    def set_output_embeddings(self, value: nn.Embedding) -> None:
        """Replace the vectors of the words that CBOW predicts."""
        self.base_model.output_vectors = value


class CBOWDALRModel(CBOWDALRPreTrainedModel):
    """The context vectors of the text and the code of the image, without the regression.

    A window is a word with its context, whose vector h is the mean of the context's word vectors. CBOW predicts the
    word from h by negative sampling: `-log sigmoid(u_w·h) - Σ_n log sigmoid(-u_n·h)`. The words n are drawn from the
    words of the batch, thus by their frequency (word2vec: to the power of 0.75), and a word that equals w does not
    count. A text is the mean over its windows; a word without context stands for itself.

    If the text encoder is a transformer, its output already contains the word that would have to be predicted. Then,
    and if the encoder is frozen, there is no loss of CBOW, and a text is the same mean over the encoder's output.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: CBOWDALRConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.output_vectors = None
        if config.predicts_words:
            self.output_vectors = OutputVectors(config.text_config.vocab_size, config.text_hidden_size)
        self.autoencoder = DenoisingAutoencoder(config.image_hidden_size, config.code_size, config.noise)
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor,
        text_mask: torch.Tensor,
        regions: torch.Tensor,
        image_mask: torch.Tensor,
        input_ids: torch.Tensor | None,
    ) -> CBOWDALROutput:
        """Return the losses of both parts in training, and [h; z] (B, D_text + H) as `fused`; the image is the mean of
        all images, and what is absent is zero."""
        contexts, has_context = context_means(tokens, text_mask, self.config.window)  # (B, L, D), (B, L)
        features, has_image = masked_mean(regions.squeeze(2), image_mask), image_mask.any(1)  # (B, D_image), (B,)
        code = self.autoencoder(features)  # (B, H)
        output = CBOWDALROutput(fused=torch.cat([masked_mean(contexts, text_mask), code * has_image.unsqueeze(1)], -1))
        if self.training:
            output.autoencoder_loss = self.autoencoder.loss(code, features, has_image)
            if self.output_vectors is not None and input_ids is not None:
                output.cbow_loss = self.cbow_loss(contexts, input_ids, text_mask, has_context)
        return output

    def cbow_loss(
        self, contexts: torch.Tensor, input_ids: torch.Tensor, text_mask: torch.Tensor, has_context: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean loss () of the windows with contexts (B, L, D) and words (B, L) where `has_context`."""
        # Without any text, what is drawn does not matter.
        share = text_mask.flatten().float().clamp(min=1e-30)  # (B·L,)
        drawn = torch.multinomial(share, share.numel() * self.config.negatives, replacement=True)
        drawn = input_ids.flatten()[drawn].view(*input_ids.shape, -1)  # (B, L, N)
        words, contexts = self.output_vectors(input_ids), contexts.float()  # (B, L, D)
        right = F.logsigmoid((words * contexts).sum(-1))  # (B, L)
        wrong = F.logsigmoid(-torch.einsum("blnd,bld->bln", self.output_vectors(drawn).float(), contexts))
        loss = -right - (wrong * (drawn != input_ids.unsqueeze(-1))).sum(-1)  # (B, L)
        return (loss * has_context).sum() / has_context.sum().clamp(min=1)


def context_means(tokens: torch.Tensor, mask: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each token the mean (B, L, D) of up to `size` tokens on each side of it, without itself, and whether
    there are any (B, L) bool; the token itself where there are none.

    Args:
        tokens: (B, L, D) The tokens.
        mask: (B, L) bool, False for padding, which is in no context.
    """
    counted = torch.cat([tokens * mask.unsqueeze(-1), mask.unsqueeze(-1).to(tokens.dtype)], -1)  # (B, L, D + 1)
    windows = F.pad(counted, (0, 0, size, size)).unfold(1, 2 * size + 1, 1)  # (B, L, D + 1, 2 · size + 1)
    total = windows[..., :size].sum(-1) + windows[..., size + 1 :].sum(-1)  # (B, L, D + 1)
    sums, count = total[..., :-1], total[..., -1:]
    return torch.where(count > 0, sums / count.clamp(min=1), tokens), (count.squeeze(-1) > 0) & mask


class CBOWDALRForSequenceClassification(MultimodalForSequenceClassification, CBOWDALRPreTrainedModel):
    """CBOW+DA+LR with its logistic regression. In training, the loss is the sum of the three; else it is that of the
    regression alone, because the two others are random."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = CBOWDALRModel

    def compute_loss(self, output: CBOWDALROutput, labels: torch.Tensor, *modality_labels) -> torch.Tensor:
        loss = self.classification_loss(output.logits, labels)
        if output.autoencoder_loss is not None:
            loss = loss + self.config.autoencoder_weight * output.autoencoder_loss
        if output.cbow_loss is not None:
            loss = loss + self.config.cbow_weight * output.cbow_loss
        return loss

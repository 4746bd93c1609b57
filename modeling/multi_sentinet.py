"""MultiSentiNet: the objects and the scene of an image guide the attention to the words of its text.

Xu, Mao: *MultiSentiNet: A Deep Semantic Network for Multimodal Sentiment Analysis*. CIKM 2017.

The sizes and the equations are those of the authors' code (github.com/xunan0812/MultiSentiNet), whose image features
were not published.
"""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, PreTrainedConfig

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import GuidedAttention, MaskedLSTM, masked_mean
from .common_processing import MultimodalProcessor


@strict
class MultiSentiNetConfig(MultimodalConfig):
    """Config of MultiSentiNet: the fields of `MultimodalConfig` and these.

    In the paper the image encoder is a VGG that was trained on ImageNet and sees objects, and the scene encoder is a
    VGG that was trained on Places. Both read the same pixels.

    Args:
        scene_config: The config of the scene encoder, by default that of the image encoder.
        scene_hidden_size: The width D of the scene encoder's output (B, K, R, D).
        scene_regions: The number R of regions that the scene encoder makes of an image.
        hidden_size: The size of the LSTM's state, of the projected object and scene vectors and of the fused vector,
            which is 128 in the authors' code. It is also that of the attention's hidden layer.
        dropout: The share of the fused vector that is dropped before the classifier. The authors' code has no dropout.
    """

    model_type = "multi_sentinet"
    sub_configs = {**MultimodalConfig.sub_configs, "scene_config": AutoConfig}
    further_image_encoders = ("scene",)

    scene_config: dict | PreTrainedConfig | None = None
    scene_hidden_size: int | None = None
    scene_regions: int | None = None
    hidden_size: int = 128
    dropout: float = 0.0

    @property
    def fused_size(self) -> int:
        """The length of the fused vector."""
        return self.hidden_size


class MultiSentiNetProcessor(MultimodalProcessor):
    """The processor of MultiSentiNet: by default 140 tokens of text (the length in the code) and one image."""

    default_max_length = 140


class MultiSentiNetPreTrainedModel(MultimodalPreTrainedModel):
    config_class = MultiSentiNetConfig
    base_model_prefix = "multi_sentinet"
    pools_regions = True


class MultiSentiNetModel(MultiSentiNetPreTrainedModel):
    """The guided attention and the fused vector, without classifier."""

    _auto_class = "AutoModel"

    def __init__(self, config: MultiSentiNetConfig):
        super().__init__(config)
        self.add_encoders(config)
        size = config.hidden_size
        self.object_proj = nn.Linear(config.image_hidden_size, size)
        self.scene_proj = nn.Linear(config.scene_hidden_size, size)
        self.lstm = MaskedLSTM(config.text_hidden_size, size, bidirectional=False)
        self.attention = GuidedAttention(size, 2 * size, "additive")
        self.fusion = nn.Linear(3 * size, size)
        self.post_init()

    def fuse(
        self,
        tokens: torch.Tensor,
        text_mask: torch.Tensor,
        regions: torch.Tensor,
        image_mask: torch.Tensor,
        scene: torch.Tensor,
    ) -> MultimodalOutput:
        """Fuse a post; `fused` is `ReLU(W[s; o; t] + b)` (B, H) with the vectors of the scene, the objects and the
        text, and there is one attention to the text.

        A vector of an image is `ReLU(W x + b)`, where x is the mean of its regions and, which is the reading of this
        project, of all images of the post. The text's is `Σ a_t h_t` over the states of the LSTM, with
        `a = softmax(u·tanh(W h_t + W_o o + W_s s + b))`.
        """
        objects = torch.relu(self.object_proj(masked_mean(regions.squeeze(2), image_mask)))  # (B, H)
        scenes = torch.relu(self.scene_proj(masked_mean(scene.squeeze(2), image_mask)))
        states = self.lstm(tokens, text_mask)  # (B, L, H)
        text, weights = self.attention(states, text_mask, torch.cat([objects, scenes], -1))  # (B, H), (B, L)
        fused = torch.relu(self.fusion(torch.cat([scenes, objects, text], -1)))
        return MultimodalOutput(text_attentions=(weights,), fused=fused)


class MultiSentiNetForSequenceClassification(MultimodalForSequenceClassification, MultiSentiNetPreTrainedModel):
    """MultiSentiNet with its classifier, a softmax over the fused vector, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = MultiSentiNetModel

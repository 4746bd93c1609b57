"""SentiBank+SentiStrength: logistic regression on scores of adjective-noun pairs in the image and of words' strength.

Borth, Ji, Chen, Breuel, Chang: *Large-scale Visual Sentiment Ontology and Detectors Using Adjective Noun Pairs*.
ACM MM 2013. Thelwall, Buckley, Paltoglou, Cai, Kappas: *Sentiment Strength Detection in Short Informal Text*. JASIST
61(12), 2010.

Neither part can be had. SentiBank's 1,200 detectors of adjective-noun pairs (ANPs) are gone: the scores of a model
that train.py has trained on the ANPs of `vso` or `mvso` stand in. SentiStrength is closed: VADER or a lexicon of the
user stands in. The regression adds up what the text and what the image say.
"""

from collections.abc import Mapping, Sequence

import torch
from huggingface_hub.dataclasses import strict
from torch import nn

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig
from .common_heads import MultimodalForSequenceClassification
from .common_layers import masked_mean
from .common_lexicons import VADER, read_lexicon, strengths
from .common_processing import MultimodalProcessor
from .common_text import prepare_text

NUM_STRENGTHS = 2


@strict
class SentiBankSentiStrengthConfig(MultimodalConfig):
    """Config of SentiBank+SentiStrength: the fields of `MultimodalConfig`.

    The image encoder is a trained model that classifies images by ANP, for example `gated_fusion` with `branch=image`;
    with `freeze_image=True` its scores stay as they are. Of any other encoder, the mean over the regions is read.
    There is no text encoder.
    """

    model_type = "sentibank_sentistrength"

    @property
    def fused_size(self) -> int:
        """The number of scores of an image and of a text."""
        return self.image_hidden_size + NUM_STRENGTHS

    @property
    def card_notes(self) -> tuple[str, ...]:
        return (
            "The detectors of SentiBank and the lexicon of SentiStrength, which this system is named after, are not "
            "available. In their place, the model reads the scores or features of its image encoder, and the "
            "strengths of words by VADER or by the lexicon in `processor_config.json`.",
        )


class SentiBankSentiStrengthProcessor(MultimodalProcessor):
    """The processor of SentiBank+SentiStrength: by default 50 tokens of text and one image. It adds `lexicon_scores`.

    Args:
        lexicon: `"vader"`, which needs the package vaderSentiment, or a file with a word, a tab and its strength per
            line (`read_lexicon`). The words of the file are saved with the processor.
        The others are those of `MultimodalProcessor`.
    """

    further_inputs = ("lexicon_scores",)

    def __init__(
        self,
        image_processor,
        tokenizer,
        max_length: int | None = None,
        max_aspect_length: int | None = None,
        max_images: int | None = None,
        text_steps: list[str] | None = None,
        aspect_steps: list[str] | None = None,
        image_feature_size: int | None = None,
        lexicon: str | dict[str, float] = VADER,
    ):
        self.lexicon = read_lexicon(lexicon) if isinstance(lexicon, str) and lexicon != VADER else lexicon
        numbers = (max_length, max_aspect_length, max_images)
        super().__init__(image_processor, tokenizer, *numbers, text_steps, aspect_steps, image_feature_size)

    def encode_further(self, posts: Sequence[Mapping[str, str | None]]) -> dict[str, torch.Tensor]:
        """Return `lexicon_scores` (B, 2), the positive and the negative strength of each text after its steps."""
        texts = [prepare_text(post["text"], self.text_steps or []) for post in posts]
        return {"lexicon_scores": torch.tensor([strengths(text, self.lexicon) for text in texts])}


class SentiBankSentiStrengthPreTrainedModel(MultimodalPreTrainedModel):
    config_class = SentiBankSentiStrengthConfig
    base_model_prefix = "sentibank_sentistrength"
    input_modalities = ("image",)
    further_inputs = SentiBankSentiStrengthProcessor.further_inputs
    image_part = "class_scores"
    pools_regions = True


class SentiBankSentiStrengthModel(SentiBankSentiStrengthPreTrainedModel):
    """The scores of the image and of the text, without the regression."""

    _auto_class = "AutoModel"

    def __init__(self, config: SentiBankSentiStrengthConfig):
        super().__init__(config)
        self.add_encoders(config)
        self.post_init()

    def fuse(
        self,
        tokens: None,
        text_mask: torch.Tensor | None,
        regions: torch.Tensor,
        image_mask: torch.Tensor,
        lexicon_scores: torch.Tensor | None,
    ) -> MultimodalOutput:
        """Concatenate the scores of the image, the mean over all images, and of the text: `fused` (B, A + 2).

        The scores of what is absent are zero.

        Args:
            lexicon_scores: (B, 2) The strengths of the text.
        """
        image = masked_mean(regions.squeeze(2), image_mask)  # (B, A)
        text = image.new_zeros(len(image), NUM_STRENGTHS) if lexicon_scores is None else lexicon_scores.to(image.dtype)
        if text_mask is not None:
            text = text * text_mask.any(1, keepdim=True)
        return MultimodalOutput(fused=torch.cat([image, text], -1))


class SentiBankSentiStrengthForSequenceClassification(
    MultimodalForSequenceClassification, SentiBankSentiStrengthPreTrainedModel
):
    """The logistic regression, trained with cross-entropy."""

    _auto_class = "AutoModelForSequenceClassification"
    model_class = SentiBankSentiStrengthModel

    def add_head(self, config: SentiBankSentiStrengthConfig) -> None:
        self.classifier = nn.Linear(config.fused_size, config.num_labels)

    def classify(self, output: MultimodalOutput) -> None:
        output.logits = self.classifier(output.fused)

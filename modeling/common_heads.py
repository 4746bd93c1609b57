"""The classifier over the fused vector of an architecture, and its loss."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.utils import can_return_tuple

from .common_base import MultimodalOutput, MultimodalPreTrainedModel
from .common_config import MultimodalConfig


class MultimodalForSequenceClassification:
    """What every `...ForSequenceClassification` inherits, before the `...PreTrainedModel` of its architecture.

    The default head is dropout and one linear layer over `fused`. For another head override `add_head` and, if
    needed, `classify`; for another loss override `compute_loss`.

    Attributes:
        model_class: The base model of the architecture.
    """

    model_class: type[MultimodalPreTrainedModel]
    # The loss of a training run. Both are not in the config, because a later training run chooses its own.
    class_weights: list[float] | None = None
    label_smoothing: float = 0.0

    def __init__(self, config: MultimodalConfig):
        super().__init__(config)
        setattr(self, self.base_model_prefix, self.model_class(config))
        self.add_head(config)
        self.post_init()

    def add_head(self, config: MultimodalConfig) -> None:
        """Add the modules between `fused` and the logits: `dropout` and `classifier`."""
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.fused_size, config.num_labels)

    def classify(self, output: MultimodalOutput) -> None:
        """Set `output.logits` (B, C) from `output.fused` (B, D)."""
        output.logits = self.classifier(self.dropout(output.fused))

    def compute_loss(
        self,
        output: MultimodalOutput,
        labels: torch.Tensor,
        text_labels: torch.Tensor | None,
        image_labels: torch.Tensor | None,
    ) -> torch.Tensor:
        """Return the loss () for labels (B,), and for the labels (B,) of each modality if the corpus has them."""
        return self.classification_loss(output.logits, labels)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        aspect_input_ids: torch.Tensor | None = None,
        aspect_attention_mask: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        text_labels: torch.Tensor | None = None,
        image_labels: torch.Tensor | None = None,
        **kwargs,
    ) -> MultimodalOutput:
        """Classify posts; the inputs but the labels are those of the base model.

        Args:
            labels: (B,) The classes of the posts, for the loss.
            text_labels: (B,) The classes of the texts alone; a loss that does not use them ignores them.
            image_labels: (B,) The classes of the images alone, likewise.
        """
        further_features = [f"{name}_features" for name in self.config.further_image_encoders]
        output = self.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            aspect_input_ids=aspect_input_ids,
            aspect_attention_mask=aspect_attention_mask,
            pixel_values=pixel_values,
            image_mask=image_mask,
            text_features=text_features,
            image_features=image_features,
            return_dict=True,
            **{name: kwargs.get(name) for name in (*self.further_inputs, *further_features)},
        )
        self.classify(output)
        if labels is not None:
            output.loss = self.compute_loss(output, labels, text_labels, image_labels)
        return type(output)(**output)  # a tuple of it has the order of the fields: loss and logits come first

    def set_loss(self, class_weights: list[float] | None = None, label_smoothing: float = 0.0) -> None:
        """Weight the classes and smooth the labels in the cross-entropy. Other terms of the loss do not change.

        Args:
            class_weights: One number per class. The loss of a batch is the weighted mean over its posts.
            label_smoothing: The share of a label that is spread over all classes.

        Raises:
            ValueError: If there is not one weight per class, or if the loss of the model is not cross-entropy.
        """
        kind = getattr(self.config, "loss", "cross_entropy")
        if kind != "cross_entropy" and (class_weights is not None or label_smoothing):
            raise ValueError(
                f"class_weights and label_smoothing_factor apply to cross-entropy, but the model has loss={kind!r}."
            )
        if class_weights is not None and len(class_weights) != self.config.num_labels:
            names = ", ".join(self.config.id2label.values())
            raise ValueError(f"class_weights={class_weights}: give one number for each of {names}, or 'balanced'.")
        self.class_weights, self.label_smoothing = class_weights, label_smoothing

    def classification_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy () of logits (B, C) and labels (B,) with the settings of `set_loss`.

        Raises:
            ValueError: If a label is not a class. This is not checked on a GPU, where it would wait for the result,
                nor in a compiled graph.
        """
        if labels.device.type == "cpu" and not torch.compiler.is_compiling():
            out_of_range = labels[(labels < 0) | (labels >= logits.shape[1])]
            if len(out_of_range):
                values = out_of_range.unique().tolist()
                raise ValueError(f"labels hold {values}, but the classes are 0..{logits.shape[1] - 1}.")
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights, dtype=torch.float)
        return F.cross_entropy(logits.float(), labels, weights, label_smoothing=self.label_smoothing)

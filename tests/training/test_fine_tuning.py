"""Weights of the classes and smoothed labels."""

import pytest
import tiny
import torch
import torch.nn.functional as F

from mmsent.modeling import ARCHITECTURES
from mmsent.training.arguments import RunArguments
from mmsent.training.build import class_weights
from mmsent.training.trainer import MultimodalTrainer

LABELS = torch.tensor([0, 1, 2, 0, 0, 0])


@pytest.mark.parametrize(
    ("words", "labels", "weights"),
    [
        (None, [0, 1], None),
        (["1", "2.5"], [0, 1], [1.0, 2.5]),
        (["balanced"], [0, 0, 0, 1], [2 / 3, 2]),
        (["balanced"], [0, 0, 2, 2], [1.0, 1.0, 1.0]),  # no post has class 1
    ],
)
def test_weights_of_the_classes(words, labels, weights):
    assert class_weights(words, labels, max(labels) + 1) == (weights and pytest.approx(weights))


def test_weights_are_numbers_or_balanced():
    with pytest.raises(ValueError, match="class_weights=equal: give 'balanced', or one number per class"):
        RunArguments(class_weights=["equal"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_weights_and_smoothing(architecture, backbones):
    """The loss changes by the change of the cross-entropy: losses that an architecture adds stay the same."""
    processor, model = tiny.build(architecture, "own", backbones)
    batch = dict(processor(**tiny.posts())) | {"labels": LABELS}
    with torch.no_grad():
        output = model(**batch)
        model.set_loss([1.0, 2.0, 5.0], 0.2)
        loss = model(**batch).loss
    both = ["text_logits", "image_logits"]
    trained = {"late_fusion": both, "dnn_lr": ["logits", *both]}.get(architecture, ["logits"])
    scores, weights = [output[name] for name in trained], torch.tensor([1.0, 2.0, 5.0])
    plain = sum(F.cross_entropy(logits, LABELS) for logits in scores)
    weighted = sum(F.cross_entropy(logits, LABELS, weights, label_smoothing=0.2) for logits in scores)
    assert loss - output.loss == pytest.approx((weighted - plain).item(), abs=1e-5)
    assert abs(weighted - plain) > 1e-3


def test_the_model_computes_the_loss_with_smoothing(backbones, tmp_path):
    """Trainer's own smoothing hides the labels from the model, and with them MDSE's contrastive loss."""
    processor, model = tiny.build("mdse", "own", backbones)
    batch = dict(processor(**tiny.posts())) | {"labels": LABELS}
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none", label_smoothing_factor=0.1)
    trainer = MultimodalTrainer(model, args, eval_dataset=[])
    with torch.no_grad():
        loss, output = trainer.compute_loss(model.eval(), dict(batch), return_outputs=True)
    smoothed = F.cross_entropy(output.logits, LABELS, label_smoothing=0.1)
    assert loss == model(**batch).loss
    assert loss - smoothed > 0.1  # the contrastive loss


@pytest.mark.parametrize(("weights", "is_learned"), [(None, True), ([1.0, 1.0, 0.0], False)])
def test_a_class_without_weight_is_never_learned(make_trainer, weights, is_learned):
    trainer = make_trainer(encoders="own", class_weights=weights, num_train_epochs=12, learning_rate=1e-2)
    trainer.train()
    assert (2 in trainer.predict(trainer.eval_dataset).predictions.argmax(-1)) == is_learned


def test_weights_that_do_not_fit_the_model_are_refused(backbones):
    _, model = tiny.build("gated_fusion", "own", backbones)
    with pytest.raises(ValueError, match=r"class_weights=\[1.0, 2.0\]: give one number for each of negative, neutral"):
        model.set_loss([1.0, 2.0])
    label_embeddings = {"head": "label_embedding", "label_embedding": "learned", "loss": "rank_hinge"}
    _, model = tiny.build("gated_fusion", "own", backbones, **label_embeddings)
    with pytest.raises(ValueError, match="class_weights and .* cross-entropy.*rank_hinge"):
        model.set_loss([1.0] * 3)
    model.set_loss(None, 0.0)

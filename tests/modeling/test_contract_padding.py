"""The contract of every architecture, for the models that read padding up to a fixed length (`pad_to`)."""

import pytest
import test_contract as contract
import tiny
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from tiny import logits
from transformers import AutoModelForSequenceClassification, pipeline

from mmsent.explanation.attribution import explain_post
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_loading import check_pair
from mmsent.modeling.common_pipeline import TASK

LENGTH = 16
OFFICIAL = {"reading": "official", "pad_to": LENGTH}
MDSE = OFFICIAL | {"contrastive_fused": False}
VARIANTS = [
    ("mimn", "own", OFFICIAL),
    ("co_memory_aspect", "own", {"pad_to": LENGTH}),
    ("deep_fusion", "own", {"pad_to": LENGTH}),
    *((name, "own", OFFICIAL) for name in ("memnet", "ian", "ram")),
    ("atae_lstm", "own", OFFICIAL | {"hidden_size": 12}),
    ("mdse", "transformers", MDSE),
    pytest.param("mdse", "own", MDSE, marks=pytest.mark.slow),
    pytest.param("mdse", "timm", MDSE, marks=pytest.mark.slow),
    pytest.param("mimn", "transformers", OFFICIAL | {"image_memory": "images"}, marks=pytest.mark.slow),
]
every_variant = pytest.mark.parametrize(("architecture", "encoders", "fields"), VARIANTS)


@pytest.fixture
def built(architecture, encoders, fields, backbones):
    processor, model = tiny.build(architecture, encoders, backbones, **fields)
    processor.max_length = LENGTH
    return processor, model


@every_variant
def test_the_contract(built, model, batch, tmp_path):
    contract.test_logits_do_not_depend_on_the_batch(built)
    contract.test_missing_parts_and_padding(built)
    contract.test_bf16_autocast(model, batch)
    for weights in model(**batch).text_attentions or ():
        assert weights.shape == batch["input_ids"].shape
    model.save_pretrained(tmp_path)
    assert torch.equal(
        logits(AutoModelForSequenceClassification.from_pretrained(tmp_path), batch), logits(model, batch)
    )
    contract.test_cached_features_give_the_same_logits(model, batch)
    contract.test_a_batch_without_any_image_or_any_text_can_be_trained_on(built)
    for _ in range(3):  # dropout may hide a gradient once
        model(**batch, labels=torch.arange(6) % 3).loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@every_variant
def test_pipeline_and_explanation(built, architecture):
    processor, model = built
    post = {"text": "the day was good", "images": [tiny.picture(0), tiny.picture(1)], "aspect": "coffee"}
    scores = pipeline(TASK, model=model, processor=processor)(post, modality_scores=True)
    assert set(scores) == {"both", "text", "image"}
    explanation = explain_post(model, processor, **post, steps=4)
    assert all(value for piece, value in explanation.words if piece.strip())
    pictures = 2 * ("image" in tiny.reads(architecture))
    assert [heat.any() for heat in explanation.heat] == [True] * pictures
    for hop in explanation.attention:
        assert 0 < sum(hop.words) < 1
        assert hop.tokens == LENGTH
        side = int(model.config.image_regions**0.5)
        assert [grid.shape for grid in hop.regions or ()] == [(side, side)] * pictures


@pytest.mark.slow
@every_variant
def test_export_and_compile(model, batch):
    contract.test_export_and_compile(model, batch)


def test_texts_are_not_longer_than_the_fixed_length(backbones):
    processor, model = tiny.build("mimn", "own", backbones, **OFFICIAL)
    with pytest.raises(ValueError, match="max_length=320 is more than pad_to=16: lower it"):
        check_pair(model, processor)


@pytest.mark.parametrize(
    ("architecture", "fields", "message"),
    [
        ("mimn", {"pad_to": 320}, "pad_to=320 needs reading='official'"),
        ("mimn", OFFICIAL | {"pad_to": 0}, "pad_to=0"),
        ("mimn", {"initialization": "theirs"}, "initialization"),
        ("co_memory_aspect", {"pad_aspect_to": 0}, "pad_aspect_to=0"),
        ("memnet", {"pad_to": 320}, "pad_to=320 needs reading='official'"),
        ("memnet", {"hops": 0}, "hops=0"),
        ("atae_lstm", {"reading": "official", "hidden_size": 9}, "hidden_size=9: .* needs text_hidden_size=100"),
        ("co_memory_aspect", {"hops": 0}, "hops=0"),
        ("deep_fusion", {"pad_to": 150, "branch": "image"}, "pad_to=150 needs a branch that reads text"),
        ("deep_fusion", {"pad_to": 4}, "pad_to=4"),
        ("mdse", {"pad_to": 200}, "pad_to=200 needs reading='official'"),
        ("mdse", {"head": "deep"}, "head"),
    ],
)
def test_wrong_fields(architecture, fields, message):
    with pytest.raises((ValueError, StrictDataclassFieldValidationError), match=message):
        ARCHITECTURES[architecture].config(**fields)

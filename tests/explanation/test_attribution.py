"""Test the explanation of a post: attributions, removed parts, pieces of the text and attention."""

import sys
from copy import deepcopy

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsent.explanation.attribution import explain_post
from mmsent.explanation.pieces import split_text, visible_part
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_base import MultimodalOutput
from mmsent.modeling.common_text import prepare_text

TEXT = "the day was so good, not bad 😀"


def images(count: int = 2) -> list:
    return [tiny.picture(seed) for seed in range(count)]


def centred(model, batch, label: int) -> float:
    with torch.no_grad():
        logits = model(**batch).logits[0]
    return (logits[label] - logits.mean()).item()


def centred_at_baseline(model, processor, batch, label: int) -> float:
    """Return the score of the post with average words and grey pixels; the tokenizer's special tokens stay."""
    grey = batch | {"pixel_values": torch.zeros_like(batch["pixel_values"])}
    if model.base_model.text_encoder is None:
        return centred(model, grey, label)
    model, pad = deepcopy(model), processor.tokenizer.pad_token_id
    table = next(
        module for module in model.base_model.text_encoder.modules() if isinstance(module, torch.nn.Embedding)
    )
    with torch.no_grad():
        table.weight[pad] = table.weight.mean(0)
    ids = batch["input_ids"]
    special = processor.tokenizer.get_special_tokens_mask(ids[0].tolist(), already_has_special_tokens=True)
    unknown = ids == processor.tokenizer.unk_token_id  # The tokenizer counts it as special, but it stands for a word.
    unchanged = torch.tensor([special], dtype=torch.bool) & ~unknown
    return centred(model, grey | {"input_ids": ids.where(unchanged, pad)}, label)


@tiny.every_row()
def test_attributions_sum_to_the_difference_of_the_scores(architecture, encoders, backbones):
    processor, model = tiny.build(architecture, encoders, backbones)
    explanation = explain_post(model, processor, TEXT, images(), "good coffee", "negative", steps=8)
    batch = dict(processor(text=TEXT, images=images(), aspect="good coffee"))
    difference = centred(model, batch, 0) - centred_at_baseline(model, processor, batch, 0)
    total = sum(value for _, value in explanation.words) + sum(heat.sum() for heat in explanation.heat)
    assert total + explanation.gap == pytest.approx(difference, abs=1e-5)
    assert abs(explanation.gap) <= max(0.02 * abs(difference), 0.005)
    assert any(value for _, value in explanation.words) == ("text" in tiny.reads(architecture))
    assert all(np.abs(heat).max() > 0 for heat in explanation.heat)
    assert [heat.shape for heat in explanation.heat] == [processor.image_size] * 2 * (
        "image" in tiny.reads(architecture)
    )


@pytest.fixture
def linear(backbones):
    """Return a processor and a model whose logit of "positive" is a sum over tokens and pixels with fixed weights."""
    processor, model = tiny.build("gated_fusion", "own", backbones)

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.pixels = torch.zeros(64), torch.zeros(*processor.image_size)

        def forward(self, input_ids, attention_mask, pixel_values, image_mask, **kwargs):
            tokens, mask = model.encode_text(input_ids, attention_mask, None)  # (B, L, D)
            words = (tokens.sum(-1) * self.words[input_ids] * mask).sum(1)
            pixels = (pixel_values.sum(2) * self.pixels * image_mask[..., None, None]).sum((1, 2, 3))
            score = words + pixels  # (B,)
            return MultimodalOutput(logits=torch.stack([-score, torch.zeros_like(score), score], -1))

    weights = Linear()
    model.forward = weights.forward
    return processor, model, weights


def test_attributions_of_a_linear_model_are_exact(linear):
    processor, model, weights = linear
    torch.manual_seed(0)
    weights.words.normal_()
    weights.pixels.normal_(std=0.1)
    explanation = explain_post(model, processor, "good bad plain", images(), label="positive", steps=2)
    ids = processor(text="good bad plain")["input_ids"][0]
    table = model.base_model.text_encoder.backbone.weight
    expected = ((table[ids] - table.mean(0)).sum(-1) * weights.words[ids]).tolist()
    assert [value for word, value in explanation.words if word.strip()] == pytest.approx(expected, abs=1e-5)
    pixels = processor(images=images())["pixel_values"][0]  # (K, 3, H, W)
    for heat, image in zip(explanation.heat, pixels, strict=True):
        np.testing.assert_allclose(heat, image.sum(0) * weights.pixels, atol=1e-5)
    assert abs(explanation.gap) < 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_without_a_part_are_those_of_a_post_without_it(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones)
    explanation = explain_post(model, processor, TEXT, images(3), "coffee", steps=1)
    posts = {
        "text": (None, images(3)),
        "images": (TEXT, []),
        "image 1": (TEXT, images(3)[1:]),
        "image 2": (TEXT, images(3)[::2]),
        "image 3": (TEXT, images(3)[:2]),
    }
    posts = {part: post for part, post in posts.items() if part.startswith(ARCHITECTURES[architecture].modalities)}
    assert list(explanation.without) == list(posts)
    for part, (text, remaining) in posts.items():
        with torch.no_grad():
            scores = model(**processor(text=text, images=remaining, aspect="coffee")).logits[0].softmax(-1)
        assert list(explanation.without[part].values()) == pytest.approx(scores.tolist(), abs=1e-5), part
    assert list(explanation.scores) == ["negative", "neutral", "positive"]
    assert explanation.label == max(explanation.scores, key=explanation.scores.get)


@pytest.mark.parametrize("architecture", ["deep_fusion", "gated_fusion"])
def test_a_part_that_the_model_does_not_read_is_not_listed(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones, branch="text")
    explanation = explain_post(model, processor, TEXT, images(1))
    assert list(explanation.without) == ["text"]
    assert (explanation.heat, explanation.images) == ([], [])
    processor, model = tiny.build(architecture, "own", backbones, branch="image")
    explanation = explain_post(model, processor, TEXT, images(1))
    assert list(explanation.without) == ["images"]
    assert explanation.heat[0].any()
    assert explanation.words == []
    with pytest.raises(ValueError, match="no image, which is all that this model reads"):
        explain_post(model, processor, TEXT)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if len(tiny.reads(name)) == 2])
def test_a_post_without_text_or_images(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones)
    explanation = explain_post(model, processor, None, images(1), "coffee", steps=4)
    assert (explanation.words, list(explanation.without)) == ([], ["images"])
    assert all(hop.words is None for hop in explanation.attention)
    explanation = explain_post(model, processor, TEXT, [], "coffee", steps=4)
    assert (explanation.heat, explanation.images, list(explanation.without)) == ([], [], ["text"])
    assert all(hop.regions is None for hop in explanation.attention)
    with pytest.raises(ValueError, match="neither text nor an image"):
        explain_post(model, processor, " ", [], "coffee")


def test_the_aspect_has_no_attribution(backbones):
    # The same words in text and aspect go through the same embedding table.
    processor, model = tiny.build("mimn", "transformers", backbones)
    explanation = explain_post(model, processor, "good day", aspect="good day", steps=8)
    batch = dict(processor(text="good day", aspect="good day"))
    label = list(explanation.scores).index(explanation.label)
    difference = centred(model, batch, label) - centred_at_baseline(model, processor, batch, label)
    assert sum(value for _, value in explanation.words) + explanation.gap == pytest.approx(difference, abs=1e-5)


def test_the_model_is_left_unchanged(backbones):
    processor, model = tiny.build("comn", "own", backbones, freeze_image=True)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    first = explain_post(model, processor, TEXT, images())
    assert [module.training for module in model.modules()] == modes
    assert any(modes)
    assert not all(modes)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    again = explain_post(model, processor, TEXT, images())
    assert (again.words, again.scores, again.gap) == (first.words, first.scores, first.gap)
    with torch.no_grad():
        assert explain_post(model, processor, TEXT, images()).words == first.words


SIGNS = st.sampled_from(
    [*"aé中 \t\n.,'-#@", "good", "́", "😀", "👨‍👩‍👧", "👍🏽", "🇩🇪", "❤️", "\ud83d", "ا", "ﬁ", "\x00"]
)


@pytest.mark.parametrize("encoders", ["own", "transformers"])
def test_pieces_joined_are_the_text(encoders, backbones):
    processor, _ = tiny.build("comn", encoders, backbones)
    processor.max_length = 8

    @settings(max_examples=150, deadline=None)
    @given(st.lists(SIGNS | st.text(max_size=3), max_size=12).map("".join))
    def check(text):
        prepared = prepare_text(text)
        pieces, is_special = split_text(prepared, processor)
        assert "".join(piece for piece, _ in pieces) == prepared
        joiners = ("\u200d", "\ufe0f", "🏽")
        assert not any(piece.startswith(joiners) and prepared[0] != piece[0] for piece, _ in pieces)
        if prepared.strip():
            tokens = sorted(token for _, tokens in pieces for token in tokens)
            assert tokens == [token for token, added in enumerate(is_special) if not added]

    check()


def test_pieces(backbones):
    processor, model = tiny.build("comn", "own", backbones)
    processor.max_length = 2
    words = explain_post(model, processor, "good  👨‍👩‍👧 day").words
    # The family emoji has three tokens, of which the model reads the first.
    assert [word for word, _ in words] == ["good", "  ", "👨‍👩‍👧", " day"]
    assert [bool(value) for _, value in words] == [True, False, True, False]
    processor, model = tiny.build("comn", "own", backbones)
    processor.text_steps = ["strip_links"]
    explanation = explain_post(model, processor, "good https://a.b day")
    assert [word for word, _ in explanation.words] == ["good", " ", "day"]
    assert explanation.text == "good https://a.b day"


def test_attention_of_every_hop(backbones):
    processor, model = tiny.build("comn", "transformers", backbones, hops=3)
    explanation = explain_post(model, processor, "good  day", images())
    with torch.no_grad():
        output = model(**processor(text="good  day", images=images()))
    assert len(explanation.attention) == 3
    for hop, words, regions in zip(
        explanation.attention, output.text_attentions, output.image_attentions, strict=True
    ):
        _, good, day, _ = words[0].tolist()  # between [CLS] and [SEP]
        assert hop.words == [good, 0, day]
        np.testing.assert_array_equal(hop.regions, regions[0].view(2, 2, 2))


@pytest.mark.parametrize(
    ("architecture", "settings", "reads_words_and_regions"),
    [
        ("comn", {"hops": 2, "cross": "text2image"}, [(True, False), (True, True)]),
        ("comn", {"visual_memory": "channels"}, [(True, False), (True, False)]),
        ("deep_fusion", {}, []),
    ],
)
def test_the_modalities_of_a_hop(backbones, architecture, settings, reads_words_and_regions):
    """The hops of a modality with fewer hops are the last ones."""
    processor, model = tiny.build(architecture, "own", backbones, **settings)
    hops = explain_post(model, processor, "good day", images(1)).attention
    assert [(hop.words is not None, hop.regions is not None) for hop in hops] == reads_words_and_regions


def test_images_are_cropped_to_what_the_model_sees(backbones):
    processor, model = tiny.build("comn", "transformers", backbones)
    image = tiny.picture(0, 80, 40)
    assert explain_post(model, processor, "good", [image]).images[0].size == (80, 40)
    processor.image_processor.do_center_crop = True
    processor.image_processor.crop_size = {"height": 32, "width": 32}
    processor.image_processor.size = {"shortest_edge": 40}
    assert np.array_equal(np.asarray(visible_part(image, processor)), np.asarray(image.crop((24, 4, 56, 36))))


def test_without_captum(backbones, monkeypatch):
    processor, model = tiny.build("comn", "own", backbones)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"pip install 'mmsent\[explain\]'"):
        explain_post(model, processor, "good")


def test_scores_and_gradients_that_are_not_finite_are_errors(backbones, monkeypatch):
    processor, model = tiny.build("comn", "own", backbones)
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
    with pytest.raises(ValueError, match="scores that are not finite numbers"):
        explain_post(model, processor, TEXT, images(1))
    processor, model = tiny.build("comn", "own", backbones)
    gradients = lambda *_, **__: (torch.full((1,), torch.nan),)  # noqa: E731
    monkeypatch.setattr("captum.attr.IntegratedGradients.attribute", gradients)
    with pytest.raises(ValueError, match="gradients that are not finite numbers"):
        explain_post(model, processor, TEXT, images(1))


def test_an_aspect_is_required_if_the_model_was_trained_with_aspects(backbones):
    processor, model = tiny.build("mimn", "own", backbones, aspects=["coffee"])
    with pytest.raises(ValueError, match="needs the key 'aspect'"):
        explain_post(model, processor, TEXT)

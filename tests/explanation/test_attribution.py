import sys
from copy import deepcopy

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsent.explanation.attribution import _pieces, _seen, explain_post
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_base import MultimodalOutput
from mmsent.modeling.common_text import prepare_text

ROWS = [
    pytest.param(name, encoders, marks=[pytest.mark.slow] if encoders == "timm" else [])
    for name in ARCHITECTURES
    for encoders in tiny.ENCODERS
]
TEXT = "the day was so good, not bad 😀"


def images(count: int = 2) -> list:
    return [tiny.picture(seed) for seed in range(count)]


def centred(model, batch, label: int) -> float:
    with torch.no_grad():
        logits = model(**batch).logits[0]
    return (logits[label] - logits.mean()).item()


def centred_at_baseline(model, processor, batch, label: int) -> float:
    """The score of the post with an average word for words, grey for pixels; the tokenizer's special tokens stay."""
    model, pad = deepcopy(model), processor.tokenizer.pad_token_id
    table = next(
        module for module in model.base_model.text_encoder.modules() if isinstance(module, torch.nn.Embedding)
    )
    with torch.no_grad():
        table.weight[pad] = table.weight.mean(0)
    ids = batch["input_ids"]
    special = processor.tokenizer.get_special_tokens_mask(ids[0].tolist(), already_has_special_tokens=True)
    unknown = ids == processor.tokenizer.unk_token_id  # "special" to the tokenizer, a word to us
    kept = torch.tensor([special], dtype=torch.bool) & ~unknown
    grey = torch.zeros_like(batch["pixel_values"])
    return centred(model, batch | {"input_ids": ids.where(kept, pad), "pixel_values": grey}, label)


@pytest.mark.parametrize(("architecture", "encoders"), ROWS)
def test_attributions_sum_to_the_difference_of_the_scores(architecture, encoders, backbones):
    processor, model = tiny.build(architecture, encoders, backbones)
    found = explain_post(model, processor, TEXT, images(), "good coffee", "negative", steps=8)
    batch = dict(processor(text=TEXT, images=images(), aspect="good coffee"))
    difference = centred(model, batch, 0) - centred_at_baseline(model, processor, batch, 0)
    total = sum(value for _, value in found.words) + sum(heat.sum() for heat in found.heat)
    assert total + found.gap == pytest.approx(difference, abs=1e-5)
    assert abs(found.gap) <= max(0.02 * abs(difference), 0.005)
    assert any(value for _, value in found.words)
    assert all(np.abs(heat).max() > 0 for heat in found.heat)
    assert [heat.shape for heat in found.heat] == [processor.image_size] * 2


@pytest.fixture
def linear(backbones):
    """A processor and a model whose logit of "positive" is the sum over tokens and pixels, times weights that are set
    by hand."""
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


def test_of_a_linear_model_they_are_exact(linear):
    processor, model, weights = linear
    torch.manual_seed(0)
    weights.words.normal_()
    weights.pixels.normal_(std=0.1)
    found = explain_post(model, processor, "good bad plain", images(), label="positive", steps=2)
    ids = processor(text="good bad plain")["input_ids"][0]
    table = model.base_model.text_encoder.backbone.weight
    want = ((table[ids] - table.mean(0)).sum(-1) * weights.words[ids]).tolist()
    assert [value for word, value in found.words if word.strip()] == pytest.approx(want, abs=1e-5)
    pixels = processor(images=images())["pixel_values"][0]  # (K, 3, H, W)
    for heat, picture in zip(found.heat, pixels, strict=True):
        np.testing.assert_allclose(heat, picture.sum(0) * weights.pixels, atol=1e-5)
    assert abs(found.gap) < 1e-4


def test_the_word_and_the_patch_that_decide_have_it_all(linear):
    processor, model, weights = linear
    weights.words[processor.tokenizer.convert_tokens_to_ids("good")] = 1
    weights.pixels[8:12, 4:6] = 1
    found = explain_post(model, processor, "the good day", images(1), label="positive")
    assert [word for word, value in found.words if value] == ["good"]
    rows, columns = np.nonzero(found.heat[0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 11, 4, 5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_part_that_is_removed_was_never_there(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones)
    found = explain_post(model, processor, TEXT, images(3), "coffee", steps=1)
    assert list(found.without) == ["text", "images", "image 1", "image 2", "image 3"]
    kept = {
        "text": (None, images(3)),
        "images": (TEXT, []),
        "image 1": (TEXT, images(3)[1:]),
        "image 2": (TEXT, images(3)[::2]),
        "image 3": (TEXT, images(3)[:2]),
    }
    for part, (text, pictures) in kept.items():
        with torch.no_grad():
            scores = model(**processor(text=text, images=pictures, aspect="coffee")).logits[0].softmax(-1)
        assert list(found.without[part].values()) == pytest.approx(scores.tolist(), abs=1e-5), part
    assert list(found.scores) == ["negative", "neutral", "positive"]
    assert found.label == max(found.scores, key=found.scores.get)


@pytest.mark.parametrize("architecture", ["deep_fusion", "gated_fusion"])
def test_what_a_model_does_not_read_has_no_part(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones, branch="text")
    found = explain_post(model, processor, TEXT, images(1))
    assert list(found.without) == ["text"]
    assert not found.heat[0].any()
    processor, model = tiny.build(architecture, "own", backbones, branch="image")
    found = explain_post(model, processor, TEXT, images(1))
    assert list(found.without) == ["images"]
    assert found.heat[0].any()
    assert not any(value for _, value in found.words)
    assert explain_post(model, processor, TEXT).without == {}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_missing_parts(architecture, backbones):
    processor, model = tiny.build(architecture, "own", backbones)
    found = explain_post(model, processor, None, images(1), "coffee", steps=4)
    assert (found.words, list(found.without)) == ([], ["images"])
    assert all(hop.words is None for hop in found.attention)
    found = explain_post(model, processor, TEXT, [], "coffee", steps=4)
    assert (found.heat, found.images, list(found.without)) == ([], [], ["text"])
    assert all(hop.regions is None for hop in found.attention)
    with pytest.raises(ValueError, match="nothing to explain"):
        explain_post(model, processor, " ", [], "coffee")


def test_the_aspect_has_no_attribution(backbones):
    # The same word in text and aspect goes through the same table.
    processor, model = tiny.build("mimn", "transformers", backbones)
    found = explain_post(model, processor, "good day", aspect="good day", steps=8)
    batch = dict(processor(text="good day", aspect="good day"))
    label = list(found.scores).index(found.label)
    difference = centred(model, batch, label) - centred_at_baseline(model, processor, batch, label)
    assert sum(value for _, value in found.words) + found.gap == pytest.approx(difference, abs=1e-5)


def test_the_model_stays_as_it_was(backbones):
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
        shown = prepare_text(text)
        pieces, special = _pieces(shown, processor)
        assert "".join(piece for piece, _ in pieces) == shown
        assert not any(piece.startswith(("\u200d", "\ufe0f", "🏽")) and shown[0] != piece[0] for piece, _ in pieces)
        if shown.strip():
            tokens = sorted(token for _, tokens in pieces for token in tokens)
            assert tokens == [token for token, added in enumerate(special) if not added]

    check()


def test_pieces(backbones):
    processor, model = tiny.build("comn", "own", backbones)
    processor.max_length = 2
    words = explain_post(model, processor, "good  👨‍👩‍👧 day").words
    # a family of three tokens is one sign, of which the first token was read
    assert [word for word, _ in words] == ["good", "  ", "👨‍👩‍👧", " day"]
    assert [bool(value) for _, value in words] == [True, False, True, False]
    processor, model = tiny.build("comn", "own", backbones)
    processor.text_steps = ["strip_links"]
    found = explain_post(model, processor, "good https://a.b day")
    assert [word for word, _ in found.words] == ["good", " ", "day"]
    assert found.text == "good https://a.b day"


def test_attention_of_every_hop(backbones):
    processor, model = tiny.build("comn", "transformers", backbones, hops=3)
    found = explain_post(model, processor, "good  day", images())
    with torch.no_grad():
        output = model(**processor(text="good  day", images=images()))
    assert len(found.attention) == 3
    for hop, words, regions in zip(found.attention, output.text_attentions, output.image_attentions, strict=True):
        _, good, day, _ = words[0].tolist()  # between [CLS] and [SEP]
        assert hop.words == [good, 0, day]
        np.testing.assert_array_equal(hop.regions, regions[0].view(2, 2, 2))


def test_a_tower_with_one_hop_stands_in_the_last_row(backbones):
    processor, model = tiny.build("comn", "own", backbones, hops=2, cross="text2image")
    first, second = explain_post(model, processor, "good day", images(1)).attention
    assert first.words is not None
    assert first.regions is None
    assert second.regions is not None


def test_channels_have_no_place_in_the_picture(backbones):
    processor, model = tiny.build("comn", "own", backbones, visual_memory="channels")
    hops = explain_post(model, processor, "good day", images(1)).attention
    assert [hop.regions for hop in hops] == [None, None]
    assert all(hop.words is not None for hop in hops)


def test_models_without_attention_have_no_hops(backbones):
    processor, model = tiny.build("deep_fusion", "own", backbones)
    assert explain_post(model, processor, "good day", images(1)).attention == []


def test_the_picture_is_what_the_model_saw_of_it(backbones):
    processor, model = tiny.build("comn", "transformers", backbones)
    picture = tiny.picture(0, 80, 40)
    assert explain_post(model, processor, "good", [picture]).images[0].size == (80, 40)
    processor.image_processor.do_center_crop = True
    processor.image_processor.crop_size = {"height": 32, "width": 32}
    processor.image_processor.size = {"shortest_edge": 40}
    assert np.array_equal(np.asarray(_seen(picture, processor)), np.asarray(picture.crop((24, 4, 56, 36))))


def test_an_unknown_label(backbones):
    processor, model = tiny.build("comn", "own", backbones)
    with pytest.raises(ValueError, match="'happy': this model knows negative, neutral, positive"):
        explain_post(model, processor, "good", label="happy")


def test_without_captum(backbones, monkeypatch):
    processor, model = tiny.build("comn", "own", backbones)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"pip install 'mmsent\[explain\]'"):
        explain_post(model, processor, "good")

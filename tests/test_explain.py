import sys

import pytest
import tiny
import torch
from PIL import Image

import explain


def test_the_figure_shows_the_attentions_of_every_hop(backbones):
    processor, model = tiny.build("comn", "own", backbones, hops=3)
    text, images = "the red shirt", [tiny.picture(0), tiny.picture(1, 20, 50)]
    figure = explain.draw_attention(model, processor, text, images)
    batch = processor(text=text, images=images)
    with torch.no_grad():
        output = model(**batch)
    axes = figure.get_axes()
    assert len(axes) == 3 * (1 + 2)
    for hop in range(3):
        words, *pictures = axes[3 * hop : 3 * hop + 3]
        shown = [artist.get_text() for artist in words.texts]
        weights = output.text_attentions[hop][0].tolist()
        assert shown == [f"{word}\n{weight:.2f}" for word, weight in zip(text.split(), weights, strict=True)]
        regions = output.image_attentions[hop][0].view(2, 4, 4)
        for slot, axis in enumerate(pictures):
            picture, heat = axis.get_images()
            assert picture.get_array().shape[:2] == (images[slot].height, images[slot].width)
            torch.testing.assert_close(torch.tensor(heat.get_array().data), regions[slot])
    ranked = output.logits[0].softmax(-1).sort(descending=True)
    assert figure.get_suptitle().startswith(model.config.id2label[ranked.indices[0].item()])


def test_a_tower_with_one_hop_stands_in_the_last_row(backbones):
    processor, model = tiny.build("comn", "own", backbones, hops=2, cross="text2image")
    axes = explain.draw_attention(model, processor, "good day", [tiny.picture(0)]).get_axes()
    assert [len(axis.get_images()) for axis in axes] == [0, 1, 0, 2]


def test_missing_parts_can_be_drawn(backbones):
    processor, model = tiny.build("comn", "own", backbones)
    assert len(explain.draw_attention(model, processor, None, [tiny.picture(0)]).get_axes()) == 4
    assert len(explain.draw_attention(model, processor, "good day", []).get_axes()) == 2


def test_channels_have_no_place_in_the_picture(backbones):
    processor, model = tiny.build("comn", "own", backbones, visual_memory="channels")
    with pytest.raises(ValueError, match="channels"):
        explain.draw_attention(model, processor, "good day", [tiny.picture(0)])


def test_the_command_writes_a_picture(backbones, tmp_path, monkeypatch):
    processor, model = tiny.build("comn", "transformers", backbones)
    model.save_pretrained(tmp_path / "run")
    processor.save_pretrained(tmp_path / "run")
    tiny.picture(0).save(tmp_path / "a.png")
    argv = ["--model", str(tmp_path / "run"), "--text", "good day", "--image", str(tmp_path / "a.png")]
    monkeypatch.setattr(sys, "argv", ["explain.py", *argv, "--output", str(tmp_path / "out.png")])
    explain.main()
    with Image.open(tmp_path / "out.png") as figure:
        assert min(figure.size) > 300

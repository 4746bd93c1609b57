"""Further image encoders: where they come from, what they read, and how they are saved."""

import pytest
import tiny
import torch
from tiny import logits
from transformers import AutoModelForSequenceClassification

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_loading import check_pair


@pytest.fixture
def build(backbones):
    """Return a function that builds a processor and a MultiSentiNet in eval mode whose scene encoder is another."""

    def build(scene: str | None = "resnet", **config):
        further = {} if scene is None else {"scene": backbones.get(scene, scene)}
        return tiny.build("multi_sentinet", "transformers", backbones, further_image_encoders=further, **config)

    return build


def test_each_encoder_has_its_kind_and_its_sizes(build, backbones):
    model = build()[1]
    config, (image, scene) = model.config, model.encoders("image").values()
    assert [config.image_config.model_type, config.scene_config.model_type] == ["vit", "timm_wrapper"]
    pixels = torch.randn(2, 3, 32, 32)
    for name, encoder in model.encoders("image").items():
        regions, width = getattr(config, f"{name}_regions"), getattr(config, f"{name}_hidden_size")
        assert encoder(pixels).shape == (2, regions, width)
    assert (image is model.multi_sentinet.image_encoder, scene is model.multi_sentinet.scene_encoder) == (True, True)
    with pytest.raises(ValueError, match="a comn has no further image encoder 'scene': it has only one image encoder"):
        tiny.build("comn", "own", backbones, further_image_encoders={"scene": "small_cnn"})


def test_by_default_it_is_a_second_copy(build):
    model = build(scene=None)[1]
    image, scene = (encoder.state_dict() for encoder in model.encoders("image").values())
    assert all(torch.equal(image[name], weight) for name, weight in scene.items())
    assert not {weight.data_ptr() for weight in image.values()} & {weight.data_ptr() for weight in scene.values()}


def test_all_read_the_same_pixels_and_no_empty_slot(build):
    processor, model = build()
    read = []
    for encoder in model.encoders("image").values():
        encoder.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    batch = processor(**tiny.posts())
    logits(model, batch)
    expected = batch["pixel_values"][batch["image_mask"]]
    assert [torch.equal(pixels, expected) for pixels in read] == [True, True]


def test_it_is_saved_and_loaded(build, tmp_path):
    processor, model = build(freeze_image=True)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    batch = processor(**tiny.posts())
    assert torch.equal(logits(loaded, batch), logits(model, batch))
    assert loaded.config.scene_config.model_type == "timm_wrapper"
    modes = [encoder.backbone.training for encoder in loaded.train().encoders("image").values()]
    assert modes == [False, False]


def test_images_that_it_cannot_read_are_refused(backbones):
    row, further = ARCHITECTURES["multi_sentinet"], {"scene": backbones["vit"]}
    encoders = ("word_vectors", "small_cnn")
    processor = row.processor.from_backbones(*encoders, ["a"])
    model = row.classifier.from_backbones(
        *encoders, processor.tokenizer, (32, 32), text_hidden_size=12, further_image_encoders=further
    )
    model.config.image_regions = None
    with pytest.raises(ValueError, match="the scene encoder cannot read RGB images of 64 x 64 pixels"):
        check_pair(model.eval(), processor)

"""Deep Fusion against a slow reading of the paper, its branches, AlexNet's sizes."""

import numpy as np
import pytest
import tiny
import torch

from mmsent.modeling.common_cnns import AlexNet, AlexNetConfig, SmallCNNConfig
from mmsent.modeling.common_processing import MultimodalProcessor
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.modeling.deep_fusion import DeepFusionConfig, DeepFusionForSequenceClassification, TextCNN

SIZE, IMAGE_SIZE, REGIONS = 5, 3, 4


def build(**kwargs) -> DeepFusionForSequenceClassification:
    torch.manual_seed(0)
    config = DeepFusionConfig(
        text_config=WordVectorsConfig(vocab_size=9, hidden_size=SIZE),
        image_config=SmallCNNConfig(image_size=4, channels=(IMAGE_SIZE,)),
        **{"filters": 2, "fc_sizes": (7, 6), "standardize": False} | kwargs,
    )
    model = DeepFusionForSequenceClassification(config).eval()
    for parameter in model.parameters():  # biases too, which would start at zero
        torch.nn.init.normal_(parameter, std=0.7)
    return model


def batch() -> dict[str, torch.Tensor]:
    """Cached features: texts of 7, 4, 2 (shorter than every window) and no tokens; one, two, no and two images."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([7, 4, 2, 0])
    return {
        "text_features": torch.randn(4, 7, SIZE, generator=generator),
        "attention_mask": (torch.arange(7) < lengths.unsqueeze(1)).long(),
        "image_features": torch.randn(4, 2, REGIONS, IMAGE_SIZE, generator=generator),
        "image_mask": torch.tensor([[True, False], [True, True], [False, False], [True, True]]),
    }


def slow_text(model, words: list[np.ndarray]) -> list[float]:
    """Every window of every width, one filter at a time."""
    features = []
    for convolution in model.deep_fusion.text_cnn.convolutions:
        weight, bias = convolution.weight.numpy(), convolution.bias.numpy()  # (F, D, window)
        window = weight.shape[2]
        padded = words + [np.zeros(SIZE)] * (window - len(words)) if words else []
        values = [
            [
                np.tanh(bias[f] + sum(weight[f, :, place] @ padded[start + place] for place in range(window)))
                for f in range(len(bias))
            ]
            for start in range(len(padded) - window + 1)
        ]
        for pool in (np.max, np.mean, np.min):
            features += [pool([value[f] for value in values]) if values else 0.0 for f in range(len(bias))]
    return features


def slow_logits(model, words, images):
    flattened = [np.concatenate(list(image)) for image in images]
    image = np.mean(flattened, 0) if flattened else np.zeros(REGIONS * IMAGE_SIZE)
    text = slow_text(model, words) if model.config.branch != "image" else []
    hidden = np.array([*text, *(image if model.config.branch != "text" else [])])
    layers = [layer for layer in model.classifier if isinstance(layer, torch.nn.Linear)]
    for layer in layers[:-1]:
        hidden = np.maximum(layer.weight.numpy() @ hidden + layer.bias.numpy(), 0)
    return layers[-1].weight.numpy() @ hidden + layers[-1].bias.numpy()


@torch.no_grad()
@pytest.mark.parametrize("branch", ["both", "text", "image"])
def test_equations(branch):
    model, inputs = build(branch=branch), batch()
    got = model(**inputs).logits
    for row in range(4):
        length = int(inputs["attention_mask"][row].sum())
        words = [word.numpy() for word in inputs["text_features"][row, :length]]
        images = [image.numpy() for image in inputs["image_features"][row][inputs["image_mask"][row]]]
        np.testing.assert_allclose(got[row].numpy(), slow_logits(model, words, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("branch", "other"), [("text", "image"), ("image", "text")])
def test_a_branch_does_not_read_the_other_modality(branch, other):
    model, inputs = build(branch=branch), batch()
    changed = inputs | {f"{other}_features": inputs[f"{other}_features"] + 1}
    assert torch.equal(model(**inputs).logits, model(**changed).logits)
    assert getattr(model.deep_fusion, f"{other}_encoder") is None
    model(**inputs, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "encoder" not in name)


@pytest.mark.parametrize("branch", ["text", "image"])
def test_a_branch_is_saved_loaded_and_trained_on_whole_posts(branch, backbones, tmp_path):
    processor, model = tiny.build("deep_fusion", "transformers", backbones, branch=branch, freeze_text=True)
    inputs = processor(**tiny.posts())
    model.save_pretrained(tmp_path)
    loaded = DeepFusionForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    assert len(loaded.frozen_encoders()) == (branch == "text")
    names = {name.split(".")[1] for name, _ in loaded.named_parameters() if "encoder" in name}
    assert names == {f"{branch}_encoder"}


def test_sizes_of_the_paper():
    config = DeepFusionConfig(
        text_config=WordVectorsConfig(vocab_size=9, hidden_size=200), image_config=AlexNetConfig()
    )
    assert (config.text_size, config.image_size) == (900, 9216)
    assert sum(p.numel() for p in TextCNN(config).parameters()) == 100 * (200 * (3 + 4 + 5) + 3)
    with torch.no_grad():
        assert AlexNet(AlexNetConfig())(torch.zeros(1, 3, 224, 224)).shape == (1, 256, 6, 6)


@pytest.mark.parametrize("image_size", [64, 80, 128, 224, 227])
def test_alexnet_says_how_many_regions_it_gives(image_size):
    config = AlexNetConfig(image_size=image_size)
    with torch.no_grad():
        assert AlexNet(config)(torch.zeros(1, 3, image_size, image_size)).flatten(2).shape[2] == config.num_regions


def test_alexnet_by_name():
    processor = MultimodalProcessor.from_backbones("word_vectors", "alexnet", ["good day"], image_size=64)
    model = DeepFusionForSequenceClassification.from_backbones(
        "word_vectors", "alexnet", processor.tokenizer, processor.image_size, text_hidden_size=8
    )
    output = model.eval()(**processor(text="good day", images=tiny.picture(0)))
    assert output.fused.shape == (1, 900 + 256)
    assert output.logits.isfinite().all()

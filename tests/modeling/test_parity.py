"""The published networks with their weights copied in by the map of docs/parity.md, on batches of ragged posts."""

import numpy as np
import published_networks as published
import pytest
import torch
from by_hand import WORDS, small_config
from transformers import RobertaConfig, TimmWrapperConfig

from mmsent.modeling import ARCHITECTURES

WIDTH, IMAGE_SIZE, UNITS, CLASSES, HOPS = 5, 6, 3, 3, 3
TEXTS, ASPECTS, COUNTS = (6, 3, 1), (2, 4, 1), (1, 3, 2)  # the longest text and most images are those of pad_to


def aspect_batch() -> tuple:
    """Return ids of texts and aspects with padding 0, images and their counts, as the published loader makes them."""
    rng = np.random.default_rng(1)
    text, aspect = rng.integers(1, WORDS, (3, 8)), rng.integers(1, WORDS, (3, 4))
    images = rng.standard_normal((3, 3, IMAGE_SIZE)).astype(np.float32)
    for post in range(3):
        text[post, TEXTS[post] :], aspect[post, ASPECTS[post] :], images[post, COUNTS[post] :] = 0, 0, 0
    return text, aspect, images, np.array(COUNTS)


def aspect_inputs(text, aspect, images, counts) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.tensor(text),
        "attention_mask": torch.tensor(text != 0).long(),
        "aspect_input_ids": torch.tensor(aspect),
        "aspect_attention_mask": torch.tensor(aspect != 0).long(),
        "image_features": torch.tensor(images).unsqueeze(2),  # (B, K, 1, D)
        "image_mask": torch.arange(images.shape[1]) < torch.tensor(counts).unsqueeze(1),
    }


def mimn_shapes() -> dict[str, tuple[int, ...]]:
    size = 2 * UNITS
    shapes = {"embed.weight": (WORDS, WIDTH), "fc.weight": (CLASSES, 2 * size), "fc.bias": (CLASSES,)}
    for name, inputs in (("context", WIDTH), ("aspect", WIDTH), ("img", IMAGE_SIZE)):
        shapes |= published.lstm_shapes(f"bi_lstm_{name}", inputs, UNITS, 2)
    for name in ("text", "img", "text2img", "img2text"):
        shapes |= published.attention_shapes(f"attention_{name}", size)
    for name in ("text", "img"):
        for part in ("ih", "hh"):
            shapes |= {f"gru_cell_{name}.weight_{part}": (3 * size, size), f"gru_cell_{name}.bias_{part}": (3 * size,)}
    return shapes


def memnet2_shapes() -> dict[str, tuple[int, ...]]:
    shapes = {"embed.weight": (WORDS, WIDTH), "dense.weight": (CLASSES, 2 * WIDTH), "dense.bias": (CLASSES,)}
    shapes |= {"x_linear.weight": (WIDTH, WIDTH), "x_linear.bias": (WIDTH,)}
    return (
        shapes
        | published.lstm_shapes("bi_lstm_img", IMAGE_SIZE, WIDTH, 1)
        | published.attention_shapes("attention", WIDTH)
    )


SIZES = {"hops": HOPS, "image_memory": "images", "pad_to": max(TEXTS), "pad_images_to": max(COUNTS), "dropout": 0.0}
ASPECT_MODELS = {
    "mimn": ("MIMN", published.mimn, mimn_shapes, {"reading": "official", "hidden_size": UNITS}),
    "co_memory_aspect": ("Co-Memory+Aspect", published.memnet2, memnet2_shapes, {"scoring": "scalar"}),
}


def text_shapes(architecture: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a text baseline. The attention of `AELSTM` needs as many units as a word has numbers."""
    units = {"lstm": UNITS, "memnet": WIDTH, "atae_lstm": WIDTH, "ian": UNITS, "ram": 2 * UNITS}[architecture]
    read = 2 * units if architecture == "ian" else units
    shapes = {"embed.weight": (WORDS, WIDTH), "dense.weight": (CLASSES, read), "dense.bias": (CLASSES,)}
    if architecture in ("lstm", "atae_lstm"):
        shapes |= published.lstm_shapes("lstm", WIDTH * (1 + (architecture == "atae_lstm")), units, 1)
    if architecture == "memnet":
        shapes |= {"x_linear.weight": (WIDTH, WIDTH), "x_linear.bias": (WIDTH,)}
    if architecture in ("memnet", "atae_lstm", "ram"):
        shapes |= published.attention_shapes("attention", units)
    for name in ("context", "aspect"):
        if architecture == "ian":
            shapes |= published.lstm_shapes(f"lstm_{name}", WIDTH, units, 1)
            shapes |= published.attention_shapes(f"attention_{name}", units, bilinear=True)
        if architecture == "ram":
            shapes |= published.lstm_shapes(f"bi_lstm_{name}", WIDTH, UNITS, 2)
            part = {"context": "ih", "aspect": "hh"}[name]
            shapes |= {f"gru_cell.weight_{part}": (3 * units, units), f"gru_cell.bias_{part}": (3 * units,)}
    return shapes


PADDING = {"pad_to": max(TEXTS), "pad_aspect_to": max(ASPECTS)}
MEMNET = {"hops": HOPS, "scoring": "scalar", "location": "none"}
TEXT_MODELS = {
    "lstm": ("LSTM", published.lstm, {"hidden_size": UNITS, "dropout": 0.0}),
    "memnet": ("MemNet", published.memnet, PADDING | MEMNET),
    "atae_lstm": ("ATAE-LSTM", published.aelstm, PADDING | {"hidden_size": WIDTH}),
    "ian": ("IAN", published.ian, PADDING | {"hidden_size": UNITS}),
    "ram": ("RAM", published.ram, PADDING | {"hidden_size": UNITS, "hops": HOPS}),
}


@torch.no_grad()
@pytest.mark.parametrize("architecture", TEXT_MODELS)
def test_text_models(architecture):
    heading, reference, fields = TEXT_MODELS[architecture]
    model = ARCHITECTURES[architecture].classifier(small_config(architecture, WIDTH, 6, reading="official", **fields))
    weights = published.random_weights(text_shapes(architecture))
    published.copy_into(model.eval(), weights, heading, WIDTH)
    text, aspect, *images = aspect_batch()
    expected = reference(weights, text, aspect, HOPS)
    inputs = aspect_inputs(text, aspect, *images)
    np.testing.assert_allclose(model(**inputs).logits.numpy(), expected, rtol=0, atol=1e-6)
    for post in range(3):
        alone = {name: value[post : post + 1] for name, value in inputs.items()}
        np.testing.assert_allclose(model(**alone).logits[0].numpy(), expected[post], rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ASPECT_MODELS)
def test_aspect_models(architecture):
    heading, reference, shapes, fields = ASPECT_MODELS[architecture]
    model = ARCHITECTURES[architecture].classifier(small_config(architecture, WIDTH, IMAGE_SIZE, **SIZES, **fields))
    weights = published.random_weights(shapes())
    published.copy_into(model.eval(), weights, heading, WIDTH)
    batch = aspect_batch()
    expected = reference(weights, *batch, HOPS)
    inputs = aspect_inputs(*batch)
    np.testing.assert_allclose(model(**inputs).logits.numpy(), expected, rtol=0, atol=1e-6)
    for post in range(3):  # and alone, which no published class does
        alone = {name: value[post : post + 1] for name, value in inputs.items()}
        alone |= {name: alone[name][:, : TEXTS[post]] for name in ("input_ids", "attention_mask")}
        np.testing.assert_allclose(model(**alone).logits[0].numpy(), expected[post], rtol=0, atol=1e-6)
    model.config.pad_to = None
    assert np.abs(model(**inputs).logits.numpy() - expected).max() > 1e-3


# ---------------------------------------------------------------------------------------------------------------- MDSE

D, LONGEST, PATCHES = 64, 9, 4


def mdse_model(**fields):
    text = RobertaConfig(
        vocab_size=WORDS,
        hidden_size=D,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=20,
    )
    image = TimmWrapperConfig(
        architecture="test_vit",
        do_pooling=False,
        num_labels=1,
        model_args={"img_size": 32, "dynamic_img_size": False, "depth": 2},
        pretrained_cfg={"input_size": [3, 32, 32]},
    )
    encoders = {"text_config": text, "image_config": image, "image_hidden_size": D, "image_regions": PATCHES}
    fields = {"num_attention_heads": 4, "importance": "paper", "standardize": False, "contrastive": "none"} | fields
    config = ARCHITECTURES["mdse"].config(**encoders, reading="official", pad_to=LONGEST, **fields)
    torch.manual_seed(0)
    return ARCHITECTURES["mdse"].classifier(config).eval()


def mdse_shapes() -> dict[str, tuple[int, ...]]:
    shapes = {
        "text_image_linear.1": (D, 2 * D),
        "image_text_linear.1": (D, 2 * D),
        "output_classify.1": (D // 2, 2 * D),
    }
    shapes |= {"text_image_linear.3": (D, D), "image_text_linear.3": (D, D), "output_classify.3": (CLASSES, D // 2)}
    for name in ("text_image_encoder", "image_text_encoder", "text_single_encoder", "text_image_decoder"):
        block = f"fuse_model.{name}"
        shapes |= {f"{block}.multi_attn.out_proj": (D, D), f"{block}.multi_attn.in_proj": (3 * D, D)}
        shapes |= {f"{block}.{layer}": (D, D) for layer in ("linear1", "linear2")}
        shapes |= {f"{block}.{layer}": (D,) for layer in ("norm1", "norm2")}

    def dot(name: str) -> str:
        return "_" if name.endswith("in_proj") else "."

    biases = {f"{name}{dot(name)}bias": shape[:1] for name, shape in shapes.items()}
    return {f"{name}{dot(name)}weight": shape for name, shape in shapes.items()} | biases


def published_encoders(model) -> tuple[torch.nn.Module, torch.nn.Module, published.Weights]:
    """Return RoBERTa and torchvision's ViT with random weights, and these under their published names."""
    from torchvision.models.vision_transformer import VisionTransformer

    vit = VisionTransformer(image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=D, mlp_dim=3 * D)
    roberta = type(model.mdse.text_encoder.backbone)(model.config.text_config, add_pooling_layer=False)
    weights = {}
    for module, name in ((roberta, "text_model.model"), (vit, "image_model.vit")):
        for key, parameter in module.named_parameters():
            torch.nn.init.normal_(parameter, std=0.2)
            weights[f"fuse_model.{name}.{key}"] = parameter.detach().numpy()
    return roberta.eval(), vit.eval(), weights


@torch.no_grad()
def test_mdse():
    model = mdse_model()
    roberta, vit, of_encoders = published_encoders(model)
    weights = published.random_weights(mdse_shapes(), scale=0.1)
    published.copy_into(model, weights | of_encoders, "MDSE", D)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, WORDS, (3, LONGEST), generator=generator)
    mask = torch.arange(LONGEST) < torch.tensor([LONGEST, 4, 2]).unsqueeze(1)
    ids[~mask] = 0  # the published padding, which is <s> for RoBERTa
    pixels = torch.randn(3, 3, 32, 32, generator=generator)

    texts = roberta(ids, attention_mask=mask.long()).last_hidden_state
    patches = vit._process_input(pixels)
    images = vit.encoder(torch.cat([vit.class_token.expand(3, -1, -1), patches], 1))
    expected = published.mdse(weights, texts.double().numpy(), images.double().numpy(), heads=4)
    inputs = {"pixel_values": pixels.unsqueeze(1), "image_mask": torch.ones(3, 1).bool()}
    inputs |= {"input_ids": torch.where(mask, ids, 1), "attention_mask": mask.long()}  # of our tokenizer, <pad> is 1
    np.testing.assert_allclose(model(**inputs).logits.numpy(), expected, rtol=0, atol=1e-6)
    for post, length in enumerate((LONGEST, 4, 2)):
        alone = {name: value[post : post + 1] for name, value in inputs.items()}
        alone |= {name: alone[name][:, :length] for name in ("input_ids", "attention_mask")}
        np.testing.assert_allclose(model(**alone).logits[0].numpy(), expected[post], rtol=0, atol=1e-6)

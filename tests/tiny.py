"""Tiny backbones, models and posts: the real classes with small sizes and random weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    TimmWrapperConfig,
    TimmWrapperModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from mmsent.modeling import ARCHITECTURES

ROOT = Path(__file__).parents[1]
WORDS = "the a day was good bad plain coffee cafe red green blue shirt me is in at and not so".split()  # noqa: SIM905

# The encoders that each architecture is tested with: this project's own, and backbones of transformers and timm.
ENCODERS = {
    "own": ("word_vectors", "small_cnn"),
    "transformers": ("bert", "vit"),
    "timm": ("bert", "resnet"),
}


def reads(architecture: str) -> tuple[str, ...]:
    """Return the modalities that an architecture has encoders for."""
    return tuple(name for name in ("text", "image") if name in ARCHITECTURES[architecture].reads)


def kinds_of(architecture: str) -> list[str]:
    """Return the kinds of encoders that an architecture is tested with: for texts, the last two are the same."""
    return [kind for kind in ENCODERS if kind != "timm" or "image" in reads(architecture)]


# The fast tests combine every architecture with the project's own encoders, and those that read both modalities with
# one pretrained kind in turn.
_BOTH = [name for name in ARCHITECTURES if len(reads(name)) == 2]
FAST = {(name, "own") for name in ARCHITECTURES}
FAST |= {(name, ("transformers", "timm")[index % 2]) for index, name in enumerate(_BOTH)}


def every_row(*fast_kinds: str, reading: str | None = None):
    """Parametrise a test by `architecture` and `encoders`: by all combinations, of which most are slow.

    Args:
        fast_kinds: The kinds of encoders that are tested in the fast suite; by default those in `FAST`.
        reading: The modality that an architecture must have an encoder for, if the test is about this encoder.
    """
    names = [name for name in ARCHITECTURES if reading is None or reading in reads(name)]
    rows = [(architecture, kind) for architecture in names for kind in kinds_of(architecture)]
    fast = {row for row in FAST if not fast_kinds or row[1] in fast_kinds}
    params = [pytest.param(*row, marks=[] if row in fast else [pytest.mark.slow]) for row in rows]
    return pytest.mark.parametrize(("architecture", "encoders"), params)


def make_backbones(folder: Path) -> dict[str, str]:
    """Save tiny backbones, and return their folders by name."""
    torch.manual_seed(0)
    bert, vit, resnet = folder / "bert", folder / "vit", folder / "resnet"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    tokenizer = BertTokenizer(vocab=str(bert / "vocab.txt"))
    tokenizer.save_pretrained(bert)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)).save_pretrained(bert)
    ViTModel(ViTConfig(image_size=32, patch_size=16, **sizes)).save_pretrained(vit)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(vit)
    pretrained_cfg = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    config = TimmWrapperConfig(architecture="test_resnet", pretrained_cfg=pretrained_cfg, num_labels=1)
    TimmWrapperModel(config).save_pretrained(resnet)
    return {"bert": str(bert), "vit": str(vit), "resnet": str(resnet)}


def build(architecture: str, encoders: str, backbones: dict[str, str], **config):
    """Return a processor for up to three images and a classifier in eval mode, the same at every call."""
    row = ARCHITECTURES[architecture]
    text, image = (backbones.get(name, name) for name in ENCODERS[encoders])
    processor = row.processor.from_backbones(text, image, [" ".join(WORDS)], max_images=3)
    torch.manual_seed(0)
    if encoders == "own":
        config = {"text_hidden_size": 12, **config}
    model = row.classifier.from_backbones(text, image, processor.tokenizer, processor.image_size, **config)
    return processor, model.eval()


@torch.no_grad()
def logits(model, batch: dict) -> torch.Tensor:
    return model(**batch).logits


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Return an image of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def posts(count: int = 6) -> dict[str, list]:
    """Return posts of every kind: with or without text and aspect, with zero to three images."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 12, count)]
    images = [[picture(10 * post + slot) for slot in range(post % 4)] for post in range(count)]
    aspects = (["coffee", None, None, "good coffee", None, "the cafe"] * count)[:count]
    texts[1], texts[3], images[2] = None, "", images[2][:1]
    texts[4] = texts[4].replace(" ", "\n", 1)  # a sentence of its own
    return {"text": texts, "images": images, "aspect": aspects}

"""SentiBank+SentiStrength against its equations, its lexicon and its detectors."""

import numpy as np
import pytest
import tiny
import torch
from by_hand import IMAGES, check_logits, features, linear, random_model
from torch import nn
from transformers import AutoProcessor, pipeline

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_lexicons import read_lexicon, strengths
from mmsent.modeling.common_pipeline import TASK
from mmsent.modeling.sentibank_sentistrength import SentiBankSentiStrengthConfig

NAME = "sentibank_sentistrength"


def test_equations():
    """The posts have one, two, no and two images; the third post has a text, and the last has none."""
    model = random_model(NAME, 5, 3, 0.7)
    inputs = features(5, 3, [[1, 1], [1, 0], [1, 1], [0, 0]], [[1, 0], [1, 1], [0, 0], [1, 1]])
    inputs["lexicon_scores"] = torch.tensor([[3.0, -1.0], [1.0, -1.0], [2.5, -4.0], [5.0, -5.0]])
    text = [*inputs["lexicon_scores"][:3].numpy(), np.zeros(2)]
    numbers = iter(text)

    def slow_logits(model, images):
        image = np.mean(images, (0, 1)) if len(images) else np.zeros(3)
        return linear(model.classifier, np.concatenate([image, next(numbers)]))

    check_logits(model, slow_logits, inputs, IMAGES, rtol=1e-5, atol=1e-5)
    without = {name: value for name, value in inputs.items() if name != "lexicon_scores"}
    hidden = inputs | {"attention_mask": torch.zeros(4, 2, dtype=torch.long)}
    assert torch.equal(model(**without).logits, model(**hidden).logits)


# ------------------------------------------------------------------------------------------------------- the lexicon


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Good\t3\nlov*\t4\nlovely\t2.5\nbad\t-4\tits column is not read\n\n:)\t2\n")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GOOD day", (3, -1)),
        ("so bad, good", (3, -4)),
        ("loved it", (4, -1)),
        ("lovely :)", (2.5, -1)),
        ("nothing", (1, -1)),
        ("", (1, -1)),
    ],
)
def test_strengths_by_a_file(lexicon, text, expected):
    assert strengths(text, read_lexicon(lexicon)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\t3\nbad -4\n", r"words.txt, line 2: 'bad -4' is not a word, a tab and a strength from -5 to 5"),
        (b"good\tmuch\n", "line 1: .* is not a word, a tab"),
        (b"good\t6\n", "line 1: .* is not a word, a tab"),
        (b"good\tnan\n", "line 1: .* is not a word, a tab"),
        (b"*\t3\n", "line 1: .* is not a word, a tab"),
        (b"good\t3\n\nGood\t2\n", "line 3: an earlier line has the word good too"),
        (b"\n", "words.txt has no words"),
        (b"\xff\xfe", "words.txt is not a text in UTF-8"),
        (None, "lexicon=.*words.txt: give 'vader' or a text file"),
    ],
)
def test_a_wrong_lexicon_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_lexicon(path)


def test_strengths_by_vader():
    """VADER's numbers are one step further from zero, and its rules count."""
    pytest.importorskip("vaderSentiment")
    assert strengths("It was on Friday.", "vader") == (1, -1)
    assert strengths("a good day", "vader") == pytest.approx((1 + 1.9, -1))
    positive, negative = strengths("not a good day", "vader")
    assert (positive, negative) == pytest.approx((1, -1 - 0.74 * 1.9))
    assert strengths("VERY VERY good, the day is great!!!", "vader")[0] > strengths("good", "vader")[0]


def test_a_saved_processor_has_its_lexicon(lexicon, tmp_path):
    processor = ARCHITECTURES[NAME].processor.from_backbones("word_vectors", "small_cnn", ["a"], lexicon=str(lexicon))
    processor.save_pretrained(tmp_path / "saved")
    lexicon.unlink()
    for reader in (processor, AutoProcessor.from_pretrained(tmp_path / "saved")):
        batch = reader(text=["a good day", None, "bad"])
        assert batch["lexicon_scores"].tolist() == [[3, -1], [1, -1], [1, -4]]
    assert str(tmp_path) not in (tmp_path / "saved" / "processor_config.json").read_text()


# ----------------------------------------------------------------------------------------------------- the detectors


@pytest.fixture
def detectors(backbones, tmp_path) -> str:
    """A classifier of images with five classes, whose statistics and temperature are not the initial ones."""
    processor, model = tiny.build(
        "gated_fusion", "own", backbones, branch="image", num_labels=5, score_temperature=1.7, image_hidden=[9]
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    for part in (processor, model):
        part.save_pretrained(tmp_path / "detectors")
    return str(tmp_path / "detectors")


def test_the_detectors_give_the_scores_of_the_trained_model(detectors, tmp_path):
    row, images = ARCHITECTURES[NAME], [tiny.picture(seed) for seed in range(3)]
    processor = row.processor.from_backbones("word_vectors", detectors, ["a"])
    model = row.classifier.from_backbones("word_vectors", detectors, processor.tokenizer, processor.image_size)
    assert (model.config.image_hidden_size, model.config.image_regions) == (5, 1)
    classify = pipeline(TASK, model=detectors)
    expected = [{row["label"]: row["score"] for row in classify({"image": image})} for image in images]
    expected = torch.tensor([[scores[f"LABEL_{index}"] for index in range(5)] for scores in expected])
    batch = processor(images=[[image] for image in images])
    model.eval().image_norm = model.base_model.image_norm = None
    torch.testing.assert_close(model(**batch).fused[:, :5], expected, rtol=0, atol=1e-5)
    model.save_pretrained(tmp_path / "saved")


def test_other_models_have_no_scores_of_an_image(backbones, tmp_path):
    _, model = tiny.build("comn", "own", backbones)
    model.save_pretrained(tmp_path / "comn")
    processor = ARCHITECTURES[NAME].processor.from_backbones("word_vectors", "small_cnn", ["a"])
    with pytest.raises(ValueError, match="the scores of a comn cannot be read as those of an image: train a gated_fu"):
        ARCHITECTURES[NAME].classifier.from_backbones("word_vectors", str(tmp_path / "comn"), processor.tokenizer)


def test_the_card_says_what_stands_in():
    assert "SentiStrength" in SentiBankSentiStrengthConfig().card_notes[0]

"""Folders of models whose files are damaged: one ValueError or OSError that names the folder or the file."""

import hashlib
import json
import re
import shutil

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline

from mmsent.modeling.common_loading import load_model, load_processor
from mmsent.modeling.common_pipeline import TASK, ImageTextSentimentPipeline

WEIGHTS, CONFIG, PROCESSOR, TOKENIZER = "model.safetensors", "config.json", "processor_config.json", "tokenizer.json"


@pytest.fixture(scope="module")
def saved(backbones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def run_folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def load(folder):
    return ImageTextSentimentPipeline(load_model(folder), processor=load_processor(folder))


def change_field(file, name, value):
    """Give an entry of a JSON file another value."""
    *outer, last = name.split(".")
    entries = inner = json.loads(file.read_text())
    for key in outer:
        inner = inner[key]
    inner[last] = value
    file.write_text(json.dumps(entries))


def change_weights(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


@pytest.mark.parametrize("file", [CONFIG, PROCESSOR, TOKENIZER, "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"3", b"{", b"[" * 60_000, b'"\xff"'], ids=repr)
def test_json_that_is_damaged(run_folder, file, content):
    (run_folder / file).write_bytes(content)
    with pytest.raises((ValueError, OSError), match=re.escape(str(run_folder))):
        load(run_folder)


@pytest.mark.parametrize("file", [CONFIG, PROCESSOR, TOKENIZER, WEIGHTS])
def test_files_that_are_missing(run_folder, file):
    (run_folder / file).unlink()
    with pytest.raises((ValueError, OSError), match=re.escape(str(run_folder))):
        load(run_folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model_type", "xyz", "custom code"),
        ("model_type", "bert", "run holds a model of the type bert"),
        ("id2label", {"0": "a", "2": "b", "3": "c"}, "id2label=.*: give each class, counted from 0, a name"),
        ("id2label", {"0": "a", "1": "a", "2": "c"}, "id2label=.*: two classes have one name"),
        ("id2label", {"0": 1, "1": None, "2": []}, "id2label=.*: give each class"),
        ("id2label", {"x": "a", "y": "b", "z": "c"}, "id2label=.*: give each class"),
        ("id2label", ["a", "b", "c"], "id2label=.*: give each class"),
        ("id2label", {}, "id2label=.*: give each class"),
        ("modalities", "all", "modalities"),
        ("dtype", "float99", "float99"),
        ("text_config", [], "run"),
        ("text_config", [1], "text_config"),
        ("text_config.model_type", "none", "none"),
        ("text_config.vocab_size", 10**12, "run"),
        ("text_config.vocab_size", -1, "run"),
        ("text_config.hidden_size", 10**9, "run"),
        ("text_config.pad_token_id", 10**6, "run"),
        ("image_config", {"model_type": "nope"}, "nope"),
    ],
)
def test_a_config_that_is_wrong(run_folder, name, value, message):
    change_field(run_folder / CONFIG, name, value)
    with pytest.raises((ValueError, OSError), match=f"(?s)(?=.*run)(?=.*({message}))"):
        load(run_folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(
            (name, value, f"{name}={value!r}: give a whole number that is 1 or more")
            for name in ("max_length", "max_aspect_length", "max_images")
            for value in (0, -1, "x", 2.5, True)
        ),
        ("text_steps", ["nothing"], "nothing"),
        ("text_steps", [["strip_links"]], "'strip_links'"),
        ("text_steps", 3, "text_steps=3: pass a list"),
        ("image_processor.size", {"height": 10**6, "width": 10**6}, "images have at most 50,000,000 pixels"),
        ("image_processor.size", {"height": 0, "width": 0}, "give a whole number"),
        ("image_processor.size", "x", "size"),
        ("image_processor.rescale_factor", "x", "Processor"),
        ("image_processor.image_std", [0, 0, 0], "not finite|zero"),
    ],
)
def test_a_processor_that_is_wrong(run_folder, name, value, message):
    change_field(run_folder / PROCESSOR, name, value)
    with pytest.raises(ValueError, match=f"(?s)run.*({message})"):
        load(run_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.update({"classifier.bias": torch.ones(5)}), "classifier.bias"),
        (lambda weights: weights.update({"x": torch.ones(1)}), "unexpected keys x"),
        (
            lambda weights: weights.update({"classifier.weight": weights["classifier.weight"].long()}),
            "classifier.weight have the type I64",
        ),
    ],
)
def test_weights_of_another_shape_or_kind(run_folder, change, message):
    change_weights(run_folder, change)
    with pytest.raises(ValueError, match=f"run.*{message}"):
        load(run_folder)


@pytest.mark.parametrize("size", [0, 5, -100])
def test_weights_that_are_cut_off(run_folder, size):
    (run_folder / WEIGHTS).write_bytes((run_folder / WEIGHTS).read_bytes()[:size])
    with pytest.raises(ValueError, match=f"run/{WEIGHTS} is damaged"):
        load(run_folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_weights_of_another_precision_are_loaded(run_folder, dtype):
    change_weights(
        run_folder, lambda weights: weights.update({"classifier.weight": weights["classifier.weight"].to(dtype)})
    )
    assert load(run_folder)({"text": "good day"})[0]["score"] > 0


def test_an_adapter_that_is_damaged(run_folder):
    (run_folder / "adapter_config.json").write_text("[]")
    with pytest.raises(ValueError, match=re.escape(str(run_folder))):
        load(run_folder)


def test_weights_that_were_changed_after_the_run(run_folder):
    digest = hashlib.sha256((run_folder / WEIGHTS).read_bytes()).hexdigest()
    (run_folder / "run.json").write_text(json.dumps({"weights_sha256": digest}))
    load(run_folder)
    change_weights(run_folder, lambda weights: weights["classifier.bias"].add_(1))
    with pytest.raises(ValueError, match=r"run/model.safetensors was changed after the run: .* delete .*run.json if"):
        load(run_folder)
    (run_folder / "run.json").write_text("{}")  # of a run that has no such entry
    load(run_folder)
    (run_folder / "run.json").write_text("[3]")
    with pytest.raises(ValueError, match=r"run/run.json cannot be loaded"):
        load(run_folder)


def test_the_pipeline_of_transformers_refuses_names_of_labels_too(run_folder):
    change_field(run_folder / CONFIG, "id2label", {"0": "a", "1": "a", "2": "c"})
    with pytest.raises(ValueError, match="two classes have one name"):
        pipeline(TASK, model=str(run_folder))


def test_labels_are_in_the_order_of_the_logits(run_folder):
    labels = json.loads((run_folder / CONFIG).read_text())["id2label"]
    change_field(run_folder / CONFIG, "id2label", dict(reversed(labels.items())))
    assert load_model(run_folder).config.id2label == {int(index): name for index, name in labels.items()}

"""Names that look like paths, and checks of the weights of a loaded model."""

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, pipeline

from mmsent.modeling.common_encoders import load_backbone
from mmsent.modeling.common_loading import check_pair, check_source, check_weights, load_model, load_processor
from mmsent.modeling.common_pipeline import TASK
from mmsent.modeling.comn import CoMNProcessor


@pytest.fixture
def run_folder(backbones, tmp_path):
    processor, model = tiny.build("comn", "own", backbones)
    model.save_pretrained(tmp_path / "run")
    processor.save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def test_a_saved_model_is_loaded(run_folder, backbones):
    processor, model = tiny.build("comn", "own", backbones)
    batch = load_processor(run_folder)(**tiny.posts())
    assert torch.equal(tiny.logits(load_model(run_folder), batch), tiny.logits(model, processor(**tiny.posts())))


CHANGES = {
    "missing keys classifier.bias": lambda weights: weights.pop("classifier.bias"),
    "unexpected keys extra.weight": lambda weights: weights.update({"extra.weight": torch.ones(2)}),
    "missing keys classifier.bias, .*, comn.* and": lambda weights: [
        weights.update({f"module.{key}": weights.pop(key)}) for key in list(weights)
    ],
    "classifier.bias hold NaN": lambda weights: weights["classifier.bias"].fill_(torch.nan),
    "classifier.weight hold NaN or infinity": lambda weights: weights["classifier.weight"][0].fill_(torch.inf),
}


@pytest.mark.parametrize("message", CHANGES)
def test_weights_that_do_not_fit(run_folder, message):
    file = run_folder / "model.safetensors"
    weights = load_file(file)
    CHANGES[message](weights)
    save_file(weights, file, metadata={"format": "pt"})
    for load in (load_model, lambda folder: pipeline(TASK, model=str(folder))):
        with pytest.raises(ValueError, match=f"run: the weights.* {message}"):
            load(run_folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(run_folder, output_loading_info=True)
    if any(info.values()):
        check_weights(model.train())  # who trains the model after loading it has filled the gaps


@pytest.mark.parametrize("name", ["./typo", "../typo", "/typo", "~/typo", "runs/a/typo", "runs/typo"])
def test_a_path_that_does_not_exist_is_never_asked_of_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr("huggingface_hub.file_download.hf_hub_download", pytest.fail)
    for load in (
        check_source,
        load_model,
        load_processor,
        lambda name: load_backbone(name, "text"),
        lambda name: CoMNProcessor.from_backbones(name, "small_cnn"),
        lambda name: CoMNProcessor.from_backbones("word_vectors", name, ["good"]),
    ):
        with pytest.raises(FileNotFoundError, match=f"There is no folder {name}"):
            load(name)


def test_ids_of_the_hub_and_folders_pass(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bert-base-uncased", "google/vit-base-patch16-224", tmp_path, str(tmp_path)):
        check_source(name)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is not a folder"):
        check_source("file")


def test_a_tokenizer_of_another_model_is_refused(run_folder):
    tokenizer = load_processor(run_folder).tokenizer
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(run_folder)
    message = (
        f"run: the CoMNForSequenceClassification and its CoMNProcessor do not fit: .* ids up to {len(tokenizer) - 1}"
    )
    with pytest.raises(ValueError, match=message):
        pipeline(TASK, model=str(run_folder))


@pytest.mark.parametrize(
    ("encoders", "size", "message"),
    [
        (
            "own",
            {"height": 32, "width": 32},
            "images of 32 x 32 pixels have 4 regions, and the image encoder was built for 16",
        ),
        ("transformers", {"height": 64, "width": 32}, "cannot read RGB images of 64 x 32 pixels"),
    ],
)
def test_images_of_another_size_are_refused(backbones, encoders, size, message):
    processor, model = tiny.build("comn", encoders, backbones)
    processor.image_processor.size = size
    with pytest.raises(
        ValueError, match=f"CoMNForSequenceClassification and its CoMNProcessor do not fit: .*{message}"
    ):
        check_pair(model, processor)


def test_models_and_processors_of_other_projects_are_refused(backbones):
    processor, model = tiny.build("comn", "own", backbones)
    for pair in ((model, processor.tokenizer), (torch.nn.Linear(1, 1), processor)):
        pair[0].config = model.config
        with pytest.raises(ValueError, match="do not fit: load a model that mmsent has trained"):
            check_pair(*pair)

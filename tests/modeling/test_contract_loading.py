"""The contract of every architecture, part 1: a saved model is loaded through the Auto classes and as a pipeline,
also by a process that does not have the package, and gives the same logits."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor, pipeline

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_pipeline import TASK

LOADER = """
import json, sys
folders, trust = json.loads(sys.argv[1])
if trust:  # as on a machine where this project is not installed
    class Hidden:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "mmsent":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    sys.meta_path.insert(0, Hidden())
else:
    import mmsent
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor, pipeline
torch.set_grad_enabled(False)  # the last bits of an LSTM differ with gradients
for folder in folders:
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=trust)
    base = AutoModel.from_pretrained(folder, trust_remote_code=trust)
    posts = json.load(open(folder + "/posts.json"))
    batch = AutoProcessor.from_pretrained(folder, trust_remote_code=trust)(**posts)
    save_file({"logits": classifier(**batch).logits, "fused": base(**batch).fused}, folder + f"/{trust}.safetensors")
    results = []
    for path in (folder, folder + "/again"):  # a loaded pipeline saves the same
        classify = pipeline("image-text-sentiment", model=path, trust_remote_code=trust)
        results.append(classify({name: values[-1] for name, values in posts.items()}, modality_scores=True))
        classify.save_pretrained(folder + "/again")
    json.dump(results, open(folder + f"/{trust}.json", "w"))
"""


@pytest.fixture(scope="module")
def saved(request, backbones, tmp_path_factory):
    """Save a model per selected row, and delete its backbones. Then load all models in two new processes, of which one
    imports the package, and the other cannot import it and trusts the code in the folders."""
    root = tmp_path_factory.mktemp("saved")
    own_backbones = {name: shutil.copytree(path, root / name) for name, path in backbones.items()}
    posts, folders = tiny.posts(), {}
    for post, images in enumerate(posts["images"]):
        paths = [root / f"{post}-{slot}.png" for slot in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            image.save(path)
        posts["images"][post] = [str(path) for path in paths]
    tests = [item for item in request.session.items if item.path == request.path and "saved" in item.fixturenames]
    rows = {(item.callspec.params["architecture"], item.callspec.params["encoders"]) for item in tests}
    for architecture, encoders in rows:
        processor, model = tiny.build(architecture, encoders, {k: str(v) for k, v in own_backbones.items()})
        folder = folders[architecture, encoders] = root / f"{architecture}-{encoders}"
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        (folder / "posts.json").write_text(json.dumps(posts))
        save_file({"logits": tiny.logits(model, processor(**posts))}, folder / "before.safetensors")
        result = pipeline(TASK, model=model, processor=processor)(
            {name: values[-1] for name, values in posts.items()}, modality_scores=True
        )
        (folder / "before.json").write_text(json.dumps(result))
    for path in own_backbones.values():
        shutil.rmtree(path)
    for trust in (False, True):
        argument = json.dumps([[str(folder) for folder in folders.values()], trust])
        environment = os.environ | {"PYTHONPATH": ""}
        subprocess.run([sys.executable, "-c", LOADER, argument], check=True, cwd=root, env=environment)
    return folders


def by_part_and_label(result: dict[str, list]) -> dict[tuple[str, str], float]:
    return {(part, entry["label"]): entry["score"] for part, entries in result.items() for entry in entries or ()}


@tiny.every_row()
@pytest.mark.parametrize("trust", [False, True], ids=["package", "trust_remote_code"])
def test_it_loads_in_a_new_process(architecture, encoders, saved, trust):
    folder = saved[architecture, encoders]
    before, after = load_file(folder / "before.safetensors"), load_file(folder / f"{trust}.safetensors")
    assert torch.equal(after["logits"], before["logits"])
    assert after["fused"].shape[0] == len(before["logits"])
    expected = by_part_and_label(json.loads((folder / "before.json").read_text()))
    for result in json.loads((folder / f"{trust}.json").read_text()):
        assert by_part_and_label(result) == pytest.approx(expected, abs=1e-6)


@tiny.every_row()
def test_the_auto_classes_load_the_right_classes(architecture, encoders, saved):
    folder, row = saved[architecture, encoders], ARCHITECTURES[architecture]
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    base, base_info = AutoModel.from_pretrained(folder, output_loading_info=True)
    processor = AutoProcessor.from_pretrained(folder)
    assert (type(model), type(base), type(processor)) == (row.classifier, row.model, row.processor)
    assert not any(info.values()), info
    assert not any(base_info.values()), base_info
    assert model.config.model_type == architecture
    assert model.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert (model.reads_aspect, model.input_modalities) == ("aspect" in row.reads, tiny.reads(architecture))
    assert model.modalities == row.modalities


@tiny.every_row()
def test_the_folder_has_safetensors_only_and_no_path(architecture, encoders, saved):
    folder = saved[architecture, encoders]
    assert not [path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    config = (folder / "config.json").read_text() + (folder / "processor_config.json").read_text()
    assert str(folder.parent) not in config

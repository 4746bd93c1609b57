"""The fields of the config that `model_kwargs` sets, and trained models that a run starts from."""

import pytest
import tiny
from safetensors.torch import load_file, save_file

from mmsent.modeling import ARCHITECTURES
from mmsent.training.arguments import ModelArguments
from mmsent.training.build import build, load_trained, model_fields, planned_config


@pytest.mark.parametrize(
    ("architecture", "word", "value"),
    [
        ("comn", "dropout=0", 0.0),
        ("comn", "hops=3", 3),
        ("mdse", "temperature=1", 1.0),
        ("gated_fusion", "image_dropout=[0]", [0.0]),
    ],
)
def test_a_whole_number_is_a_float_where_the_field_is(architecture, word, value):
    arguments = ModelArguments(architecture=architecture, model_kwargs=[word])
    fields = model_fields(arguments)
    assert repr(fields) == repr({word.partition("=")[0]: value})
    planned_config(arguments)


@pytest.fixture
def trained(backbones, tmp_path):
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(tmp_path / "trained")
    return tmp_path / "trained"


def test_a_trained_model_keeps_its_weights_and_prints_those_that_are_new(trained, capsys):
    classes = {0: "bad", 1: "good"}
    arguments = ModelArguments(init_from=str(trained), model_kwargs=["dropout=0"])
    _, model = build(arguments, [], classes)
    assert (model.config.id2label, model.config.dropout, model.training) == (classes, 0.0, True)
    saved, names = load_file(trained / "model.safetensors"), model.state_dict()
    new = {name for name, weight in names.items() if name not in saved or saved[name].shape != weight.shape}
    assert new == {name for name in names if name.startswith("classifier.")}
    assert all(saved[name].equal(weight) for name, weight in names.items() if name not in new)
    assert capsys.readouterr().out.strip().endswith(f"anew: {', '.join(sorted(new))}")


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_weights_of_other_names_are_refused(trained, change):
    path = trained / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "image_encoder" in name)
    if change == "missing":
        del weights[name]
    else:
        name = f"module.{name}"
        weights[name] = next(iter(weights.values())).clone()
    save_file(weights, path, metadata={"format": "pt"})
    row, config = ARCHITECTURES["comn"], planned_config(ModelArguments(init_from=str(trained)))
    with pytest.raises(ValueError, match=f"the weights do not match the model: {name}"):
        load_trained(row, str(trained), config)

"""The recipes of the papers: every published row has one or a reason, and its model is what the paper states."""

import pytest
import torch
from tiny import ROOT
from torch import nn
from transformers import Trainer

from mmsent.dataset_scripts.common_arguments import parse_name_values
from mmsent.docs_tables import published_recipes
from mmsent.evaluation.published import papers, published_rows
from mmsent.modeling import ARCHITECTURES
from mmsent.training.recipes import load_recipe, parse_arguments

RECIPES = [
    (path, name)
    for path in sorted(ROOT.glob("configs/*/*.yaml"))
    for name, recipe in load_recipe(path).items()
    if recipe.get("published")
]
# Width and number of regions of the image encoders; those of the others are in their configs.
IMAGES = {
    "timm/inception_v3.tv_in1k": (2048, 25),
    "timm/resnet50.tv_in1k": (2048, 49),
    "timm/vgg16.tv_in1k": (512, 49),
    "timm/vgg19.tv_in1k": (512, 49),
    "timm/vit_base_patch16_224.augreg_in1k": (768, 196),
    "alexnet": (256, 36),
    "raw_cnn": (256, 64),
    "lrn_cnn": (256, 169),
}
OPTIMIZERS = {"adamw_torch": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD}


@pytest.fixture(scope="module")
def recipes():
    return published_recipes(ROOT / "configs")


@pytest.mark.parametrize("paper", papers())
def test_every_row_of_a_paper_has_a_recipe_or_a_reason(recipes, paper):
    rows = [row for key, row in published_rows().items() if key.startswith(f"{paper}/")]
    assert rows
    for row in rows:
        for corpus in row.figures:
            has_recipe = (row.key, corpus) in recipes
            assert has_recipe != bool(row.without_recipe), f"{row.key} on {corpus}"


def settings(path, name) -> tuple:
    """Return the arguments of a recipe, the config of its model and the processor's arguments."""
    argv = ["--config", str(path), *(["--row", name] if name else []), "--report_to", "none"]
    model_args, data_args, run_args = parse_arguments(argv, "")
    width, regions = IMAGES.get(model_args.image_encoder, (8, 4))
    sizes = {"image_hidden_size": width, "image_regions": regions}
    if model_args.text_encoder != "word_vectors":
        sizes["text_hidden_size"] = 768
    kwargs = parse_name_values(model_args.model_kwargs)
    config = ARCHITECTURES[model_args.architecture].config(**kwargs | sizes)
    return model_args, data_args, run_args, config, parse_name_values(model_args.processor_kwargs)


def value_of(name: str, parts: tuple):
    """Return a setting by its name, wherever it belongs."""
    *arguments, config, processor = parts
    if name in processor:
        return processor[name]
    owner = next((part for part in arguments if hasattr(part, name)), config)
    value = getattr(owner, name)
    value = getattr(value, "value", value)  # of an enumeration
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("path", "name"), RECIPES, ids=[f"{p.parent.name}-{p.stem}-{name}" for p, name in RECIPES])
def test_a_recipe_has_the_settings_that_its_paper_states(path, name):
    parts = settings(path, name)
    model_args, _, run_args, config, _ = parts
    assert run_args.max_grad_norm == 0  # nobody clips
    stated = {}
    for key in run_args.published if "official" not in (name or "") else []:
        stated |= published_rows()[key].stated
    assert {setting: value_of(setting, parts) for setting in stated} == stated
    optimizer, kwargs = Trainer.get_optimizer_cls_and_kwargs(run_args)
    assert optimizer is OPTIMIZERS[run_args.optim.value]
    for setting, expected in (word.split("=") for word in (run_args.optim_args or "").split(",") if word):
        assert kwargs[setting] == float(expected)

    with torch.device("meta"):
        model = ARCHITECTURES[model_args.architecture].classifier(config)
    check_widths(model.base_model, stated)


def check_widths(model: nn.Module, stated: dict) -> None:
    """Check that the layers of a model have the widths and dropouts that its paper states."""
    if "image_hidden" in stated:
        linear = [layer for layer in model.image_layers if isinstance(layer, nn.Linear)]
        assert [layer.out_features for layer in linear] == stated["image_hidden"]
        if "image_relu" in stated:
            assert isinstance(model.image_layers[0], nn.ReLU) == stated["image_relu"]
        dropouts = [layer.p for layer in model.image_layers if isinstance(layer, nn.Dropout)]
        assert dropouts == stated.get("image_dropout", [])
    if "text_hidden" in stated:
        assert model.lstm.forward_lstm.hidden_size == stated["text_hidden"]
    if "num_attention_heads" in stated:
        assert (model.image_to_text.heads, model.image_to_text.query.out_features) == (8, 768)


def test_the_official_recipes_are_those_of_the_published_code():
    *_, run_args, config, processor = settings(ROOT / "configs/multi_zol/mimn.yaml", "official")
    assert (config.reading, config.hops, config.dropout, run_args.learning_rate) == ("official", 3, 0.0, 1e-3)
    assert (config.pad_to, config.initialization) == (300, "official")
    assert (run_args.metric_for_best_model, run_args.early_stopping_patience) == ("weighted_f1", 10)
    assert (processor["max_length"], processor["max_aspect_length"]) == (300, 2)
    _, data_args, run_args, config, processor = settings(ROOT / "configs/mvsa_single/mdse.yaml", "official")
    assert (config.reading, config.num_attention_heads, config.freeze_image) == ("official", 16, True)
    assert (config.pad_to, data_args.image_augmentation, processor["crop"]) == (200, ["rand_augment", "flip"], True)
    assert (run_args.text_from_epoch, run_args.rest_until_epoch, run_args.adam_beta2) == (20, 20, 0.98)
    assert (run_args.per_device_train_batch_size, processor["max_length"], data_args.synonyms) == (32, 200, None)

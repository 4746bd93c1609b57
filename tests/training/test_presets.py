"""Presets: what is chosen, that the choice is valid, and that the command line has the last word."""

import shlex
from dataclasses import replace

import pytest
from small_runs import write_corpus

from mmsent.modeling import ARCHITECTURES
from mmsent.training import presets
from mmsent.training.checks import check_arguments
from mmsent.training.presets import Facts, choose, english_share, parse_with_preset
from mmsent.training.recipes import parse_arguments

POSTS = Facts(3600, with_text=1, with_image=1, with_aspect=0, images=1, english=1, device="cpu")
KINDS = {
    "posts": {},
    "few": {"posts": 40},
    "many": {"posts": 1_000_000},
    "accelerator": {"device": "xpu"},
    "texts": {"with_image": 0, "images": 0},
    "images": {"with_text": 0},
    "aspects": {"with_aspect": 1, "images": 20},
    "chinese": {"english": 0},
}
PRESETS = ("fast", "balanced", "best")


def chosen(preset: str, **facts) -> dict:
    return {name: value for name, (value, _) in choose(preset, replace(POSTS, **facts)).items()}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_choice_is_a_valid_command(preset, kind):
    values = chosen(preset, **KINDS[kind])
    model_args, data_args, run_args = parse_arguments([], "", values)
    check_arguments(model_args, data_args, run_args)
    final = vars(model_args) | vars(data_args) | vars(run_args)
    assert {name: final[name] for name in values} == values
    fields = ARCHITECTURES[model_args.architecture].config.__dataclass_fields__
    assert {word.partition("=")[0] for word in model_args.model_kwargs} <= set(fields)


def test_the_choice_follows_the_posts_and_the_hardware():
    assert "/" not in str(chosen("fast"))
    assert chosen("fast")["architecture"] == "comn"
    assert "MiniLM" in chosen("balanced")["text_encoder"]
    assert chosen("balanced")["cache_features"]
    assert "multilingual" in chosen("balanced", english=0.5)["text_encoder"]
    assert chosen("best", device="cuda")["text_encoder"] == "FacebookAI/roberta-base"
    assert chosen("best", device="cuda", english=0)["text_encoder"] == "FacebookAI/xlm-roberta-base"
    assert chosen("best", device="cuda")["image_learning_rate"] == 2e-5
    assert "image_learning_rate" not in chosen("best")
    assert chosen("best")["text_learning_rate"] == 5e-5
    assert "text_learning_rate" not in chosen("best", posts=60_000)
    assert "text_learning_rate" not in chosen("best", with_aspect=1)
    assert "text_learning_rate" in chosen("best", with_aspect=1, device="cuda")
    assert chosen("balanced", with_aspect=1)["architecture"] == "mimn"
    for preset in PRESETS:
        assert chosen(preset, with_aspect=1)["num_train_epochs"] > chosen(preset)["num_train_epochs"]
    assert chosen("balanced", images=3)["processor_kwargs"] == ["max_images=3"]
    assert chosen("best", with_image=0)["modalities"] == "text"
    assert "branch=image" in chosen("fast", with_text=0)["model_kwargs"]
    assert chosen("fast", posts=100)["num_train_epochs"] > chosen("fast", posts=10_000)["num_train_epochs"]
    with pytest.raises(ValueError, match="has a text or an image"):
        chosen("fast", with_text=0, with_image=0)


def test_the_language_is_that_of_the_texts():
    english = ["What a beautiful day at the lake with my friends", "I am so sad that the summer is over"]
    other = ["今天天气真好,我们一起去湖边玩吧,大家都很开心", "Qué día tan bonito en la playa con mis amigos"]
    assert english_share(english) == 1
    assert english_share(other) == 0
    assert english_share(english + other) == 0.5
    assert english_share(["ok", "https://t.co/123456789012345 @somebody_with_a_name"]) == 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    return str(write_corpus(tmp_path_factory.mktemp("posts")))


def test_the_printed_line_says_the_same(corpus, capsys):
    with_preset = parse_with_preset(["--dataset", corpus, "--preset", "fast"], "")
    line = capsys.readouterr().out.strip().rpartition("The same without a preset: ")[2]
    without = parse_arguments(["--dataset", corpus, *shlex.split(line)], "")
    assert [vars(args) for args in with_preset[:2]] == [vars(args) for args in without[:2]]
    one, other = with_preset[2].to_dict(), without[2].to_dict()
    assert {name for name in one if one[name] != other[name]} == {"preset", "output_dir"}
    assert with_preset[2].output_dir.endswith("-fast")


def test_the_command_line_and_a_recipe_override_the_preset(corpus, tmp_path, capsys, backbones):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"dataset: {corpus}\npreset: balanced\nlearning_rate: 0.25\nmodel_kwargs: {{freeze_text: false}}\n"
    )
    encoders = ["--text_encoder", backbones["bert"], "--image_encoder", backbones["vit"]]
    arguments = ["--config", str(recipe), *encoders, "--architecture", "comn", "--num_train_epochs", "1"]
    model_args, data_args, run_args = parse_with_preset(arguments, "")
    assert (model_args.architecture, model_args.text_encoder) == ("comn", backbones["bert"])
    assert (run_args.learning_rate, run_args.num_train_epochs, run_args.weight_decay) == (0.25, 1, 0.01)
    assert model_args.model_kwargs == ["freeze_text=true", "freeze_image=true", "freeze_text=false"]
    assert data_args.cache_features
    assert "--learning_rate 0.25\n      set by the command line or the recipe" in capsys.readouterr().out


def test_encoders_that_cannot_be_had_are_named(corpus, monkeypatch):
    monkeypatch.setattr(presets.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"all-MiniLM-L6-v2 and .*efficientnet_lite0.*--preset fast"):
        parse_with_preset(["--dataset", corpus, "--preset", "balanced"], "")


def test_a_preset_needs_posts_that_can_be_counted(corpus):
    with pytest.raises(ValueError, match="preset cannot be combined with streaming"):
        parse_with_preset(["--dataset", corpus, "--preset", "fast", "--streaming", "true", "--max_steps", "2"], "")

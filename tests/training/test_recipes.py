"""The command line of train.py, recipes, and arguments that contradict each other."""

import shlex

import pytest
import tiny
from tiny import ROOT

from mmsent.dataset_scripts.common_arguments import parse_name_values
from mmsent.dataset_scripts.common_files import read_json
from mmsent.evaluation.published import published_rows
from mmsent.modeling import ARCHITECTURES
from mmsent.training.checks import check_arguments, check_model
from mmsent.training.recipes import load_recipe, parse_arguments, select_row

PATHS = [path for path in sorted(ROOT.glob("configs/*/*.yaml")) if path.parent.name != "accelerate"]
RECIPES = [(path, row) for path in PATHS for row in load_recipe(path)]


def parse(*argv: str):
    return parse_arguments(list(argv), "")


@pytest.fixture
def write_recipe(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_the_command_line_wins_over_the_recipe(write_recipe):
    recipe = write_recipe(
        "learning_rate: 5e-4\noptim: rmsprop\nmodel_kwargs: {hops: 3, cross: none, freeze_text: true}"
    )
    model_args, _, run_args = parse("--config", recipe, "--optim", "adamw_torch", "--model_kwargs", "hops=4")
    assert run_args.learning_rate == 5e-4
    assert run_args.optim == "adamw_torch"
    assert parse_name_values(model_args.model_kwargs) == {"hops": 4, "cross": "none", "freeze_text": True}


def test_values_of_a_recipe_keep_their_types(write_recipe):
    recipe = write_recipe(
        "learning_rate: 1e-5\nnum_train_epochs: 3\nmetric_for_best_model: null\nlora_rank: null\nword_vectors: null\n"
        "load_best_model_at_end: false\nlr_scheduler_kwargs: {num_cycles: 2}\nimage_augmentation: flip\n"
        "class_weights: [1, 2.5, 1]\nseed: 7\n"
        "model_kwargs: {dropout: 1e-5, text_hidden: null, image_hidden: [256, 8], cross: 'null', branch: 'a b'}\n"
    )
    model_args, data_args, run_args = parse("--config", recipe)
    assert (run_args.learning_rate, run_args.num_train_epochs, run_args.seed) == (1e-5, 3.0, 7)
    assert (run_args.metric_for_best_model, model_args.lora_rank, model_args.word_vectors) == (None, None, None)
    assert run_args.load_best_model_at_end is False
    assert run_args.lr_scheduler_kwargs == {"num_cycles": 2}
    assert data_args.image_augmentation == ["flip"]
    assert run_args.class_weights == ["1", "2.5", "1"]
    expected = {"dropout": 1e-5, "text_hidden": None, "image_hidden": [256, 8], "cross": "null", "branch": "a b"}
    assert parse_name_values(model_args.model_kwargs) == expected


@pytest.mark.parametrize(
    ("word", "value"),
    [("x=1e-5", 1e-5), ("x=[-2E3, 1.5e+2]", [-2000.0, 150.0]), ("x='1e-5'", "1e-5"), ("x=e5", "e5"), ("x=", None)],
)
def test_name_values(word, value):
    assert parse_name_values([word]) == {"x": value}


def test_without_arguments():
    model_args, data_args, run_args = parse()
    assert (data_args.dataset, model_args.architecture) == ("sample_posts", "comn")
    assert run_args.output_dir == "runs/sample_posts-comn"
    assert parse("--output_dir", "elsewhere")[2].output_dir == "elsewhere"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("learning_rat: 1", "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        (
            "image_memory: images",
            "unknown key 'image_memory'; it is a field of mimn, co_memory_aspect and belongs under model_kwargs",
        ),
        ("learning_rate: fast", "'learning_rate' expected float, got str"),
        ("learning_rate: null", "'learning_rate' expected float, got NoneType"),
        ("seed: 1.5", "'seed' expected int, got float"),
        ("streaming: 3", "'streaming' expected bool, got int"),
        ("on_bad_image: ignore", "on_bad_image: 'ignore' is not one of error, skip, missing"),
        ("image_augmentation: [flip, blur]", "image_augmentation: 'blur' is not one of"),
        ("just words", "does not hold 'key: value' lines"),
        ("a: [1", "recipe.yaml"),
    ],
)
def test_a_bad_recipe_ends_with_a_message(write_recipe, capsys, recipe, message):
    with pytest.raises(SystemExit) as stop:
        parse("--config", write_recipe(recipe))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "recipe.yaml" in error


@pytest.mark.parametrize("value", ["inf", "-1", "nan"])
@pytest.mark.parametrize(
    "name",
    [
        "learning_rate",
        "num_train_epochs",
        "text_from_epoch",
        "lr_decay",
        "weight_decay",
        "min_confidence",
        "lora_alpha",
    ],
)
def test_numbers_out_of_range_are_refused(capsys, name, value):
    with pytest.raises(SystemExit) as stop:
        parse(f"--{name}={value}")
    assert stop.value.code == 2
    assert f"{name}={float(value)}: give a finite number" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["[1, -1, 1]", "[1, .inf, 1]", "equal"])
def test_class_weights_are_numbers_or_balanced(write_recipe, capsys, words):
    with pytest.raises(SystemExit) as stop:
        parse("--config", write_recipe(f"class_weights: {words}"))
    assert stop.value.code == 2
    assert "class_weights=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--early_stopping_patience=2", "--eval_strategy=no", "--save_strategy=no", "--load_best_model_at_end=no"],
            "early_stopping_patience needs evaluations",
        ),
        (["--min_confidence", "0.5"], "min_confidence needs init_from"),
        (["--keep_progressively", "true"], "keep_progressively needs init_from"),
        (["--keep_progressively", "true", "--min_confidence", "0.5", "--init_from", "trained"], "choose one"),
        (["--published", "comn/1/CoMN-Hop9"], "published=comn/1/CoMN-Hop9: the papers have no such row"),
        (["--processor_kwargs", "nothing=2"], "nothing: it is not one of"),
        (["--processor_kwargs", "max_length=0"], "max_length=0: give a whole number that is 1 or more"),
        (["--processor_kwargs", "max_images=two"], "max_images='two': give a whole number"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_before_anything_is_built(argv, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(*parse(*argv))


@pytest.mark.parametrize(
    ("argv", "message"),
    [("--config nowhere.yaml", "recipe nowhere.yaml"), ("--datasett x", "did you mean 'dataset'?")],
)
def test_a_bad_command_line_ends_with_a_message(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        parse(*argv.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--image_augmentation", "flip", "--model_kwargs", "freeze_image=true"], "cannot be combined with augmentat"),
        (["--synonyms", "words.txt", "--model_kwargs", "freeze_text=true"], "cannot be combined with augmentat"),
        ([], "cache_features needs a frozen encoder"),
        (["--lbfgs", "true", "--model_kwargs", "freeze_image=true"], "lbfgs needs frozen encoders"),
    ],
)
def test_features_that_change_are_not_cached(argv, message):
    arguments = parse("--cache_features", *argv)
    with pytest.raises(ValueError, match=message):  # noqa: PT012
        check_arguments(*arguments)
        check_model(*arguments)


def test_the_config_of_a_trained_model_tells_which_encoders_are_frozen(tmp_path, backbones):
    for part in tiny.build("comn", "own", backbones, freeze_text=True):
        part.save_pretrained(tmp_path / "trained")
    argv = ["--cache_features", "--init_from", str(tmp_path / "trained")]
    check_model(*parse(*argv))
    with pytest.raises(ValueError, match="needs a frozen encoder"):
        check_model(*parse(*argv, "--model_kwargs", "freeze_text=false"))


def named(path, row: str | None) -> list[str]:
    return ["--config", str(path), *(["--row", row] if row else [])]


@pytest.mark.parametrize(("path", "row"), RECIPES, ids=[f"{p.parent.name}-{p.stem}-{row}" for p, row in RECIPES])
def test_every_recipe_parses_and_names_its_paper_and_command(path, row):
    goes_on = {"min_confidence", "keep_progressively"} & set(select_row(path, row))
    argv = ["--init_from", "trained"] if goes_on else []
    model_args, data_args, run_args = parse(*named(path, row), "--report_to", "none", *argv)
    check_arguments(model_args, data_args, run_args)
    assert data_args.dataset == path.parent.name
    assert all(data_args.dataset in published_rows()[key].figures for key in run_args.published)
    header = path.read_text().split("\ndataset:")[0]
    command = header.partition("# Command:")[2].split("--config ")[1:] or [path.relative_to(ROOT).as_posix()]
    assert command[-1].split()[0] == path.relative_to(ROOT).as_posix()  # the first may train what the last needs
    assert bool(run_args.published) != ("# Paper:" in header)
    config = ARCHITECTURES[model_args.architecture].config
    sizes = {"image_regions": 25, "image_hidden_size": 8}
    if model_args.text_encoder != "word_vectors":
        sizes["text_hidden_size"] = 768
    kwargs = parse_name_values(model_args.model_kwargs)
    config(**kwargs | sizes)
    assert set(kwargs) <= set(config.__dataclass_fields__)


@pytest.mark.parametrize(
    ("name", "row"), [("text", "embedding"), ("combined_embedding", "mse_5_epochs"), ("image", "table2_model1_tuned")]
)
def test_recipes_that_go_on_from_a_trained_model_take_one(name, row):
    """What only a new processor takes must not be in them."""
    path = ROOT / f"configs/mvso/gated_fusion_{name}.yaml"
    check_arguments(*parse(*named(path, row), "--report_to", "none", "--init_from", "trained"))


@pytest.mark.parametrize("path", sorted(ROOT.glob("results/*/*.json")), ids=lambda path: path.stem)
def test_the_command_of_every_result_still_runs(path):
    words = shlex.split(read_json(path)["command"])
    assert words[:2] == ["mmsent", "benchmark"]
    row = words[words.index("--rows") + 1] if "--rows" in words else None
    parse(*named(ROOT / words[2], row), *words[words.index("--") + 1 :])


def test_a_row_changes_what_the_recipe_shares(write_recipe):
    recipe = write_recipe(
        "learning_rate: 0.1\nmodel_kwargs: {hops: 2, dropout: 0.5}\nimage_augmentation: [flip, crop]\n"
        "rows:\n  deep: {learning_rate: 0.2, model_kwargs: {hops: 6}, image_augmentation: [erase]}\n  1: {seed: 3}\n"
    )
    model_args, data_args, run_args = parse("--config", recipe, "--row", "deep", "--seed", "4")
    assert parse_name_values(model_args.model_kwargs) == {"hops": 6, "dropout": 0.5}
    assert (data_args.image_augmentation, run_args.learning_rate, run_args.seed) == (["erase"], 0.2, 4)
    assert run_args.output_dir == "runs/sample_posts-comn-deep"
    model_args, data_args, run_args = parse("--config", recipe, "--row", "1")
    assert parse_name_values(model_args.model_kwargs) == {"hops": 2, "dropout": 0.5}
    assert (data_args.image_augmentation, run_args.learning_rate, run_args.seed) == (["flip", "crop"], 0.1, 3)


@pytest.mark.parametrize(
    ("recipe", "argv", "message"),
    [
        ("rows: {a: {}, b: {}}", [], "it has the rows a, b: name one with --row"),
        ("rows: {a: {}, b: {}}", ["--row", "c"], "it has the rows a, b: there is no row c"),
        ("seed: 1", ["--row", "c"], "it has no rows: there is no row c"),
        ("rows: [a]", ["--row", "a"], "rows: give the name of each row with the entries that it changes"),
        ("rows: {a: {hops: 3}}", ["--row", "a"], "unknown key 'hops'; it is a field of"),
        (None, ["--row", "a"], "row a: name its recipe with --config"),
    ],
)
def test_a_row_that_does_not_exist_ends_with_a_message(write_recipe, capsys, recipe, argv, message):
    with pytest.raises(SystemExit) as stop:
        parse(*(["--config", write_recipe(recipe)] if recipe else []), *argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err

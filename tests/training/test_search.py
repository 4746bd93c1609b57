"""The search for hyper-parameters: the space, and a search that is interrupted."""

import json
from pathlib import Path

import optuna
import pytest
from small_runs import write_corpus

from mmsent.training import search
from mmsent.training.arguments import DataArguments, ModelArguments, RunArguments
from mmsent.training.posts import load_posts
from mmsent.training.search import parse_space, suggest

MODEL = ModelArguments()


@pytest.fixture
def arguments(tmp_path):
    """Return the arguments of a run of two steps on a few posts, and its posts."""
    data_args = DataArguments(dataset=str(write_corpus(tmp_path / "corpus")))
    run_args = RunArguments(
        output_dir=str(tmp_path / "run"), max_steps=2, eval_strategy="steps", eval_steps=1, save_strategy="no",
        load_best_model_at_end=False, report_to="none", disable_tqdm=True, use_cpu=True, search=2,
        search_space=["learning_rate=1e-4..1e-1", "hops=1,3", "dropout=0..0.5"],
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    return ModelArguments(architecture="comn"), data_args, run_args, load_posts(data_args, run_args)


def summary(run_args) -> dict:
    return json.loads(Path(run_args.output_dir, "search.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_interrupted(arguments):
    model_args, data_args, run_args, posts = arguments
    search.search(*arguments)
    first = summary(run_args)
    assert len(first["trials"]) == 2
    best = first["trials"][first["best"]]["values"]
    assert best["hops"] in (1, 3)
    assert run_args.learning_rate == best["learning_rate"]
    assert sorted(model_args.model_kwargs) == sorted([f"hops={best['hops']}", f"dropout={best['dropout']}"])
    # As after a kill in the third trial: a new search of three trials runs one, with other values than before.
    again = RunArguments(**{**vars_of(run_args), "search": 3, "learning_rate": 1e-3})
    model_args.model_kwargs = []
    name = search._study_name(model_args, data_args, again, posts)
    storage = f"sqlite:///{run_args.output_dir}/search.db"
    study = optuna.load_study(study_name=name, storage=storage)
    study.ask()
    search.search(model_args, data_args, again, posts)
    second = summary(again)["trials"]
    assert [trial["state"] for trial in second] == ["complete", "complete", "fail", second[3]["state"]]
    assert second[:2] == first["trials"]
    assert second[3]["values"] not in [trial["values"] for trial in second[:2]]
    assert {path.name for path in Path(run_args.output_dir).iterdir()} == {"search.db", "search.json"}


def vars_of(run_args) -> dict:
    names = ("output_dir", "max_steps", "eval_strategy", "eval_steps", "save_strategy", "load_best_model_at_end")
    values = {name: getattr(run_args, name) for name in (*names, "search_space", "disable_tqdm", "use_cpu")}
    return values | {"report_to": "none"}


def test_the_default_space_surrounds_the_rates():
    space = parse_space([], MODEL, RunArguments(learning_rate=1e-3, text_learning_rate=1e-5))
    assert space["learning_rate"] == pytest.approx((1e-4, 1e-2))
    assert space["text_learning_rate"] == pytest.approx((1e-6, 1e-4))
    assert "image_learning_rate" not in space
    assert ("dropout" in space) == ("dropout" in search.ARCHITECTURES[MODEL.architecture].config.__dataclass_fields__)


def test_values_are_suggested_by_their_kind():
    words = ["hops=1..3", "learning_rate=1e-5..1e-1", "lr_scheduler_type=linear,cosine", "warmup_steps=0,10"]
    space = parse_space(words, MODEL, RunArguments())
    trial = optuna.create_study().ask()
    values = suggest(trial, space)
    assert values["hops"] in (1, 2, 3)
    assert values["lr_scheduler_type"] in ("linear", "cosine")
    assert values["warmup_steps"] in (0, 10)
    assert trial.distributions["learning_rate"].log
    assert suggest(trial, space) == values


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lerning_rate=1..2", "did you mean learning_rate"),
        ("hops", "give NAME=LOW..HIGH"),
        ("hops=3..1", "the second is larger"),
        ("hops=a..b", "give two numbers"),
        ("hops=1..2..3", "give two numbers"),
    ],
)
def test_a_wrong_space_is_refused(word, message):
    with pytest.raises(ValueError, match=message):
        parse_space([word], MODEL, RunArguments())


def test_a_search_needs_evaluations(arguments):
    model_args, data_args, run_args, posts = arguments
    run_args.eval_strategy = "no"
    with pytest.raises(ValueError, match="search cannot be combined with eval_strategy=no"):
        search.search(model_args, data_args, run_args, posts)

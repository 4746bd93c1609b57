"""Search hyper-parameters with Optuna through Trainer's own search. It reads no test post."""

import copy
import difflib
import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_utils import SaveStrategy

from mmsent.dataset_scripts.common_files import atomic_write
from mmsent.modeling import ARCHITECTURES

from .arguments import DataArguments, ModelArguments, RunArguments
from .build import build, build_trainer, class_weights
from .collator import PostCollator
from .feature_cache import encode_features
from .posts import RunPosts
from .run_folder import SEARCH

STORAGE, SUMMARY = SEARCH
WIDE = 100  # A range whose ends differ by such a factor is searched on a logarithmic scale.
Values = tuple[float, float] | list  # the lowest and the highest value, or all values


def parse_space(words: list[str], model_args: ModelArguments, run_args: RunArguments) -> dict[str, Values]:
    """Return the values to search by argument or field of the architecture's config.

    Args:
        words: `NAME=LOW..HIGH` or `NAME=A,B,C`. Without words, the space is the learning rates, the weight decay and
            the dropout.

    Raises:
        ValueError: If a name is unknown, or values cannot be read.
    """
    config = ARCHITECTURES[model_args.architecture].config.__dataclass_fields__
    if not words:
        rates = ("learning_rate", "text_learning_rate", "image_learning_rate")
        space: dict[str, Values] = {
            name: (rate / 10, rate * 10) for name in rates if (rate := getattr(run_args, name)) is not None
        }
        space["weight_decay"] = (1e-4, 0.1)
        return space | ({"dropout": (0.0, 0.6)} if "dropout" in config else {})
    space, known = {}, [*(field.name for field in fields(RunArguments)), *config]
    for word in words:
        name, equals, text = word.partition("=")
        if name not in known or not equals:
            similar = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"search_space {word}: give NAME=LOW..HIGH or NAME=A,B,C with an argument of the training or a field "
                f"of {model_args.architecture}'s config" + (f"; did you mean {similar[0]}?" if similar else ".")
            )
        try:
            ends = [json.loads(end) for end in text.split("..")] if ".." in text else []
            values = [json.loads(value) for value in text.split(",")] if not ends else tuple(ends)
        except json.JSONDecodeError:
            values = () if ".." in text else text.split(",")  # names, such as linear,cosine
        if isinstance(values, tuple) and not (len(values) == 2 and values[0] < values[1]):
            raise ValueError(f"search_space {word}: give two numbers, of which the second is larger.")
        space[name] = values
    return space


def suggest(trial, space: dict[str, Values]) -> dict[str, Any]:
    """Return the values that a trial of Optuna tries."""
    values = {}
    for name, choice in space.items():
        if isinstance(choice, list):
            values[name] = trial.suggest_categorical(name, choice)
        elif all(type(end) is int for end in choice):
            values[name] = trial.suggest_int(name, *choice)
        else:
            values[name] = trial.suggest_float(name, *choice, log=0 < choice[0] * WIDE <= choice[1])
    return values


def search(model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments, posts: RunPosts) -> None:
    """Try `run_args.search` settings, if any, and write the best one into the arguments.

    A trial counts with its best validation score, and bad trials are stopped early. The trials are kept in `search.db`
    in the folder of the run: a search that was interrupted goes on there, with a new trial instead of the one that was
    running. `search.json` lists all trials.

    Raises:
        ImportError: If Optuna is not installed.
        ValueError: If the run does not evaluate, or has several processes.
    """
    if run_args.search is None:
        return
    try:
        import optuna
    except ImportError as error:
        raise ImportError("search needs Optuna: pip install 'mmsent[search]'.") from error
    _check(model_args, data_args, run_args, posts)
    space = parse_space(run_args.search_space, model_args, run_args)
    storage = f"sqlite:///{Path(run_args.output_dir, STORAGE)}"
    direction = "maximize" if run_args.greater_is_better else "minimize"
    kwargs = {"study_name": _study_name(model_args, data_args, run_args, posts), "storage": storage}
    study = optuna.create_study(direction=direction, load_if_exists=True, **kwargs)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # The process was ended.
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    finished = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    remaining = run_args.search - len(finished)
    if remaining > 0:
        trainer, objective = _trainer(model_args, data_args, run_args, posts, space)
        trainer.hyperparameter_search(
            hp_space=lambda trial: suggest(trial, space),
            compute_objective=objective,
            n_trials=remaining,
            direction=direction,
            backend="optuna",
            load_if_exists=True,
            # A continued search must not repeat the trials that it began with.
            sampler=optuna.samplers.TPESampler(seed=run_args.seed + len(study.trials)),
            **kwargs,
        )
    study = optuna.load_study(**kwargs)
    _write_summary(Path(run_args.output_dir, SUMMARY), study, run_args)
    for name, value in study.best_params.items():
        _set(model_args, run_args, name, value)


def _check(model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments, posts: RunPosts) -> None:
    """Raise a ValueError if a search cannot be combined with other arguments."""
    conflicts = {
        "eval_strategy=no": run_args.eval_strategy == "no",
        "several processes": run_args.world_size > 1,
        "streaming": posts.streamed,
        "lora_rank": model_args.lora_rank is not None,
        "min_confidence": data_args.min_confidence is not None,
        "keep_progressively": data_args.keep_progressively,
    }
    for name in filter(conflicts.get, conflicts):
        raise ValueError(f"search cannot be combined with {name}.")


def _study_name(model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments, posts: RunPosts) -> str:
    """Return a name that changes with all that a trial depends on, except for the number of trials."""
    settings = vars(model_args) | vars(data_args) | run_args.to_dict() | {"corpus": posts.report["corpus_sha256"]}
    ignored = {"search", "output_dir", "overwrite", "features_dir", "data_dir", "disable_tqdm", "report_to"}
    settings = {name: value for name, value in settings.items() if name not in ignored}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _set(model_args: ModelArguments, run_args: RunArguments, name: str, value: Any) -> None:
    if hasattr(run_args, name):
        setattr(run_args, name, value)
    else:
        model_args.model_kwargs = [*model_args.model_kwargs, f"{name}={json.dumps(value)}"]


def _trainer(
    model_args: ModelArguments,
    data_args: DataArguments,
    run_args: RunArguments,
    posts: RunPosts,
    space: dict[str, Values],
) -> tuple[Trainer, Any]:
    """Return a trainer that builds a new model for every trial and saves nothing, and the objective of a trial."""
    search_args, search_posts = copy.copy(run_args), copy.copy(posts)
    search_args.save_strategy, search_args.load_best_model_at_end = SaveStrategy.NO, False
    search_args.report_to = []
    names = dict(enumerate(posts.label_names))
    weights = class_weights(run_args.class_weights, posts.labels["train"], len(names))
    pick = max if run_args.greater_is_better else min
    metric = f"eval_{run_args.metric_for_best_model.removeprefix('eval_')}"
    scores: list[float] = []

    def new_model(trial):
        scores.clear()
        trial_args = copy.copy(model_args)
        for name, value in ({} if trial is None else suggest(trial, space)).items():
            if not hasattr(run_args, name):
                _set(trial_args, run_args, name, value)
        model = build(trial_args, posts.texts(model_args.architecture), names, posts.aspects())[1]
        model.set_loss(weights, search_args.label_smoothing_factor)
        return model

    def objective(metrics: dict[str, float]) -> float:
        scores.append(metrics[metric])
        return pick(scores)

    processor, model = build(model_args, posts.texts(model_args.architecture), names, posts.aspects())
    collator = PostCollator(processor, data_args.modalities)
    if data_args.cache_features:
        search_posts.splits = encode_features(
            model, posts.splits, collator, run_args, data_args.features_dir, data_args.features_dtype
        )
    trainer = build_trainer(model, collator, search_posts, data_args, search_args, weights)
    trainer.model_init = new_model
    return trainer, objective


def _write_summary(path: Path, study, run_args: RunArguments) -> None:
    """Print the best trials, and write all trials as JSON."""
    trials = [
        {"number": trial.number, "state": trial.state.name.lower(), "score": trial.value, "values": trial.params}
        for trial in study.trials
    ]
    summary = {"metric": run_args.metric_for_best_model, "best": study.best_trial.number, "trials": trials}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    best = " ".join(
        f"{name}={value:.4g}" if type(value) is float else f"{name}={value}"
        for name, value in study.best_params.items()
    )
    print(
        f"search: the best of {len(trials)} trials has {run_args.metric_for_best_model} {study.best_value:.4f} on the "
        f"validation posts, with {best}. It is trained now; {path} lists all trials.",
        flush=True,
    )

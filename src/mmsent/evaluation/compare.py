"""Compare two models on the same posts, paired by the ids of the posts.

    mmsent compare RUN_A RUN_B --split test
    mmsent compare A0 A1 A2 --against B0 B1 B2

Each argument is a run folder, a folder that `mmsent evaluate` wrote, or a predictions file of one of them. The exact
McNemar test asks whether the posts that only one model gets right are divided by chance. The intervals of the
differences come from a bootstrap: 10,000 times, as many posts as there are are drawn with replacement.

With --against, A0 A1 A2 are runs of one recipe with several seeds and B0 B1 B2 those of another one, in the same order
of the seeds. The test is then the paired t-test over the seeds.
"""

import argparse
import json
import statistics
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest, ttest_rel

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.common_files import join_names

from .scores import score

FILES = "predictions_*.jsonl"
RESAMPLES = 10_000
EXAMPLES = 5
METRICS = ("accuracy", "macro_f1")


@dataclass
class Predictions:
    """The predictions of a model.

    Args:
        name: The folder or file they come from.
        labels: The label of each post, by its id.
        predicted: The predicted label of each post, by its id.
        classes: The names of all classes that the model knows.
    """

    name: str
    labels: dict[str, str]
    predicted: dict[str, str]
    classes: list[str]


def read_predictions(path: Path) -> Predictions:
    """Read a predictions file that train.py or `mmsent evaluate` wrote.

    Raises:
        ValueError: If it is another file, or an id occurs twice.
        OSError: If it cannot be read.
    """
    labels: dict[str, str] = {}
    predicted, classes = {}, []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                post_id, label, prediction, names = row["id"], row["label"], row["prediction"], list(row["scores"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}: no id, label, prediction and scores. Name a run, or a file "
                    "predictions_<split>.jsonl of train.py or mmsent evaluate."
                ) from error
            if post_id in labels:
                raise ValueError(f"{path}, line {number}: the id {post_id} occurs twice, so posts cannot be paired.")
            labels[post_id], predicted[post_id], classes = label, prediction, names
    if not labels:
        raise ValueError(f"{path} holds no post.")
    return Predictions(str(path), labels, predicted, classes)


def find_predictions(sources: list[Path], split: str | None) -> list[Path]:
    """Return the predictions file of each folder; files stay as they are.

    Args:
        split: The split to compare; by default test, or validation if a folder has no predictions of test.

    Raises:
        FileNotFoundError: If a source does not exist, or the folders do not share a split.
    """
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"there is no {source}: name a run folder or a predictions file")
    folders = [source for source in sources if source.is_dir()]
    files = {folder: {path.stem[len("predictions_") :] for path in folder.glob(FILES)} for folder in folders}
    shared = set.intersection(*files.values()) if files else set()
    chosen = split or next((name for name in ("test", "validation", *sorted(shared)) if name in shared), None)
    if folders and chosen not in shared:
        held = "; ".join(f"{folder}: {', '.join(sorted(names)) or 'none'}" for folder, names in files.items())
        raise FileNotFoundError(f"the folders do not share predictions of {split or 'a split'}. They hold {held}.")
    return [source / f"predictions_{chosen}.jsonl" if source.is_dir() else source for source in sources]


def check_same_posts(one: Predictions, other: Predictions) -> None:
    """Check that two models were scored on the same posts with the same labels.

    Raises:
        ValueError: If not. The message names posts.
    """
    for first, second in ((one, other), (other, one)):
        if absent := [post_id for post_id in first.labels if post_id not in second.labels]:
            raise ValueError(f"{len(absent)} posts of {first.name} are not in {second.name}: {join_names(absent)}")
    different = [f"{i} ({label}, {other.labels[i]})" for i, label in one.labels.items() if label != other.labels[i]]
    if different:
        raise ValueError(
            f"{len(different)} posts have different labels in {one.name} and {other.name}: {join_names(different)}"
        )


def compare(one: Predictions, other: Predictions, seed: int = 0) -> dict:
    """Compare the predictions of two models on the same posts.

    Returns:
        A dictionary with the number of `posts`; the names, `accuracy` and `macro_f1` of `a` and `b`; the
        `difference` a - b and its 95 % `interval` for each of these two scores; `only_a` and `only_b`, the number of
        posts that only one of them gets right, with `examples`; and `p_value` of the exact McNemar test.
    """
    check_same_posts(one, other)
    classes = list(dict.fromkeys([*one.classes, *other.classes]))
    numbers = {name: index for index, name in enumerate(classes)}
    ids = list(one.labels)
    labels = np.array([numbers[one.labels[i]] for i in ids])
    predicted = [np.array([numbers[model.predicted[i]] for i in ids]) for model in (one, other)]
    scores = [score(predictions, labels.tolist(), classes) for predictions in predicted]
    right = [predictions == labels for predictions in predicted]
    only = [right[0] & ~right[1], right[1] & ~right[0]]
    counts = [int(rows.sum()) for rows in only]
    intervals = bootstrap(labels, *predicted, len(classes), seed)
    report: dict = {"posts": len(ids), "seed": seed}
    for letter, model, model_scores in zip("ab", (one, other), scores, strict=True):
        report[letter] = {"name": model.name} | {name: model_scores[name] for name in METRICS}
    report["difference"] = {
        name: {"value": scores[0][name] - scores[1][name], "interval": intervals[name]} for name in METRICS
    }
    for letter, rows, count in zip("ab", only, counts, strict=True):
        examples = [_example(ids[row], one, other) for row in rows.nonzero()[0][:EXAMPLES]]
        report[f"only_{letter}"] = {"posts": count, "examples": examples}
    report["p_value"] = float(binomtest(counts[0], sum(counts)).pvalue) if sum(counts) else 1.0
    return report


def _example(post_id: str, one: Predictions, other: Predictions) -> dict:
    return {"id": post_id, "label": one.labels[post_id], "a": one.predicted[post_id], "b": other.predicted[post_id]}


def bootstrap(labels: np.ndarray, one: np.ndarray, other: np.ndarray, classes: int, seed: int) -> dict[str, list]:
    """Return the 95 % interval [low, high] of the difference of each score between two models, from `RESAMPLES` draws.

    A draw of posts matters only by how often it has each combination of label and predictions (N,), and these counts
    have a multinomial distribution.
    """
    kinds, counts = np.unique(np.stack([labels, one, other]), axis=1, return_counts=True)  # (3, M), (M,)
    draws = np.random.default_rng(seed).multinomial(len(labels), counts / len(labels), RESAMPLES)  # (RESAMPLES, M)
    first, second = (resampled_scores(draws, kinds[0], predicted, classes) for predicted in kinds[1:])
    return {
        name: [float(bound) for bound in np.quantile(first[name] - second[name], (0.025, 0.975))] for name in METRICS
    }


def resampled_scores(
    draws: np.ndarray, labels: np.ndarray, predicted: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """Return the scores of draws, given how often each draw has (draws, M) each pair of label and prediction (M,)."""
    true, guess = np.eye(classes, dtype=int)[labels], np.eye(classes, dtype=int)[predicted]  # (M, C)
    hits = draws @ (true * guess)  # (draws, C)
    totals = draws @ (true + guess)
    f1 = np.divide(2 * hits, totals, out=np.zeros(totals.shape), where=totals > 0)
    return {"accuracy": hits.sum(1) / draws.sum(1), "macro_f1": f1.mean(1)}


def compare_seeds(ones: list[Predictions], others: list[Predictions]) -> dict:
    """Compare the runs of two recipes over several seeds.

    Returns:
        For each score, the values, `mean` and `std` of `a` and `b`, the `difference` of the means, and the `p_value`
        of the paired t-test, which is None if all differences are equal.
    """
    for model in [*ones, *others]:
        check_same_posts(ones[0], model)
    report: dict = {"posts": len(ones[0].labels)}
    values = {"a": [_own_scores(model) for model in ones], "b": [_own_scores(model) for model in others]}
    for name in METRICS:
        columns = {letter: [scores[name] for scores in rows] for letter, rows in values.items()}
        differences = [a - b for a, b in zip(columns["a"], columns["b"], strict=True)]
        p_value = float(ttest_rel(columns["a"], columns["b"]).pvalue) if len(set(differences)) > 1 else None
        report[name] = {
            letter: {"mean": statistics.mean(column), "std": statistics.stdev(column), "values": column}
            for letter, column in columns.items()
        } | {"difference": statistics.mean(differences), "p_value": p_value}
    return report


def _own_scores(model: Predictions) -> dict:
    numbers = {name: index for index, name in enumerate(model.classes)}
    labels = [numbers[label] for label in model.labels.values()]
    return score(np.array([numbers[name] for name in model.predicted.values()]), labels, model.classes)


def render(report: dict) -> str:
    """Return the result of `compare` as text."""
    lines = [f"{report['posts']:,} posts", "", f"{'':44}{'accuracy':>20}{'macro-F1':>20}"]
    for letter in "ab":
        name = textwrap.shorten(f"{letter.upper()}: {report[letter]['name']}", 44, placeholder="...")
        lines.append(f"{name:44}" + "".join(f"{report[letter][metric]:>20.2%}" for metric in METRICS))
    differences = [report["difference"][name] for name in METRICS]
    lines.append(f"{'A - B':44}" + "".join(f"{100 * entry['value']:>+20.2f}" for entry in differences))
    intervals = ["{:+.2f} to {:+.2f}".format(*(100 * bound for bound in entry["interval"])) for entry in differences]
    lines += [f"{'  95 % interval':44}" + "".join(f"{cell:>20}" for cell in intervals), ""]
    for letter in "ab":
        only = report[f"only_{letter}"]
        lines.append(f"Only {letter.upper()} is right on {only['posts']:,} posts")
        lines += [f"  {e['id']}: {e['label']}; A says {e['a']}, B says {e['b']}" for e in only["examples"]]
    lines += ["", f"Exact McNemar test: p = {report['p_value']:.3g}"]
    return "\n".join(lines)


def render_seeds(report: dict, count: int) -> str:
    """Return the result of `compare_seeds` as text."""
    lines = [f"{report['posts']:,} posts, {count} seeds", "", f"{'':12}{'A':>18}{'B':>18}{'A - B':>10}{'p':>10}"]
    for name in METRICS:
        row = report[name]
        cells = [f"{100 * row[letter]['mean']:.2f} ± {100 * row[letter]['std']:.2f}" for letter in "ab"]
        p_value = "–" if row["p_value"] is None else f"{row['p_value']:.3g}"
        label = name.replace("macro_f1", "macro-F1")
        lines.append(f"{label:12}{cells[0]:>18}{cells[1]:>18}{100 * row['difference']:>+10.2f}{p_value:>10}")
    return "\n".join([*lines, "", "p is that of the paired t-test over the seeds."])


def main() -> None:
    """Run the command `mmsent compare`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="runs, evaluation folders or predictions files")
    parser.add_argument("--against", type=Path, nargs="+", default=[], help="the same seeds of another recipe")
    parser.add_argument("--split", help="split to compare (default: test, or validation if there is no test)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report to this file")
    args = parser.parse_args()
    if args.against and not 2 <= len(args.models) == len(args.against):
        parser.error("give at least two runs, and as many with --against.")
    if not args.against and len(args.models) != 2:
        parser.error("give two runs; several seeds of two recipes are compared with --against.")
    with exit_with_one_line(parser.prog):
        if args.json and not args.json.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {args.json.parent}, which --json names")
        models = [read_predictions(path) for path in find_predictions([*args.models, *args.against], args.split)]
        if args.against:
            report = compare_seeds(models[: len(args.models)], models[len(args.models) :])
            print(render_seeds(report, len(args.models)))
        else:
            report = compare(*models, args.seed)
            print(render(report))
        if args.json:
            args.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

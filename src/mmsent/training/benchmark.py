"""Measure a recipe, or its rows, over several seeds, or the baseline for it, and write the scores to results/.

    mmsent benchmark configs/mvsa_single/comn_minilm_efficientnet.yaml --seeds 0 1 2 -- --data_dir MVSA_Single ...
    mmsent benchmark configs/mvsa_single/comn.yaml --rows hop2 hop3 -- --data_dir MVSA_Single ...
    mmsent benchmark configs/mvsa_single/comn_minilm_efficientnet.yaml --baseline -- --data_dir MVSA_Single ...
    mmsent benchmark --table

The arguments after `--` go to train.py. Run the command in a checkout: it starts the train.py of the working directory
and writes to its folder results/.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmsent.dataset_scripts.common_arguments import exit_with_one_line, naming
from mmsent.dataset_scripts.common_files import read_json
from mmsent.evaluation.scores import score, single_numbers

from .build import build
from .collator import PostCollator
from .feature_cache import encode_features
from .posts import load_posts
from .recipes import load_recipe, parse_arguments, select_row
from .run_report import PACKAGES

RESULTS, TRAIN = Path("results"), Path("train.py")  # in the working directory
METRICS = ("accuracy", "macro_f1", "weighted_f1")  # columns of the first table; the files have all scores
PRECISION_RECALL = {  # columns of the second table; the weighted recall is the accuracy
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "weighted_precision": "weighted precision",
    "precision_positive": "precision of positive",
    "recall_positive": "recall of positive",
    "f1_positive": "F1 of positive",
}
CALIBRATION = ("ece", "nll", "brier")


def run_seeds(arguments: list[str], seeds: list[int]) -> dict:
    """Train once per seed, each time in a new process, and summarize the scores of the runs.

    Args:
        arguments: The arguments of train.py, with the recipe.
    """
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            output_dir = Path(folder, str(seed))
            command = [sys.executable, str(TRAIN), *arguments]
            done = subprocess.run([*command, "--seed", str(seed), "--output_dir", str(output_dir)])
            if done.returncode:
                sys.exit(done.returncode)  # train.py has said why
            runs.append(read_json(output_dir / "run.json"))
    scores = {
        split: {name: summarize([run["scores"][split][name] for run in runs]) for name in single_numbers(split_scores)}
        for split, split_scores in runs[0]["scores"].items()
    }
    for split in scores:
        groups = [run["scores"][split]["subgroups"] for run in runs]
        scores[split]["subgroups"] = {name: summarize([g[name]["accuracy"] for g in groups]) for name in groups[0]}
    shared = {name: runs[0][name] for name in ("posts", "bad_images", "majority", "versions")}
    missing = {split: len(ids) for split, ids in runs[0]["missing_posts"].items()}
    calibration = summarize_calibration([run["calibration"] for run in runs])
    return {"seeds": seeds, "scores": scores, "calibration": calibration, "missing_posts": missing, **shared}


def summarize(values: list[float]) -> dict:
    """Return the mean, the standard deviation of a sample, and the values."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": deviation, "values": values}


def summarize_calibration(reports: list[dict]) -> dict:
    """Summarize the temperature, and the ECE, NLL and Brier score of each split before and after it."""
    summary: dict = {"temperature": summarize([report["temperature"] for report in reports])}
    for when in ("before", "after"):
        summary[when] = {
            split: {name: summarize([report[when][split][name] for report in reports]) for name in CALIBRATION}
            for split in reports[0][when]
        }
    return summary


def run_baseline(arguments: list[str]) -> dict:
    """Score a logistic regression on the mean text vector and the mean image vector of the recipe's frozen encoders.

    The features are standardised. Five-fold cross-validation on the training split selects the strength of the
    regularisation. The baseline has no random seed.
    """
    model_args, data_args, run_args = parse_arguments(arguments, __doc__)
    run_args.eval_strategy = "no"  # the baseline needs no validation split
    posts = load_posts(data_args, run_args)
    processor, model = build(model_args, posts.outlines["train"]["text"], dict(enumerate(posts.label_names)))
    collator = PostCollator(processor, data_args.modalities)
    cached = encode_features(model, posts.splits, collator, run_args, data_args.features_dir, data_args.features_dtype)
    features = {split: np.stack([pool(rows[row]) for row in range(len(rows))]) for split, rows in cached.items()}
    settings = {"l1_ratios": (0,), "cv": 5, "scoring": "accuracy", "max_iter": 3000, "use_legacy_attributes": False}
    regression = LogisticRegressionCV(Cs=np.logspace(-4, 0, 9), **settings)
    classifier = make_pipeline(StandardScaler(), regression)
    classifier.fit(features.pop("train"), posts.labels["train"])
    scores = {}
    for split, split_features in features.items():
        split_scores = score(classifier.predict(split_features), posts.labels[split], posts.label_names)
        scores[split] = {name: summarize([value]) for name, value in single_numbers(split_scores).items()}
    versions = {name: version(name) for name in (*PACKAGES, "scikit-learn")}
    return {"scores": scores, "C": float(regression.C_), "versions": versions}


def pool(post: dict) -> np.ndarray:
    """Return the mean text vector beside the mean image vector, of shape (D_text + D_image,); zeros if missing."""
    text = post["text_features"].astype(np.float32)  # (L, D_text)
    images = post["image_features"].astype(np.float32)  # (K, R, D_image)
    return np.concatenate([text.sum(0) / max(1, len(text)), images.sum((0, 1)) / max(1, np.prod(images.shape[:2]))])


def table(results: Path = RESULTS) -> str:
    """Return the results as a Markdown table with one row per file: mean and standard deviation in percent.

    The scores are those of the test split, or of the validation split if the corpus has no test split.
    """
    rows = []
    for corpus, system, split, result in _read_results(results):
        if "majority" in result:
            majority = [f"{100 * result['majority'][split][name]:.1f}" for name in METRICS]
            row = [corpus, "majority class", split, "–", *majority]
            rows += [row] if row not in rows else []
        seeds = str(len(result["seeds"])) if "seeds" in result else "–"
        cells = [_percent(result["scores"][split][name]) for name in METRICS]
        rows.append([corpus, system, split, seeds, *cells])
    header = ["| corpus | system | split | seeds | accuracy | macro-F1 | weighted-F1 |", "|---" * 7 + "|"]
    return "\n".join([*header, *(f"| {' | '.join(row)} |" for row in rows)])


def precision_table(results: Path = RESULTS) -> str:
    """Return precision and recall as a Markdown table with one row per file that has them, in the form of `table`; a
    dash stands where no class is called positive."""
    header = ["corpus", "system", "split", *PRECISION_RECALL.values()]
    rows = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for corpus, system, split, result in _read_results(results):
        scores = result["scores"][split]
        if "macro_precision" in scores:
            cells = [_percent(scores[name]) if name in scores else "–" for name in PRECISION_RECALL]
            rows.append(f"| {' | '.join([corpus, system, split, *cells])} |")
    return "\n".join(rows)


def calibration_table(results: Path = RESULTS) -> str:
    """Return as a Markdown table what the temperature of the scores changes, for the results that have measured it:
    means and standard deviations, the ECE in percent."""
    header = "| corpus | system | split | temperature | ECE before | ECE after | NLL before | NLL after |"
    rows = [header, "|---" * 8 + "|"]
    for path in sorted(results.glob("*/*.json")):
        report = json.loads(path.read_text()).get("calibration")
        for split in report["after"] if report else ():
            before, after = report["before"][split], report["after"][split]
            cells = [path.parent.name, path.stem, split, _number(report["temperature"])]
            cells += [_percent(before["ece"]), _percent(after["ece"]), _number(before["nll"]), _number(after["nll"])]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _read_results(results: Path) -> Iterator[tuple[str, str, str, dict]]:
    """Yield the corpus, the system, the split to report and the content of each file of results."""
    for path in sorted(results.glob("*/*.json")):
        result = read_json(path)
        yield path.parent.name, path.stem, _split_to_report(result), result


def _split_to_report(result: dict) -> str:
    return "test" if "test" in result["scores"] else "validation"


def describe_result(name: str, results: Path = RESULTS) -> str:
    """Return the accuracy of a file of results, CORPUS/NAME, with what it was measured on."""
    corpus, system = name.split("/")
    result = read_json(results / f"{name}.json")
    accuracy = result["scores"][_split_to_report(result)]["accuracy"]
    return f"{_percent(accuracy)} on {corpus}'s {_split_to_report(result)} split (`{system}`)"


def _number(summary: dict) -> str:
    deviation = "" if summary["std"] is None else f" ± {summary['std']:.3f}"
    return f"{summary['mean']:.3f}{deviation}"


def _percent(summary: dict) -> str:
    deviation = "" if summary["std"] is None else f" ± {100 * summary['std']:.1f}"
    return f"{100 * summary['mean']:.1f}{deviation}"


def measure(args: argparse.Namespace, row: str | None, arguments: list[str]) -> None:
    """Measure a recipe, or a row of it, and write the result with the command that repeats it."""
    config = ["--config", str(args.recipe), *(["--row", row] if row else []), *arguments]
    result = run_baseline(config) if args.baseline else run_seeds(config, args.seeds)
    stem = f"{args.recipe.stem}_{row}" if row else args.recipe.stem
    path = RESULTS / args.recipe.parent.name / f"{args.name or 'logistic_regression_' * args.baseline + stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    words = ["mmsent", "benchmark", str(args.recipe), *(["--rows", row] if row else [])]
    words += ["--baseline"] if args.baseline else ["--seeds", *map(str, args.seeds)]
    words += ["--name", args.name] if args.name else []
    path.write_text(json.dumps({"command": shlex.join([*words, "--", *arguments]), **result}, indent=2) + "\n")


def main() -> int | None:
    """Run the command `mmsent benchmark`."""
    argv = sys.argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, nargs="?", help="YAML file in configs/")
    parser.add_argument("--rows", nargs="+", help="rows of a recipe that has several; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the trainings (0 1 2)")
    parser.add_argument(
        "--baseline", action="store_true", help="score a logistic regression on the recipe's frozen encoders instead"
    )
    parser.add_argument("--name", help="name of the result; that of the recipe and its row by default")
    parser.add_argument("--table", action="store_true", help="print the tables of all results and stop")
    args = parser.parse_args(argv[:end])
    if args.table:
        print("\n\n".join((table(), precision_table(), calibration_table())))
        return
    if args.recipe is None:
        parser.error("name a recipe, or use --table")
    if not TRAIN.exists():
        parser.error(f"there is no {TRAIN} in {Path.cwd()}: run mmsent benchmark in a checkout of the repository")
    with exit_with_one_line("mmsent benchmark"):
        with naming(f"recipe {args.recipe}"):
            rows = args.rows or list(load_recipe(args.recipe))
            for row in rows:
                select_row(args.recipe, row)
        if args.name and len(rows) > 1:
            raise ValueError(f"name={args.name} is that of one result: name one row with --rows.")
        for row in rows:
            measure(args, row, argv[end + 1 :])
    print(table())

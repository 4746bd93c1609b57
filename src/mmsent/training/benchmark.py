"""Measure a recipe over several seeds, or the baseline that it has to beat, and keep the figures in results/.

    python benchmark.py configs/mvsa_single/comn_minilm_efficientnet.yaml --seeds 0 1 2 -- --data_dir MVSA_Single ...
    python benchmark.py configs/mvsa_single/comn_minilm_efficientnet.yaml --baseline -- --data_dir MVSA_Single ...
    python benchmark.py --table

What follows `--` goes to train.py. The table is the README's.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import train
from mmsent.evaluation.scores import score

from .arguments import parse_arguments
from .feature_cache import PostCollator, encode_features

RESULTS = Path(__file__).parent / "results"
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "weighted_f1": "weighted-F1"}


def run_seeds(recipe: Path, seeds: list[int], arguments: list[str]) -> dict:
    """Train once a seed, each in a process of its own, and gather the scores of their run.json."""
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            output_dir = Path(folder, str(seed))
            command = [sys.executable, str(Path(__file__).with_name("train.py")), "--config", str(recipe), *arguments]
            subprocess.run([*command, "--seed", str(seed), "--output_dir", str(output_dir)], check=True)
            runs.append(json.loads((output_dir / "run.json").read_text()))
    scores = {
        split: {name: summary([run["scores"][split][name] for run in runs]) for name in METRICS}
        for split in runs[0]["scores"]
    }
    for split in scores:  # groups of posts: accuracies over the seeds
        groups = [run["scores"][split]["subgroups"] for run in runs]
        scores[split]["subgroups"] = {name: summary([g[name]["accuracy"] for g in groups]) for name in groups[0]}
    shared = {name: runs[0][name] for name in ("posts", "bad_images", "majority", "versions")}
    missing = {split: len(ids) for split, ids in runs[0]["missing_posts"].items()}
    return {"seeds": seeds, "scores": scores, "missing_posts": missing, **shared}


def summary(values: list[float]) -> dict:
    """Mean, standard deviation (of a sample) and the values themselves."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": deviation, "values": values}


def run_baseline(recipe: Path, arguments: list[str]) -> dict:
    """Logistic regression on the mean of the text encoder's tokens beside the mean of the image encoder's regions.

    Features are standardised; the strength of regularisation is chosen by five-fold cross-validation on the training
    split. It has no seed.
    """
    model_args, data_args, run_args = parse_arguments(["--config", str(recipe), *arguments], __doc__)
    corpus, _, _ = train.load_corpus(data_args, run_args, ("train",))
    label_names = corpus["train"].features["label"].names
    processor, model = train.build(model_args, corpus["train"]["text"], dict(enumerate(label_names)))
    collator = PostCollator(processor, data_args.modalities)
    posts = encode_features(model, corpus, collator, run_args, data_args.features_dir, data_args.features_dtype)
    features = {split: np.stack([pool(rows[row]) for row in range(len(rows))]) for split, rows in posts.items()}
    labels = {split: list(rows["label"]) for split, rows in corpus.items()}
    classifier = make_pipeline(
        StandardScaler(),
        LogisticRegressionCV(
            Cs=np.logspace(-4, 0, 9),
            l1_ratios=(0,),
            cv=5,
            scoring="accuracy",
            max_iter=3000,
            use_legacy_attributes=False,
        ),
    )
    classifier.fit(features.pop("train"), labels["train"])
    scores = {}
    for split, rows in features.items():
        measured = score(classifier.predict(rows), labels[split], label_names)
        scores[split] = {name: summary([measured[name]]) for name in METRICS}
    versions = {name: version(name) for name in (*train.PACKAGES, "scikit-learn")}
    return {"scores": scores, "C": float(classifier[-1].C_), "versions": versions}


def pool(row: dict) -> np.ndarray:
    """The two pooled vectors of a post, zeros for a missing part: (D_text + D_image,)."""
    text, images = (row[name].astype(np.float32) for name in ("text_features", "image_features"))  # (L, D), (K, R, D)
    return np.concatenate([text.sum(0) / max(1, len(text)), images.sum((0, 1)) / max(1, np.prod(images.shape[:2]))])


def table() -> str:
    """The results as Markdown: a row a file, mean and standard deviation over its seeds in percent; of the test split
    where the corpus has one, else of validation."""
    lines = [
        "| corpus | system | split | seeds | accuracy | macro-F1 | weighted-F1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*/*.json")):
        result = json.loads(path.read_text())
        split = "test" if "test" in result["scores"] else "validation"
        if "majority" in result:
            majority = [f"{100 * result['majority'][split][name]:.1f}" for name in METRICS]
            row = [path.parent.name, "majority class", split, "–", *majority]
            if "| " + " | ".join(row) + " |" not in lines:
                lines.append("| " + " | ".join(row) + " |")
        cells = [cell(result["scores"][split][name]) for name in METRICS]
        seeds = str(len(result["seeds"])) if "seeds" in result else "–"
        lines.append("| " + " | ".join([path.parent.name, path.stem, split, seeds, *cells]) + " |")
    return "\n".join(lines)


def cell(scores: dict) -> str:
    deviation = "" if scores["std"] is None else f" ± {100 * scores['std']:.1f}"
    return f"{100 * scores['mean']:.1f}{deviation}"


def main() -> None:
    argv = sys.argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--baseline", action="store_true", help="logistic regression on the recipe's frozen encoders")
    parser.add_argument("--name", help="name of the result, else the recipe's")
    parser.add_argument("--table", action="store_true", help="print the table of all results and stop")
    args = parser.parse_args(argv[:end])
    if args.table:
        print(table())
        return
    if args.recipe is None:
        parser.error("name a recipe, or --table")
    rest = argv[end + 1 :]
    result = run_baseline(args.recipe, rest) if args.baseline else run_seeds(args.recipe, args.seeds, rest)
    name = args.name or ("logistic_regression_" if args.baseline else "") + args.recipe.stem
    path = RESULTS / args.recipe.parent.name / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "benchmark.py", *sys.argv[1:]])
    path.write_text(json.dumps({"command": command, **result}, indent=2) + "\n")
    print(table())


if __name__ == "__main__":
    main()

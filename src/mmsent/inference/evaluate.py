"""Score a trained model on a labelled corpus, without training.

    mmsent evaluate --model RUN --dataset mvsa_single --data_dir MVSA_Single --split validation --output evaluation

OUTPUT is a folder with evaluation.json (scores with 95 % intervals, groups of posts, the calibration of the scores,
the posts on which the model is most sure and wrong), the page report.html, predictions_<split>.jsonl with one line per
post, and figures. The files have the form of those of train.py, and `mmsent compare` reads them.
"""

import argparse
import json
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, DatasetDict, concatenate_datasets
from torch import accelerator as torch_accelerator
from tqdm.auto import tqdm

from mmsent.dataset_scripts import CORPORA
from mmsent.dataset_scripts.common_arguments import exit_with_one_line, parse_name_values
from mmsent.dataset_scripts.common_corpus import corpus_notes, missing_report
from mmsent.dataset_scripts.common_files import atomic_write, locked
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.dataset_scripts.common_sources import load_source
from mmsent.evaluation.calibration import calibration_report, log_scores
from mmsent.evaluation.figures import write_figures
from mmsent.evaluation.labels import match_labels, parse_label_map
from mmsent.evaluation.report_page import write_report
from mmsent.evaluation.reports import print_report, write_predictions
from mmsent.evaluation.scores import check_finite, majority_score, score
from mmsent.evaluation.subgroups import subgroup_scores
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline, make_batch, reading

from .predict import load_pipeline, model_version

ALL = "all"  # the value of --split that stands for the posts of all splits
WORST = 10  # Number of the worst posts in a report.
TEXT_WIDTH = 100  # Number of characters of their texts.


def parse_arguments(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line; return the parser too, for later errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="run folder or Hub id")
    corpora = ", ".join(CORPORA)
    parser.add_argument(
        "--dataset", required=True, help=f"one of {corpora}; a table; or the folder or Hub id of Parquet files"
    )
    parser.add_argument("--dataset_config", help="config of the corpus: its splits, for example random")
    parser.add_argument("--data_dir", help="folder of the corpus as its authors ship it")
    parser.add_argument("--dataset_kwargs", nargs="*", default=[], metavar="NAME=VALUE", help="options of the corpus")
    parser.add_argument("--split", default="test", help=f"split to score, or {ALL} for all posts (default: test)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the evaluation that --output holds")
    parser.add_argument(
        "--label_map",
        nargs="*",
        default=[],
        metavar="CORPUS=MODEL",
        help="labels of the corpus that have another name in the model, for example positive=pos",
    )
    parser.add_argument(
        "--on_bad_image",
        choices=["error", "skip", "missing"],
        default="error",
        help="for an image that cannot be decoded: stop, leave its post out, or use the post without it",
    )
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--trust_remote_code", action="store_true", help="run the Python code of the model's folder")
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f"--batch_size {args.batch_size} must be 1 or more.")
    return parser, args


def main() -> None:
    """Run the command."""
    parser, args = parse_arguments(sys.argv[1:])
    with exit_with_one_line(parser.prog):
        if (args.output / "run.json").exists():
            raise ValueError(f"{args.output} holds a trained model: choose another --output.")
        if (args.output / "evaluation.json").exists() and not args.overwrite:
            raise ValueError(
                f"{args.output} holds an evaluation: choose another --output, or --overwrite to replace it."
            )
        args.output.mkdir(parents=True, exist_ok=True)
        with locked(args.output):
            pipe = load_pipeline(
                args.model, Accelerator(cpu=not torch_accelerator.is_available()).device, args.trust_remote_code
            )
            report = evaluate(pipe, args)
            with atomic_write(args.output / "evaluation.json") as path:
                path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            print_report(report)
            print_worst(report["worst"])
            write_figures(args.output, report, list(pipe.model.config.id2label.values()))
        print(f"\nevaluation.json, report.html, predictions and figures are in {args.output}")


def evaluate(pipe: ImageTextSentimentPipeline, args: argparse.Namespace) -> dict:
    """Score the posts, write their predictions, and return the content of evaluation.json."""
    options = parse_name_values(args.dataset_kwargs)
    corpus = load_source(args.dataset, args.dataset_config, data_dir=args.data_dir, **options)
    split, missing = args.split, missing_report(corpus)
    if split != ALL and split not in corpus:
        raise ValueError(f"{args.dataset} has no {split} posts here, only {', '.join(corpus)}: choose with --split.")
    posts = concatenate_datasets(list(corpus.values())) if split == ALL else corpus[split]
    screened, bad_images = screen_images(DatasetDict({split: posts}), args.on_bad_image)
    posts, config = screened[split], pipe.model.config
    if not len(posts):
        raise ValueError(f"{args.dataset} has no post left in {split}: see --on_bad_image and the corpus.")
    if pipe.model.reads_aspect and config.aspects and not any(posts["aspect"]):
        raise ValueError(f"{args.model} judges an aspect, but no post of {args.dataset} has one.")
    for name in reading(pipe.model)["columns"]:
        if name not in posts.column_names:
            raise ValueError(f"{args.model} reads a {name}, but {args.dataset} has no column {name} here.")
    names = [config.id2label[index] for index in range(config.num_labels)]
    corpus_names = posts.features["label"].names
    indices, notes = match_labels(corpus_names, names, parse_label_map(args.label_map), posts["label"])
    labels = [indices[label] for label in posts["label"]]
    logits = predict_logits(pipe, posts, args.batch_size)
    check_finite(logits, posts["id"], split)
    predictions, temperature = logits.argmax(-1), config.score_temperature
    train_labels = [indices[label] for label in corpus["train"]["label"]] if "train" in corpus else labels
    train_labels = [label for label in train_labels if label is not None]
    write_predictions(args.output / f"predictions_{split}.jsonl", posts["id"], labels, logits, names, temperature)
    scores = score(predictions, labels, names)
    scores["subgroups"] = subgroup_scores(posts, predictions, labels)
    report = {
        "command": shlex.join(sys.argv),
        "model": args.model,
        "model_version": model_version(args.model) or getattr(config, "_commit_hash", None),
        "posts": {split: len(posts)},
        "missing_posts": {name: ids for name, ids in missing.items() if split in (name, ALL)},
        "notes": [*corpus_notes(corpus), *notes],
        "bad_images": bad_images,
        "scores": {split: scores},
        "majority": {split: majority_score(train_labels or labels, labels, names)},
        "calibration": calibration_report({split: logits}, {split: labels}, temperature),
        "worst": worst_posts(posts, logits, labels, names, temperature),
    }
    write_report(args.output, report, {split: posts}, names)
    return report


def predict_logits(pipe: ImageTextSentimentPipeline, posts: Dataset, batch_size: int) -> np.ndarray:
    """Return the logits (N, C) of the posts, those that say nothing included, as train.py does."""
    outputs = (pipe.forward(inputs) for inputs in batches(pipe, posts, batch_size))
    return np.concatenate([output["both"].float().numpy() for output in outputs])


def batches(pipe: ImageTextSentimentPipeline, posts: Dataset, batch_size: int) -> Iterator[dict[str, torch.Tensor]]:
    """Yield the model inputs of the posts of a corpus, batch by batch."""
    reads = reading(pipe.model)
    if reads["aspects"] == "required":  # train.py scores posts without an aspect too
        reads["aspects"] = "optional"
    names = ("text", "images", "image_features", "aspect", *reads["columns"])
    for start in tqdm(range(0, len(posts), batch_size), unit="batch"):
        rows = posts.select(range(start, min(start + batch_size, len(posts))))
        batch = [{name: row[name] for name in names if name in row} for row in rows]
        if reads["aspects"] == "ignored":
            batch = [post | {"aspect": None} for post in batch]
        yield make_batch(pipe.processor, batch, allow_empty=True, **reads)


def worst_posts(
    posts: Dataset, logits: np.ndarray, labels: list[int], names: list[str], temperature: float
) -> list[dict]:
    """Return the posts with the highest score of a wrong label."""
    predictions, confidence = logits.argmax(-1), np.exp(log_scores(logits, temperature)).max(1)
    wrong = (predictions != np.array(labels)).nonzero()[0]
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST]
    return [
        {
            "id": row["id"],
            "text": textwrap.shorten(row["text"] or "", TEXT_WIDTH, placeholder=" ..."),
            "label": names[labels[index]],
            "prediction": names[predictions[index]],
            "score": round(float(confidence[index]), 6),
        }
        for index, row in zip(worst.tolist(), posts.select_columns(["id", "text"]).select(worst), strict=True)
    ]


def print_worst(worst: list[dict]) -> None:
    """Print the posts on which the model is most sure and wrong."""
    if worst:
        print("\nwrong with the highest scores")
    for post in worst:
        print(f"  {post['score']:.1%} {post['prediction']}, labelled {post['label']}: {post['id']}: {post['text']}")

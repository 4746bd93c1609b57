"""Report what to know about a corpus before trusting a score on it: `mmsent audit NAME --data_dir DIR`."""

import argparse
import itertools
import json
import textwrap
from collections import Counter
from pathlib import Path

from datasets import Dataset, DatasetDict

from mmsent.dataset_scripts.common_arguments import add_corpus_arguments, exit_with_one_line, load_named_corpus
from mmsent.dataset_scripts.common_corpus import corpus_notes, missing_report, undecoded
from mmsent.dataset_scripts.common_files import atomic_write
from mmsent.dataset_scripts.common_leaks import KINDS, Leak, Traces, find_leaks

from .scores import majority_score

EXAMPLES = 10  # Number of examples of each kind in a report.


def audit(corpus: DatasetDict) -> dict:
    """Read every text and image of a corpus once, and return a report. `render` formats it as a page.

    Returns:
        A dictionary with:

        - label_order: number -> label.
        - posts: split -> label -> count.
        - missing: split -> number of ids that are missing from `data_dir`.
        - notes: notes of the corpus.
        - text_encodings: encoding -> number of texts.
        - images: split -> counts of images, of posts without an image, of absent and of undecodable images, examples.
        - leaks: "train -> test" -> kind -> number of posts in each of the two splits, examples.
        - leaking: number of train posts that leak into another split.
        - majority: split -> label, accuracy with its 95 % interval, macro-F1 and weighted-F1, in per cent, of always
          predicting the most frequent label of train.
        - agreement: in per cent, of text and joint labels, image and joint labels, text and image labels.
    """
    raw = undecoded(corpus)
    label_names = next(iter(raw.values())).features["label"].names
    traces = {split: Traces.of(posts, len(posts), split) for split, posts in raw.items()}
    labels = {split: Counter(posts["label"]) for split, posts in raw.items()}
    encodings = (posts["text_encoding"] for posts in raw.values() if "text_encoding" in posts.features)
    leaks = {pair: find_leaks(*(traces[split] for split in pair)) for pair in itertools.combinations(raw, 2)}
    of_train = [kinds for (split, _), kinds in leaks.items() if split == "train"]
    return {
        "label_order": dict(enumerate(label_names)),
        "posts": {split: {name: count[i] for i, name in enumerate(label_names)} for split, count in labels.items()},
        "missing": {split: len(ids) for split, ids in missing_report(corpus).items()},
        "notes": corpus_notes(corpus),
        "text_encodings": dict(Counter(itertools.chain.from_iterable(encodings))),
        "images": {split: _images(posts, traces[split]) for split, posts in raw.items()},
        "leaks": {f"{a} -> {b}": _leaks(kinds, traces[a].ids, traces[b].ids) for (a, b), kinds in leaks.items()},
        "leaking": len({row for kinds in of_train for leak in kinds.values() for row in leak.first}),
        "majority": _majority(raw, label_names),
        "agreement": _agreement(raw),
    }


def _images(posts: Dataset, traces: Traces) -> dict:
    absent, undecodable = [], []
    for post_id, images, hashes in zip(traces.ids, posts["images"], traces.images, strict=True):
        for image, image_hashes in zip(images, hashes, strict=True):
            if image_hashes is None:
                absent.append(f"{post_id}: {image['path']}")
            elif image_hashes.error:
                undecodable.append(f"{post_id}: {image_hashes.error}")
    return {
        "images": sum(map(len, traces.images)),
        "posts_without": sum(not images for images in traces.images),
        "absent": len(absent),
        "undecodable": len(undecodable),
        "examples": (absent[:EXAMPLES] + undecodable)[: 2 * EXAMPLES],
    }


def _leaks(kinds: dict[str, Leak], first_ids: list[str], second_ids: list[str]) -> dict[str, dict]:
    return {
        kind: {
            "posts_of_first": len(leak.first),
            "posts_of_second": len(leak.second),
            "examples": [[first_ids[a], second_ids[b]] for a, b in leak.examples],
        }
        for kind, leak in kinds.items()
        if leak.examples
    }


def _majority(corpus: DatasetDict, label_names: list[str]) -> dict[str, dict]:
    majority = {}
    for split, posts in corpus.items() if "train" in corpus else ():
        if split != "train":
            scores = majority_score(list(corpus["train"]["label"]), list(posts["label"]), label_names)
            majority[split] = {
                "label": scores["label"],
                **{name: round(100 * scores[name], 2) for name in ("accuracy", "macro_f1", "weighted_f1")},
                "accuracy_interval": [round(100 * bound, 2) for bound in scores["accuracy_interval"]],
            }
    return majority


def _agreement(corpus: DatasetDict) -> dict[str, float]:
    columns = {
        name: [label for posts in corpus.values() for label in posts[name]]
        for name in ("text_label", "image_label", "label")
    }
    agreement = {}
    for one, other in itertools.combinations(columns, 2):
        pairs = [pair for pair in zip(columns[one], columns[other], strict=True) if None not in pair]
        if pairs:
            agreement[f"{one} = {other}"] = round(100 * sum(a == b for a, b in pairs) / len(pairs), 1)
    return agreement


def render(title: str, report: dict) -> str:
    """Return a report as one page of plain text."""
    lines = [title, "=" * len(title), "", *_render_posts(report)]
    if report["leaks"]:
        lines += ["", "Splits share", *_render_leaks(report)]
    lines += ["", "Images"]
    for split, images in report["images"].items():
        lines.append(
            f"  {split:12}{images['images']:>8}, {images['posts_without']} posts without, "
            f"{images['absent']} not in the folder, {images['undecodable']} that cannot be decoded"
        )
        lines += [f"    {example}" for example in images["examples"]]
    if report["text_encodings"]:
        encodings = ", ".join(f"{count} {name}" for name, count in report["text_encodings"].items())
        lines += ["", f"Texts were read as: {encodings}"]
    if report["majority"]:
        lines += [
            "",
            "Always predicting the most frequent label of train gives (with the 95 % interval of the accuracy)",
        ]
    for split, scores in report["majority"].items():
        low, high = scores["accuracy_interval"]
        accuracy = f"accuracy {scores['accuracy']:.2f} ({low:.2f} to {high:.2f})"
        f1 = f"macro-F1 {scores['macro_f1']:.2f}, weighted-F1 {scores['weighted_f1']:.2f}"
        lines.append(f"  {split:12}{accuracy}, {f1} ({scores['label']})")
    if report["agreement"]:
        shares = ", ".join(f"{pair} {share:.1f} %" for pair, share in report["agreement"].items())
        lines += ["", f"Labels agree: {shares}"]
    return "\n".join(lines) + "\n"


def _render_posts(report: dict) -> list[str]:
    label_names = list(report["label_order"].values())
    width = max(7, *(len(name) + 2 for name in label_names))
    header = "".join(f"{name:>{width}}" for name in label_names)
    order = ", ".join(f"{number} {name}" for number, name in report["label_order"].items())
    lines = [f"Labels, in the order of their numbers: {order}", ""]
    lines.append(f"{'posts':12}{'all':>8}{header}   not in data_dir")
    for split in dict.fromkeys([*report["posts"], *report["missing"]]):
        counts = report["posts"].get(split, dict.fromkeys(label_names, 0)).values()
        cells = "".join(f"{count:>{width}}" for count in counts)
        lines.append(f"{split:12}{sum(counts):>8}{cells}   {report['missing'].get(split, 0):>15}")
    if report["notes"]:
        lines += ["", *(f"Note: {textwrap.shorten(note, 300, placeholder=' ...')}" for note in report["notes"])]
    return lines


def _render_leaks(report: dict) -> list[str]:
    lines = []
    for pair, kinds in report["leaks"].items():
        one, other = pair.split(" -> ")
        lines.append(f"  {one} and {other}" + ("" if kinds else ": nothing"))
        for kind, leak in kinds.items():
            examples = ", ".join("=".join(ids) for ids in leak["examples"][:3])
            counts = f"{leak['posts_of_second']:>6} posts of {other}, {leak['posts_of_first']:>5} of {one}"
            lines.append(f"  {counts}: {KINDS[kind]} ({examples}{', ...' if leak['posts_of_second'] > 3 else ''})")
    if report["leaking"]:
        lines.append(f"  In total {report['leaking']} posts of train leak; the config ..._clean does not have them")
    return lines


def main() -> None:
    """Run the command `mmsent audit`."""
    parser = argparse.ArgumentParser(description="Report what to know about a corpus before trusting a score on it.")
    add_corpus_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report to this file")
    args = parser.parse_args()
    with exit_with_one_line(parser.prog):
        if args.json and not args.json.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {args.json.parent}, which --json names")
        corpus = load_named_corpus(args)
        report = audit(corpus)
        config = next(iter(corpus.values())).info.config_name
        print(render(f"{args.name}, config {config}", report), end="")
        if args.json:
            with atomic_write(args.json) as temporary:  # a pipe in the way would block
                temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

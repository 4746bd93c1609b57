"""What one must know of a corpus before one trusts a score on it: `python -m dataset_scripts audit NAME`."""

import itertools
import math
from collections import Counter

from datasets import DatasetDict, Image, List

from mmsent.dataset_scripts.common_corpus import corpus_notes, missing_report
from mmsent.dataset_scripts.common_leaks import KINDS, Traces, find_leaks, leaking_rows

from .sentiment.sentiment import Sentiment

Z_95 = 1.959964  # of the normal distribution
EXAMPLES = 10  # of each kind that a report names


def audit(corpus: DatasetDict) -> dict:
    """Read every text and picture of a corpus once and report on it; `render` makes a page of the result.

    Returns:
        label_order; posts (split -> label -> count); missing (split -> count of ids that data_dir lacks); notes;
        text_encodings; pictures (split -> count, posts without, absent, undecodable, examples of the two);
        leaks ("train -> test" -> kind -> posts of each side, examples); leaking (posts of train in any leak);
        majority (split -> scores of always naming train's most frequent label, in per cent, and half_width, half of
        the 95 % interval of that accuracy, in points);
        agreement (of text and joint, image and joint, text and image labels, in per cent).
    """
    label_names = corpus["train" if "train" in corpus else next(iter(corpus))].features["label"].names
    raw = {split: posts.cast_column("images", List(Image(decode=False))) for split, posts in corpus.items()}
    traces = {split: Traces.of(posts, len(posts), split) for split, posts in raw.items()}
    encodings = Counter(
        encoding
        for posts in corpus.values()
        if "text_encoding" in posts.features
        for encoding in posts["text_encoding"]
    )
    return {
        "label_order": dict(enumerate(label_names)),
        "posts": {split: _count_labels(posts["label"], label_names) for split, posts in corpus.items()},
        "missing": {split: len(ids) for split, ids in missing_report(corpus).items()},
        "notes": corpus_notes(corpus),
        "text_encodings": dict(encodings),
        "pictures": {split: _pictures(raw[split], traces[split]) for split in corpus},
        "leaks": {f"{a} -> {b}": _leaks(traces[a], traces[b]) for a, b in itertools.combinations(corpus, 2)},
        "leaking": _leaking(traces),
        "majority": _majority(corpus, label_names),
        "agreement": _agreement(corpus),
    }


def _count_labels(labels: list[int], label_names: list[str]) -> dict[str, int]:
    count = Counter(labels)
    return {name: count[index] for index, name in enumerate(label_names)}


def _pictures(posts, traces: Traces) -> dict:
    absent, undecodable = [], []
    for post_id, images, pictures in zip(traces.ids, posts["images"], traces.pictures, strict=True):
        for image, picture in zip(images, pictures, strict=True):
            if picture is None:
                absent.append(f"{post_id}: {image['path']}")
            elif picture.error:
                undecodable.append(f"{post_id}: {picture.error}")
    return {
        "pictures": sum(len(pictures) for pictures in traces.pictures),
        "posts_without": sum(not pictures for pictures in traces.pictures),
        "absent": len(absent),
        "undecodable": len(undecodable),
        "examples": (absent[:EXAMPLES] + undecodable)[: 2 * EXAMPLES],
    }


def _leaks(one: Traces, other: Traces) -> dict[str, dict]:
    leaks = {}
    for kind, pairs in find_leaks(one, other).items():
        if pairs:
            first, second = (len({pair[side] for pair in pairs}) for side in (0, 1))
            examples = [[one.ids[a], other.ids[b]] for a, b in pairs[:EXAMPLES]]
            leaks[kind] = {"posts_of_first": first, "posts_of_second": second, "examples": examples}
    return leaks


def _leaking(traces: dict[str, Traces]) -> int:
    """How many posts a clean variant drops from train."""
    others = [split_traces for split, split_traces in traces.items() if split != "train"]
    return len(leaking_rows(traces["train"], others)) if "train" in traces else 0


def _majority(corpus: DatasetDict, label_names: list[str]) -> dict[str, dict]:
    """Always naming the most frequent label of train: what any score has to be held against."""
    if "train" not in corpus:
        return {}
    most_frequent = Counter(corpus["train"]["label"]).most_common(1)[0][0]
    majority = {}
    for split, posts in corpus.items():
        if split != "train":
            references = list(posts["label"])
            scores = Sentiment(keep_in_memory=True).compute(
                predictions=[most_frequent] * len(references), references=references, label_names=label_names
            )
            share = scores["accuracy"]
            majority[split] = {
                "label": label_names[most_frequent],
                **{name: round(100 * scores[name], 2) for name in ("accuracy", "macro_f1", "weighted_f1")},
                "half_width": round(100 * Z_95 * math.sqrt(share * (1 - share) / len(references)), 1),
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
    """A report as one page of plain text."""
    lines = [title, "=" * len(title), ""]
    label_names = list(report["label_order"].values())
    lines.append(
        "Labels, in the order of their numbers: " + ", ".join(f"{i} {n}" for i, n in report["label_order"].items())
    )
    width = max(map(len, label_names)) + 2
    lines += [
        "",
        f"{'posts':12}{'all':>8}" + "".join(f"{name:>{max(width, 7)}}" for name in label_names) + "   not in data_dir",
    ]
    for split in dict.fromkeys([*report["posts"], *report["missing"]]):
        counts = report["posts"].get(split, dict.fromkeys(label_names, 0))
        cells = "".join(f"{count:>{max(width, 7)}}" for count in counts.values())
        lines.append(f"{split:12}{sum(counts.values()):>8}{cells}   {report['missing'].get(split, 0):>15}")
    if report["notes"]:
        lines += ["", *(f"Note: {note if len(note) < 300 else note[:300] + ' ...'}" for note in report["notes"])]
    lines += ["", "Splits share"]
    for pair, kinds in report["leaks"].items():
        one, other = pair.split(" -> ")
        lines.append(f"  {one} and {other}" + ("" if kinds else ": nothing"))
        for kind, found in kinds.items():
            some = ", ".join("=".join(ids) for ids in found["examples"][:3])
            counts = f"{found['posts_of_second']:>6} posts of {other}, {found['posts_of_first']:>5} of {one}"
            lines.append(f"  {counts}: {KINDS[kind]} ({some}{', ...' if found['posts_of_second'] > 3 else ''})")
    if report["leaking"]:
        lines.append(f"  In all {report['leaking']} posts of train leak: the ..._clean config is without them")
    lines += ["", "Pictures"]
    for split, pictures in report["pictures"].items():
        lines.append(
            f"  {split:12}{pictures['pictures']:>8}, {pictures['posts_without']} posts without, "
            f"{pictures['absent']} not in the folder, {pictures['undecodable']} that cannot be decoded"
        )
        lines += [f"    {example}" for example in pictures["examples"]]
    if report["text_encodings"]:
        encodings = ", ".join(f"{count} {name}" for name, count in report["text_encodings"].items())
        lines += ["", f"Texts were read as: {encodings}"]
    lines += ["", "Always naming train's most frequent label gives"]
    for split, scores in report["majority"].items():
        accuracy = f"accuracy {scores['accuracy']:.2f} ± {scores['half_width']:.1f}"
        f1 = f"macro-F1 {scores['macro_f1']:.2f}, weighted-F1 {scores['weighted_f1']:.2f}"
        lines.append(f"  {split:12}{accuracy}, {f1} ({scores['label']}; ± is half of the 95 % interval)")
    if report["agreement"]:
        lines += [
            "",
            "Labels agree: " + ", ".join(f"{pair} {share:.1f} %" for pair, share in report["agreement"].items()),
        ]
    return "\n".join(lines) + "\n"

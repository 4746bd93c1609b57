"""Write the predictions of a run and print its report."""

import json
from pathlib import Path

import numpy as np
import torch

from mmsent.modeling.common_pipeline import probabilities


def write_predictions(
    path: Path,
    ids: list[str],
    references: list[int],
    logits: np.ndarray,
    names: list[str],
    temperature: float = 1.0,
) -> None:
    """Write one JSON line per post with its id, label, prediction and the score of every class."""
    all_scores = probabilities(torch.from_numpy(logits), temperature).tolist()
    with path.open("w", encoding="utf-8") as lines:
        rows = zip(ids, references, logits.argmax(-1), all_scores, strict=True)
        for post_id, reference, prediction, post_scores in rows:
            scores = {name: round(value, 6) for name, value in zip(names, post_scores, strict=True)}
            line = {"id": post_id, "label": names[reference], "prediction": names[prediction], "scores": scores}
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")


def print_report(run: dict) -> None:
    """Print missing posts and notes, and the scores beside those of the majority class. report.html has the rest."""
    for split, ids in run["missing_posts"].items():
        print(f"{split}: {len(ids)} posts are missing in data_dir (the report lists them)")
    for note in run["notes"]:
        print(f"note: {note if len(note) < 300 else note[:300] + ' ...'}")
    for split, reasons in run["bad_images"].items():
        print(f"{split}: {len(reasons)} images could not be decoded: " + "; ".join(reasons[:10]))
    print(f"\n{'':24}{'accuracy':>10}{'95 % interval':>18}{'macro-F1':>10}{'weighted-F1':>13}")
    for split, scores in run["scores"].items():
        for name, line in ((split, scores), ("  majority class", run["majority"][split])):
            cells = f"{line['accuracy']:>10.2%}{_interval(line):>18}{line['macro_f1']:>10.2%}"
            print(f"{name:24}{cells}{line['weighted_f1']:>13.2%}")
    print_calibration(run["calibration"])


def print_calibration(report: dict) -> None:
    """Print how far the scores can be trusted, and what `mmsent predict --abstain_below` gives."""
    temperature, fitted_on = report["temperature"], report["fitted_on"]
    origin = f"fitted on {fitted_on}" if fitted_on else "not fitted here"
    print(f"\n{f'temperature {temperature:.4g}, {origin}':36}{'ECE':>8}{'NLL':>10}{'Brier':>10}")
    for split, after in report["after"].items():
        for name, line in ((split, after), ("  with temperature 1", report["before"][split])):
            print(f"{name:36}{line['ece']:>8.2%}{line['nll']:>10.4f}{line['brier']:>10.4f}")
    split, rows = next(iter(report["risk_coverage"].items()))
    print(f"\n{f'--abstain_below, on {split}':36}{'posts that are left':>24}{'accuracy on them':>20}")
    for row in rows:
        left = f"{row['posts']:,} ({row['coverage']:.1%})"
        accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.2%}"
        print(f"{row['threshold']:<36}{left:>24}{accuracy:>20}")


def _interval(scores: dict) -> str:
    return " to ".join(f"{value:.2%}" for value in scores["accuracy_interval"])

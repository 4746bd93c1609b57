"""Fit the temperature of a model's scores, and measure how far the scores can be trusted.

Temperature scaling (Guo et al.: On Calibration of Modern Neural Networks, ICML 2017) divides all logits by one number
before the softmax. It changes how sure a model says that it is, and never which class it predicts.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

BINS = 15
FOLDS = 5
TEMPERATURES = (0.05, 20.0)  # the lowest and the highest temperature that is fitted
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the scores in `risk_coverage`


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the lowest negative log-likelihood (NLL) of the labels (N,), given logits (N, C).

    A model that is always right would have the lowest NLL at a temperature of zero, where it is sure of everything. As
    in Platt's scaling (Platt 1999), each label therefore has the probability (N + 1) / (N + C), and each other class
    1 / (N + C). The result is 1.0 if the NLL of the labels themselves is not lower than without a temperature.
    """
    count, classes = logits.shape
    targets = np.full(logits.shape, 1 / (count + classes))
    targets[np.arange(count), labels] = (count + 1) / (count + classes)

    def loss(log_temperature: float) -> float:
        return -(targets * log_scores(logits, np.exp(log_temperature))).sum() / count

    temperature = float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))
    improves = _nll(log_scores(logits, temperature), labels) < _nll(log_scores(logits, 1.0), labels)
    return temperature if improves else 1.0


def cross_fitted_temperatures(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each post the temperature (N, 1) that the posts of the other folds give.

    Scores with these temperatures show what a temperature that is fitted on a split does to posts outside of it.
    """
    folds = np.arange(len(labels)) % FOLDS
    temperatures = np.ones((len(labels), 1))
    for fold in range(FOLDS):
        others = folds != fold
        if others.any():
            temperatures[~others] = fit_temperature(logits[others], labels[others])
    return temperatures


def log_scores(logits: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """Return the logarithms of the scores (N, C) in float64."""
    return log_softmax(np.asarray(logits, np.float64) / temperature, axis=1)


def calibration(log_probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """Compare the scores of posts with how often their predictions are right.

    Args:
        log_probabilities: (N, C) The logarithms of the scores.
        labels: (N,) The class of each post.

    Returns:
        A dictionary with:

        - ece: the expected calibration error, the mean over the posts of |accuracy - confidence| of their bin. The
          confidence is the score of the predicted class.
        - nll: the mean negative log-likelihood of the labels.
        - brier: the mean over the posts of the squared differences between scores and label, summed over the classes.
        - reliability: for each bin its number of posts, lowest and highest score, mean confidence and accuracy. The 15
          bins hold equally many posts, but posts with equal scores share a bin, so that there may be fewer bins.
    """
    scores = np.exp(log_probabilities)
    confidence, correct = scores.max(1), log_probabilities.argmax(1) == labels
    order = np.argsort(confidence, kind="stable")
    confidence, correct = confidence[order], correct[order]
    starts = confidence[np.arange(BINS) * len(labels) // BINS]
    reliability = []
    for rows in np.split(np.arange(len(labels)), np.unique(np.searchsorted(confidence, starts))[1:]):
        entry = {"posts": len(rows), "lowest": float(confidence[rows[0]]), "highest": float(confidence[rows[-1]])}
        entry |= {"confidence": float(confidence[rows].mean()), "accuracy": float(correct[rows].mean())}
        reliability.append(entry)
    one_hot = np.eye(scores.shape[1])[labels]
    gaps = [entry["posts"] * abs(entry["accuracy"] - entry["confidence"]) for entry in reliability]
    return {
        "ece": sum(gaps) / len(labels),
        "nll": _nll(log_probabilities, labels),
        "brier": float(((scores - one_hot) ** 2).sum(1).mean()),
        "reliability": reliability,
    }


def risk_coverage(log_probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Return for each of `THRESHOLDS` the posts whose highest score reaches it: their number, their share of all posts
    as `coverage`, and their `accuracy`, which is None if there are none."""
    confidence, correct = np.exp(log_probabilities).max(1), log_probabilities.argmax(1) == labels
    rows = []
    for threshold in THRESHOLDS:
        kept = confidence >= threshold
        accuracy = float(correct[kept].mean()) if kept.any() else None
        entry = {"threshold": threshold, "posts": int(kept.sum()), "coverage": float(kept.mean())}
        rows.append(entry | {"accuracy": accuracy})
    return rows


def calibration_report(
    logits: dict[str, np.ndarray], labels: dict[str, list[int]], temperature: float, fitted_on: str | None = None
) -> dict:
    """Return what run.json and evaluation.json say about the scores of each split.

    Args:
        fitted_on: The split on which the temperature was fitted. There, the figures "after" are those of
            `cross_fitted_temperatures`.

    Returns:
        A dictionary with the `temperature`, `fitted_on`, the results of `calibration` by split `before` (with the
        temperature 1) and `after`, and the `risk_coverage` by split.
    """
    report: dict = {"temperature": temperature, "fitted_on": fitted_on, "before": {}, "after": {}, "risk_coverage": {}}
    for split, split_logits in logits.items():
        split_labels = np.asarray(labels[split])
        used = cross_fitted_temperatures(split_logits, split_labels) if split == fitted_on else temperature
        before = calibration(log_scores(split_logits, 1.0), split_labels)
        report["before"][split] = {name: before[name] for name in ("ece", "nll", "brier")}
        report["after"][split] = calibration(log_scores(split_logits, used), split_labels)
        report["risk_coverage"][split] = risk_coverage(log_scores(split_logits, temperature), split_labels)
    return report


def _nll(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())

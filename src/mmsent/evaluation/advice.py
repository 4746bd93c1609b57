"""Say what to try next after a run, from the figures in run.json."""

from collections.abc import Iterator

WIDE = 0.1  # width of an interval of the accuracy from which two models can hardly be told apart
POOR = 0.5  # share of the best class's F1 below which a class is called poor
WORSE = 0.15  # by how much the accuracy of a group must be lower than that of all posts
FEW = 30  # posts of a group that are too few to speak about


def advice(run: dict, label_names: list[str]) -> list[str]:
    """Return what the figures of a run suggest to try next, one sentence per finding."""
    return [
        *_posts(run),
        *_epochs(run),
        *(sentence for split in run["scores"] for sentence in _scores(run, split, label_names)),
    ]


def _posts(run: dict) -> Iterator[str]:
    missing = sum(map(len, run["missing_posts"].values()))
    if missing:
        yield (
            f"{missing:,} posts of the corpus are not in its folder: get them, since figures on fewer posts cannot be "
            "compared with those of others."
        )
    bad = sum(map(len, run["bad_images"].values()))
    if bad:
        yield f"{bad:,} images could not be decoded: repair them, because the model did not see them."
    yield "`mmsent audit` tells whether test posts are also in training, which would make every figure here too high."


def _epochs(run: dict) -> Iterator[str]:
    evaluations = [entry for entry in run.get("log", []) if "eval_loss" in entry]
    if len(evaluations) < 2:
        return
    last = evaluations[-1]
    lowest = min(evaluations, key=lambda entry: entry["eval_loss"])
    if last["eval_loss"] > 1.3 * lowest["eval_loss"]:
        yield (
            f"The validation loss rises after epoch {lowest['epoch']:g}: the model learns the training posts by "
            "heart. Train for fewer epochs, or with more dropout (`--model_kwargs dropout=0.3`), a frozen encoder, or "
            "more posts."
        )
    elif run["best_epoch"] >= last["epoch"]:
        yield "The last epoch was the best one: train longer, for example with twice the `--num_train_epochs`."


def _scores(run: dict, split: str, label_names: list[str]) -> Iterator[str]:
    scores, majority = run["scores"][split], run["majority"][split]
    low, high = scores["accuracy_interval"]
    if low <= majority["accuracy"]:
        yield (
            f"{split}: the accuracy is not certainly above that of always saying {majority['label']} "
            f"({majority['accuracy']:.1%}): check the labels, and try `--preset balanced`, which reads the posts with "
            "pretrained encoders."
        )
    if high - low > WIDE:
        yield (
            f"{split}: the interval of the accuracy is {100 * (high - low):.0f} points wide. A difference between two "
            "models that is smaller is not certain: label more posts, or compare several seeds."
        )
    by_class = {name: scores[f"f1_{name}"] for name in label_names if f"f1_{name}" in scores}
    if by_class:
        worst, best = (pick(by_class, key=by_class.get) for pick in (min, max))
        if by_class[worst] < POOR * by_class[best]:
            yield (
                f"{split}: the class {worst} is recognised far worse than {best} (F1 {by_class[worst]:.0%} and "
                f"{by_class[best]:.0%}): try `--class_weights balanced`, or label more posts of {worst}."
            )
    for name, group in scores["subgroups"].items():
        if group["posts"] >= FEW and group["accuracy"] < scores["accuracy"] - WORSE:
            yield (
                f"{split}: among the {group['posts']} posts of the group “{name}” only {group['accuracy']:.0%} are "
                f"right, of all posts {scores['accuracy']:.0%}."
            )

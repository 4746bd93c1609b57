"""Score groups of posts that a model may find harder than others."""

import numpy as np
from datasets import ClassLabel, Dataset

from mmsent.dataset_scripts.common_corpus import undecoded

from .scores import wilson_interval

GROUP_COLUMNS = ("decided_by", "aspect")  # columns whose values form groups, where a corpus has them
MAX_GROUPS = 20  # a column with more values than this forms no groups


def subgroups(posts: Dataset) -> dict[str, np.ndarray]:
    """Return the row numbers of each group of posts, by the name of the group.

    The groups are formed by `GROUP_COLUMNS`, by whether the labels of text and image agree, and by missing texts,
    missing images and several images. Groups that hold no post or all posts are left out.
    """
    groups = {}
    for column in GROUP_COLUMNS:
        feature = posts.features.get(column)
        to_name = feature.int2str if isinstance(feature, ClassLabel) else str
        values = np.array([to_name(value) for value in posts[column]] if feature is not None else [])
        if 1 < len(set(values)) <= MAX_GROUPS:
            groups |= {f"{column} = {value}": values == value for value in sorted(set(values))}
    if None not in posts["text_label"] and None not in posts["image_label"]:
        agree = np.array(posts["text_label"]) == np.array(posts["image_label"])
        groups |= {"text and image labels agree": agree, "text and image labels differ": ~agree}
    image_counts = np.array([len(images) for images in undecoded(posts)["images"]])
    without_text = np.array([not (text or "").strip() for text in posts["text"]])
    groups |= {"no text": without_text, "no picture": image_counts == 0, "several pictures": image_counts > 1}
    return {name: members.nonzero()[0] for name, members in groups.items() if members.any() and not members.all()}


def subgroup_scores(posts: Dataset, predictions: np.ndarray, references: list[int]) -> dict[str, dict]:
    """Return the number of posts, `accuracy` and `accuracy_interval` of each group of `subgroups`."""
    correct = np.asarray(predictions) == np.asarray(references)
    scores = {}
    for name, rows in subgroups(posts).items():
        accuracy = float(correct[rows].mean())
        interval = wilson_interval(accuracy, len(rows))
        scores[name] = {"posts": len(rows), "accuracy": accuracy, "accuracy_interval": interval}
    return scores

"""The columns that all corpora share."""

from collections.abc import Iterable

from datasets import ClassLabel, Features, Image, List, Value

LABELS = ["negative", "neutral", "positive"]
# The type of the column `image_features`: vectors that stand for the images of a post, computed beforehand.
VECTORS = List(List(Value("float32")))
TARGET = "$T$"  # In a text, it stands for the target that the column `aspect` names.


def features(label_names: Iterable[str] = LABELS, **extra) -> Features:
    """Return the columns of every corpus, followed by the columns that one corpus adds.

    `aspect`, `text_label` and `image_label` are None in a corpus that does not have them.

    Args:
        label_names: Names of the classes, in the order of their numbers.
        extra: Name and type of each additional column.
    """
    text, label = Value("string"), ClassLabel(names=list(label_names))
    columns = {"id": text, "text": text, "images": List(Image()), "aspect": text}
    return Features(columns | {"label": label, "text_label": label, "image_label": label} | extra)

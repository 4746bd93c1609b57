"""Score a sentiment classifier: an `evaluate` module that needs no network.

evaluate.load("src/mmsent/evaluation/sentiment").compute(predictions=[...], references=[...], label_names=[...])
"""

import datasets
import evaluate
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

MEASURES = ("precision", "recall", "f1")  # of each class; `macro_` and `weighted_` are their means

_DESCRIPTION = """
Return the accuracy, the precision, recall and F1 of each class, their macro means (unweighted) and weighted means
(weighted by the classes' counts), and the confusion matrix. The caller passes the list of classes: a class that a
small test set lacks still counts in the macro means, and the rows of the confusion matrix keep their places.
"""

_KWARGS = """
Args:
    predictions: The predicted class indices.
    references: The true class indices.
    label_names: The names of all classes, in the order of their indices.
Returns:
    accuracy; macro_<measure>, weighted_<measure> and <measure>_<name> of each class, where the measures are precision,
    recall and f1, all in 0..1 (0 where the divisor is 0, such as the precision of a class that is never predicted);
    confusion_matrix, with one row per true class and one column per predicted class.
Raises:
    ValueError: If an index is not one of a class.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS)
class Sentiment(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_KWARGS,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list[int], references: list[int], label_names: list[str]) -> dict:
        classes = range(len(label_names))
        for name, indices in (("predictions", predictions), ("references", references)):
            out_of_range = sorted(set(indices) - set(classes))
            if out_of_range:
                raise ValueError(f"{name} contain {out_of_range}, but the classes are 0..{len(label_names) - 1}.")
        matrix = confusion_matrix(references, predictions, labels=classes)
        *by_measure, support = precision_recall_fscore_support(
            references, predictions, labels=classes, zero_division=0
        )
        scores = {"accuracy": float(matrix.trace() / support.sum())}
        for measure, by_class in zip(MEASURES, by_measure, strict=True):
            scores[f"macro_{measure}"] = float(by_class.mean())
            scores[f"weighted_{measure}"] = float((by_class * support).sum() / support.sum())
            scores |= {f"{measure}_{name}": float(value) for name, value in zip(label_names, by_class, strict=True)}
        return scores | {"confusion_matrix": matrix.tolist()}

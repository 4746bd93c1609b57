"""Score a sentiment classifier: an `evaluate` module that needs no network.

evaluate.load("src/mmsent/evaluation/sentiment").compute(predictions=[...], references=[...], label_names=[...])
"""

import datasets
import evaluate
from sklearn.metrics import confusion_matrix, f1_score

_DESCRIPTION = """
Return the accuracy, macro-F1 (the unweighted mean of the classes' F1), weighted-F1 (the mean weighted by the classes'
counts), the F1 of each class and the confusion matrix. The caller passes the list of classes: a class that a small
test set lacks still counts in macro-F1, and the rows of the confusion matrix keep their places.
"""

_KWARGS = """
Args:
    predictions: The predicted class indices.
    references: The true class indices.
    label_names: The names of all classes, in the order of their indices.
Returns:
    accuracy, macro_f1, weighted_f1 and f1_<name> of each class, all in 0..1 (the F1 of a class that is neither true
    nor predicted anywhere is 0); confusion_matrix, with one row per true class and one column per predicted class.
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
        f1 = f1_score(references, predictions, labels=classes, average=None, zero_division=0)
        support = matrix.sum(1)
        return {
            "accuracy": float(matrix.trace() / support.sum()),
            "macro_f1": float(f1.mean()),
            "weighted_f1": float((f1 * support).sum() / support.sum()),
            **{f"f1_{name}": float(value) for name, value in zip(label_names, f1, strict=True)},
            "confusion_matrix": matrix.tolist(),
        }

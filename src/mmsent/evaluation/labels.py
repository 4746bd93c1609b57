"""Find for each label of a corpus the label of a model that means the same."""

from collections.abc import Iterable


def parse_label_map(words: list[str]) -> dict[str, str]:
    """Parse words of the form CORPUS=MODEL, for example `positive=pos`.

    Raises:
        ValueError: If a word does not have this form.
    """
    label_map = {}
    for word in words:
        corpus_label, equals, model_label = word.partition("=")
        if not equals:
            raise ValueError(f"--label_map {word!r} does not have the form CORPUS_LABEL=MODEL_LABEL.")
        label_map[corpus_label] = model_label
    return label_map


def match_labels(
    corpus_labels: list[str], model_labels: list[str], label_map: dict[str, str], used: Iterable[int]
) -> tuple[list[int | None], list[str]]:
    """Return for each label of a corpus the index of the model's label, and notes about what is not the same.

    Labels match if they are equal when case and blanks are ignored, or if `label_map` says so.

    Args:
        label_map: For labels of the corpus the label of the model. Several labels may have the same one.
        used: The indices of the corpus's labels that posts have. The others need no label of the model.

    Raises:
        ValueError: If a label that posts have, or a label in `label_map`, is not known. The message lists both sides.
    """
    both = f"The labels of the corpus are {_listed(corpus_labels)}; those of the model are {_listed(model_labels)}."
    by_key = {_key(label): index for index, label in enumerate(model_labels)}
    chosen = {_key(corpus_label): model_label for corpus_label, model_label in label_map.items()}
    known = {_key(label) for label in corpus_labels}
    for corpus_label, model_label in label_map.items():
        if _key(corpus_label) not in known or _key(model_label) not in by_key:
            side = "model" if _key(corpus_label) in known else "corpus"
            raise ValueError(f"--label_map {corpus_label}={model_label} names no label of the {side}. {both}")
    indices = [by_key.get(_key(chosen.get(_key(label), label))) for label in corpus_labels]
    if unknown := [corpus_labels[index] for index in sorted(set(used)) if indices[index] is None]:
        raise ValueError(
            f"the model does not know the label {_listed(unknown)}. {both} Map a label of the corpus to one of the "
            f"model with --label_map '{unknown[0]}={model_labels[0]}'."
        )
    notes = [f"{a} counts as {b}" for a, b in label_map.items()]
    unused = [label for index, label in enumerate(model_labels) if index not in indices]
    return indices, notes + ([f"the corpus does not have the label {_listed(unused)} of the model"] if unused else [])


def _key(label: str) -> str:
    return "".join(label.split()).casefold()


def _listed(labels: list[str]) -> str:
    return ", ".join(labels)

"""Loading of saved models and processors, with a check of the name before and of the weights after.

The commands load through this file. `from_pretrained` behaves as it does in transformers.
"""

from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoProcessor, PreTrainedModel, ProcessorMixin


def check_source(name: str | Path) -> None:
    """Check that what looks like a path is a folder, so that transformers never asks the Hub for it.

    A path exists, has more than one slash, begins with `.`, `/` or `~`, or is in a folder that exists.

    Raises:
        FileNotFoundError: If the path does not exist.
        NotADirectoryError: If the path is not a folder.
    """
    path, text = Path(name), str(name)
    parent, slash, _ = text.partition("/")
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(f"{name} is not a folder: name the folder of a saved model, or a Hub id.")
    is_path = isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1 or "\\" in text
    if is_path or (slash and Path(parent).is_dir()):
        raise FileNotFoundError(f"There is no folder {name}. It looks like a path, so the Hub was not asked for it.")


def load_model(name: str | Path, **kwargs) -> PreTrainedModel:
    """Load a classifier from a folder or the Hub, and check its weights.

    Args:
        name: A folder or a Hub id.
        kwargs: Arguments of `AutoModelForSequenceClassification.from_pretrained`, for example `trust_remote_code`.

    Raises:
        OSError: If there is no such model.
        ValueError: If the weights do not match the model, or hold NaN or infinity.
    """
    check_source(name)
    model = AutoModelForSequenceClassification.from_pretrained(name, **kwargs)
    check_weights(model)
    return model


def load_processor(name: str | Path, **kwargs) -> ProcessorMixin:
    """Load a processor from a folder or the Hub.

    Args:
        name: A folder or a Hub id.
        kwargs: Arguments of `AutoProcessor.from_pretrained`, for example `trust_remote_code`.

    Raises:
        OSError: If there is no such processor.
    """
    check_source(name)
    return AutoProcessor.from_pretrained(name, **kwargs)


def check_weights(model: PreTrainedModel) -> None:
    """Check that the weights of a model match it and are finite.

    Raises:
        ValueError: If weights were missing in the checkpoint, did not belong to the model or had another shape, or if
            weights hold NaN or infinity.
    """
    source = model.config._name_or_path or type(model).__name__
    # A model that was not loaded by `from_pretrained`, or that was trained since, has no such report.
    for kind, keys in (getattr(model, "loading_report", None) or {}).items():
        if keys:
            problem = f"{kind.replace('_', ' ')} {_listed(keys)}"
            raise ValueError(f"{source}: the weights do not match the {type(model).__name__}: {problem}.")
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.is_meta and not tensor.isfinite().all():
            raise ValueError(f"{source}: the weights {key} hold NaN or infinity, so that no score would be right.")


def _listed(keys: list) -> str:
    names = sorted(key if isinstance(key, str) else key[0] for key in keys)  # mismatched keys come with both shapes
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

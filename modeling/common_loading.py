"""Loading of saved models and processors, with a check of the name before and of the weights after.

The commands load through this file. `from_pretrained` behaves as it does in transformers.
"""

import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
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


def check_weight_files(name: str | Path) -> None:
    """Check that a folder holds whole files of weights in the format safetensors. An id of the Hub passes.

    Raises:
        FileNotFoundError: If the folder does not hold such weights. Other formats can run code and are not read.
        ValueError: If a file is damaged.
    """
    if not Path(name).is_dir():
        return
    files = sorted(Path(name).glob("model*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{name} has no model.safetensors, the only format of weights that is read.")
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged: {error}. Get the file again.") from error


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
    check_weight_files(name)
    model = AutoModelForSequenceClassification.from_pretrained(name, use_safetensors=True, **kwargs)
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
            problem = f"{kind.replace('_', ' ')} {list_keys(keys)}"
            raise ValueError(f"{source}: the weights do not match the {type(model).__name__}: {problem}.")
    check_finite(model, source)


def check_finite(model: torch.nn.Module, source: str | Path) -> None:
    """Check that the weights of a model are finite.

    Raises:
        ValueError: If weights hold NaN or infinity. The message names the source.
    """
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.is_meta and not tensor.isfinite().all():
            raise ValueError(f"{source}: the weights {key} hold NaN or infinity, so that no score would be right.")


@torch.no_grad()
def check_pair(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    """Check that a model of this project, in evaluation mode, can read what a processor makes.

    Raises:
        ValueError: If one of the two is not of this project, if the tokenizer has ids without embedding, or if the
            images have another size than those that the model was built for.
    """
    source = model.config._name_or_path or type(model).__name__
    pair = f"{source}: the {type(model).__name__} and its {type(processor).__name__} do not fit"
    # Code that comes with a model makes classes of its own, so that `isinstance` would not know them.
    if not hasattr(model, "modalities") or not hasattr(processor, "encode_images"):
        raise ValueError(f"{pair}: load a model that mmsent has trained, with the processor that was saved with it.")
    if model.base_model.text_encoder is not None:
        size, largest = model.get_input_embeddings().weight.shape[0], max(processor.tokenizer.get_vocab().values())
        if largest >= size:
            raise ValueError(f"{pair}: the tokenizer has ids up to {largest}, the model has {size:,} embeddings.")
    if model.base_model.image_encoder is not None:
        height, width = processor.image_size
        pixels = torch.zeros(1, 3, height, width, dtype=model.dtype, device=model.device)
        try:
            regions = model.base_model.image_encoder(pixels).shape[1]
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{pair}: the model cannot read RGB images of {height} x {width} pixels: {error}"
            ) from error
        if regions != (model.config.image_regions or regions):
            raise ValueError(
                f"{pair}: images of {height} x {width} pixels have {regions} regions, and the model was built for "
                f"{model.config.image_regions}."
            )


def list_keys(keys: list) -> str:
    """Join the first five names of weights; the others are counted."""
    names = sorted(key if isinstance(key, str) else key[0] for key in keys)  # mismatched keys come with both shapes
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def follow_umask(folder: str | Path) -> None:
    """Give the weights in a folder the mode of any new file. safetensors makes them readable for their owner only."""
    files = list(Path(folder).glob("*.safetensors"))
    if files:
        probe = Path(folder, f"tmp-{uuid.uuid4().hex[:8]}")  # asking for the umask would change it for all threads
        probe.touch()
        mode = probe.stat().st_mode & 0o777
        probe.unlink()
        for file in files:
            file.chmod(mode)

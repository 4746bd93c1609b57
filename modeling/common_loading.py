"""Loading of saved models and processors, with a check of the name before and of the weights after.

The commands load through this file. `from_pretrained` behaves as it does in transformers.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

# What transformers reads from a folder besides the weights; each file holds one JSON object.
MODEL_FILES = (CONFIG_NAME, "adapter_config.json")
PROCESSOR_FILES = ("processor_config.json", "tokenizer.json", "tokenizer_config.json")
PROCESSOR_FILES += ("added_tokens.json", "special_tokens_map.json")


def check_source(name: str | Path) -> None:
    """Check that what looks like a path is a folder, so that transformers never asks the Hub for it.

    A path exists, has more than one slash, begins with `.`, `/` or `~`, or is in a folder that exists.

    Raises:
        FileNotFoundError: If the path does not exist.
        NotADirectoryError: If the path is not a folder.
    """
    path, text = Path(name), str(name)
    parent, slash, _ = text.partition("/")
    if not text.strip():
        raise FileNotFoundError("The name is empty: give a folder or a Hub id.")
    if path.is_dir():
        return
    if path.exists():
        raise NotADirectoryError(f"{name} is not a folder: name the folder of a saved model, or a Hub id.")
    is_path = isinstance(name, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1 or "\\" in text
    if is_path or (slash and Path(parent).is_dir()):
        raise FileNotFoundError(f"There is no folder {name}. It looks like a path, so the Hub was not asked for it.")


def check_json_files(name: str | Path, files: tuple[str, ...]) -> None:
    """Check that a folder has the first of these files, and that those that it has hold JSON objects. An id of the Hub
    passes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is damaged.
    """
    if not Path(name).is_dir():
        return
    if not Path(name, files[0]).exists():
        raise FileNotFoundError(f"{name} has no {files[0]}: name the folder of a saved model.")
    for path in (path for path in (Path(name, file) for file in files) if path.exists()):
        _check_file(path)
        try:
            reason = None if isinstance(json.loads(path.read_text(encoding="utf-8")), dict) else "it is not an object"
        except (ValueError, RecursionError) as error:
            reason = error
        if reason:
            raise ValueError(f"{path} does not hold the JSON that is expected: {reason}. Get the file again.")


def _check_file(path: Path) -> None:
    """Check that a file may be read and is a regular one: reading a pipe or a device may never end."""
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file: replace it by one.")
    path.open("rb").close()  # safetensors would say that there is no such file


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
        _check_file(file)
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged: {error}. Get the file again.") from error


def check_run(name: str | Path) -> None:
    """Check that the weights in a run folder are those that the run has saved. Other folders and ids of the Hub pass.

    Raises:
        ValueError: If the weights have another SHA-256 than the run.json beside them names, or it is damaged.
    """
    report, weights = Path(name, "run.json"), Path(name, SAFE_WEIGHTS_NAME)
    if not (report.is_file() and weights.is_file()):
        return
    with naming_damage(report):
        expected = dict(json.loads(report.read_bytes())).get("weights_sha256")
    with weights.open("rb") as file:
        if expected not in (None, hashlib.file_digest(file, "sha256").hexdigest()):
            raise ValueError(f"{weights} was changed after the run: restore it, or delete {report} if that was meant.")


@contextmanager
def naming_damage(source: str | Path) -> Iterator[None]:
    """Raise an OSError or a ValueError that names a file or folder instead of an error that does not.

    transformers raises many types for damaged files: KeyError, AttributeError, TypeError, RecursionError, ...
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, ValueError | OSError) and str(source) in str(error):
            raise
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{source} cannot be loaded: {type(error).__name__}: {error}") from error


def load_config(name: str | Path, **kwargs) -> PreTrainedConfig:
    """Load the config of a saved model from a folder or the Hub.

    Args:
        name: A folder or a Hub id.
        kwargs: Arguments of `AutoConfig.from_pretrained`, for example `trust_remote_code`.

    Raises:
        OSError: If there is no such model.
        ValueError: If the file is damaged.
    """
    check_source(name)
    check_json_files(name, MODEL_FILES)
    with naming_damage(Path(name, CONFIG_NAME) if Path(name).is_dir() else name):
        return AutoConfig.from_pretrained(name, **kwargs)


def load_model(name: str | Path, **kwargs) -> PreTrainedModel:
    """Load a classifier from a folder or the Hub, and check its weights.

    Args:
        name: A folder or a Hub id.
        kwargs: Arguments of `AutoModelForSequenceClassification.from_pretrained`, for example `trust_remote_code`.

    Raises:
        OSError: If there is no such model.
        ValueError: If the files are damaged, or the weights do not match the model, hold NaN or infinity, or were
            changed after the run.
    """
    config = load_config(name, **kwargs)
    if not hasattr(type(config), "image_regions"):  # before such a model, which may be large, is built
        raise ValueError(f"{name} holds a model of the type {config.model_type}: name one that mmsent has trained.")
    check_weight_files(name)
    check_run(name)
    with naming_damage(name):
        # Weights of another shape are named by `check_weights`; transformers would only refer to its log.
        options = {"use_safetensors": True, "ignore_mismatched_sizes": True} | kwargs
        model = AutoModelForSequenceClassification.from_pretrained(name, **options)
    check_weights(model)
    check_kinds(name, model)
    return model


def check_kinds(name: str | Path, model: PreTrainedModel) -> None:
    """Check that no weights in a folder are whole numbers that the model has as floats: they would be rounded ones.

    Raises:
        ValueError: If there are such weights.
    """
    tensors = model.state_dict()
    for file in sorted(Path(name).glob("model*.safetensors")):
        with safe_open(file, "pt") as weights:
            for key in tensors.keys() & weights.keys():
                kind = weights.get_slice(key).get_dtype()
                if tensors[key].is_floating_point() and "F" not in kind:
                    raise ValueError(f"{file}: the weights {key} have the type {kind}, and the model has floats.")


def load_processor(name: str | Path, **kwargs) -> ProcessorMixin:
    """Load a processor from a folder or the Hub.

    Args:
        name: A folder or a Hub id.
        kwargs: Arguments of `AutoProcessor.from_pretrained`, for example `trust_remote_code`.

    Raises:
        OSError: If there is no such processor.
        ValueError: If its files are damaged.
    """
    check_source(name)
    check_json_files(name, PROCESSOR_FILES)
    with naming_damage(name):
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
        ValueError: If one of the two is not of this project, if the tokenizer has ids without embedding, if the
            processor cannot make a batch, or if the images have another size than those that the model was built for.
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
        check_lengths(model.config, processor, f"{pair}: ")
        with naming_damage(f"{source}: the {type(processor).__name__}"):
            processor.encode_text(["a"], processor.max_length)  # fails without a token for padding
    made = getattr(processor, "image_feature_size", None)  # not in the code that comes with an older model
    read = model.config.image_hidden_size if model.config.image_config.model_type == "precomputed" else None
    has_images = model.base_model.image_encoder is not None
    if has_images and made != read:
        raise ValueError(f"{pair}: the size of image_features is {read} for the model and {made} for the processor.")
    if has_images and read is None:
        with naming_damage(f"{source}: the {type(processor).__name__}"):
            height, width = processor.image_size
            pixels = processor.encode_images([[np.zeros((1, 1, 3), np.uint8)]])["pixel_values"][0]  # (1, 3, H, W)
        if not pixels.isfinite().all():
            raise ValueError(f"{pair}: the image processor makes pixels that are not finite numbers.")
        # The code that comes with an older model does not know of further image encoders.
        for name in ("image", *getattr(model.config, "further_image_encoders", ())):
            encoder = getattr(model.base_model, f"{name}_encoder")
            try:
                regions = encoder.count_regions(pixels.to(model.device, model.dtype))
            except (RuntimeError, ValueError) as error:
                raise ValueError(
                    f"{pair}: the {name} encoder cannot read RGB images of {height} x {width} pixels: {error}"
                ) from error
            expected = getattr(model.config, f"{name}_regions") or regions
            if regions != expected:
                raise ValueError(
                    f"{pair}: images of {height} x {width} pixels have {regions} regions, and the {name} encoder was "
                    f"built for {expected}."
                )


def check_lengths(config: PreTrainedConfig, processor: ProcessorMixin, source: str = "") -> None:
    """Check that a processor makes no text that is longer than the fixed length of a model.

    Raises:
        ValueError: If it does. The message begins with the source.
    """
    pad_to = getattr(config, "pad_to", None)
    if pad_to is not None and processor.max_length > pad_to:
        raise ValueError(f"{source}max_length={processor.max_length} is more than pad_to={pad_to}: lower it.")


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

"""How cases of damaged models are made from a saved model."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hostile_case import Case
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"
NOT_A_RUN = {"push_model": "is not a finished run|File name too long|arguments are required: source"}
Tensors = dict[str, torch.Tensor]


def weights(name: str, change: Callable[[Tensors], Tensors | None], says: str | None, **expected) -> Case:
    """Return the case of a model whose weights are changed in place, or replaced."""

    def make(folder: Path) -> Path:
        tensors = load_file(folder / WEIGHTS)
        save_file(change(tensors) or tensors, folder / WEIGHTS, {"format": "pt"})
        return folder

    return Case(f"weights: {name}", make, says, **expected)


def content(file: str, name: str, change: Callable[[bytes], bytes | None], says: str | None, **expected) -> Case:
    """Return the case of a model in which the content of a file is changed, or the file is missing (None)."""

    def make(folder: Path) -> Path:
        new = change((folder / file).read_bytes())
        (folder / file).unlink()
        if new is not None:
            (folder / file).write_bytes(new)
        return folder

    return Case(f"{file}: {name}", make, says, **expected)


def field(file: str, name: str, value: Any, says: str | None, **expected) -> Case:
    """Return the case of a model in which an entry of a JSON file has another value, or is missing (`...`)."""

    def change(old: bytes) -> bytes:
        entries = json.loads(old)
        *outer, last = name.split(".")
        inner = entries
        for key in outer:
            inner = inner[key]
        if value is ...:
            inner.pop(last, None)
        else:
            inner[last] = value
        return json.dumps(entries).encode()

    return content(
        file, f"{name} = {json.dumps(value)[:30] if value is not ... else 'missing'}", change, says, **expected
    )


def fixed(value: bytes | None) -> Callable[[bytes], bytes | None]:
    return lambda old: value


def some(*values: Any) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        key = next(key for key in sorted(tensors) if tensors[key].is_floating_point())
        tensors[key].view(-1)[0] = values[0]

    return change


class Payload:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def only_pickle(folder: Path) -> Path:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    return folder


def only_zip_of_pickle(folder: Path) -> Path:
    (folder / WEIGHTS).unlink()
    torch.save({"x": Payload()}, folder / "pytorch_model.bin")
    return folder


def index_out(folder: Path) -> Path:
    (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"x": "../outside.safetensors"}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    return folder


def evil_code(folder: Path) -> Path:
    """Name code of the folder for the config, the model and the processor."""
    (folder / "evil.py").write_text('open("pwned", "w").close()\n')
    for file, keys in {
        "config.json": ("AutoConfig", "AutoModelForSequenceClassification"),
        "processor_config.json": ("AutoProcessor",),
        "tokenizer_config.json": ("AutoTokenizer",),
    }.items():
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": dict.fromkeys(keys, "evil.Evil")}))
    return folder


def evil_type(folder: Path) -> Path:
    config = json.loads((evil_code(folder) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    return folder


def words(count: int) -> Callable[[bytes], bytes]:
    """Give a tokenizer more words than the model has rows."""

    def change(old: bytes) -> bytes:
        tokenizer = json.loads(old)
        vocabulary = tokenizer["model"]["vocab"]
        tokenizer["model"]["vocab"] = {word: index + count * (index > 1) for word, index in vocabulary.items()}
        return json.dumps(tokenizer).encode()

    return change


def beside(file: str, value: str, says: str | None) -> Case:
    """Return the case of a model with one more file."""

    def make(folder: Path) -> Path:
        (folder / file).write_text(value)
        return folder

    return Case(f"beside: {file}", make, says)


def special(file: str, make: Callable[[Path], None]) -> Case:
    """Return the case of a model in which a file is not a regular one."""

    def make_model(folder: Path) -> Path:
        (folder / file).unlink()
        make(folder / file)
        return folder

    at = NOT_A_RUN if file == WEIGHTS else {}
    return Case(f"{file}: {make.__name__}", make_model, f"{file} is not a regular file", at=at)


def name(value: str, says: str) -> Case:
    make = lambda folder: value.replace("MODEL", str(folder))  # noqa: E731
    return Case(f"name: {value[:30]!r}", make, says, at=NOT_A_RUN)


def moved(folder: Path) -> Path:
    return folder.rename(folder.with_name("modell"))

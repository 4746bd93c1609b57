"""Cases of models: a folder of a saved model that is damaged, or a name that is not one."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hostile_case import Case
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"
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


def name(value: str, says: str) -> Case:
    return Case(f"name: {value[:30]!r}", lambda folder: value.replace("MODEL", str(folder)), says)


def moved(folder: Path) -> Path:
    return folder.rename(folder.with_name("modell"))


DEEP = b"[" * 60_000
JSON_FILES = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
MODELS = [
    Case("untouched", lambda folder: folder, None),
    Case("a name with blanks", lambda folder: folder.rename(folder.with_name("mo del é")), None),
    *(
        content(file, label, fixed(value), says)
        for file in JSON_FILES
        for label, value, says in (
            ("empty", b"", "."),
            ("a list", b"[]", "."),
            ("null", b"null", "."),
            ("a number", b"3", "."),
            ("no JSON", b"{", "."),
            ("deep", DEEP, "."),
            ("not UTF-8", b'{"a": "\xff"}', "."),
            ("UTF-16", "{}".encode("utf-16"), "."),
        )
    ),
    content("config.json", "missing", fixed(None), "."),
    content("config.json", "{}", fixed(b"{}"), "."),
    content("processor_config.json", "missing", fixed(None), "."),
    content("processor_config.json", "{}", fixed(b"{}"), "."),
    content("tokenizer.json", "missing", fixed(None), "."),
    content("tokenizer.json", "{}", fixed(b"{}"), "."),
    content("tokenizer.json", "of another model", words(1000), "."),
    field("config.json", "model_type", "gpt9", "."),
    field("config.json", "model_type", ..., "."),
    field("config.json", "model_type", ["comn"], "."),
    field("config.json", "model_type", "bert", "."),
    field("config.json", "id2label", {"0": "a", "2": "b", "3": "c"}, "."),
    field("config.json", "id2label", {"0": "a", "1": "a", "2": "a"}, "."),
    field("config.json", "id2label", {"0": "a"}, "."),
    field("config.json", "id2label", {"x": "a"}, "."),
    field("config.json", "id2label", {}, "."),
    field("config.json", "id2label", [], "."),
    field("config.json", "id2label", {"0": 1, "1": None, "2": []}, "."),
    field("config.json", "dtype", "float99", "."),
    field("config.json", "text_config", ..., "."),
    field("config.json", "text_config", [], "."),
    field("config.json", "text_config.vocab_size", 10**12, "."),
    field("config.json", "text_config.vocab_size", -1, "."),
    field("config.json", "text_config.vocab_size", "many", "."),
    field("config.json", "text_config.vocab_size", 2.5, "."),
    field("config.json", "text_config.hidden_size", 10**9, "."),
    field("config.json", "text_config.hidden_size", float("nan"), "."),
    field("config.json", "text_config.pad_token_id", 10**6, "."),
    field("config.json", "text_config.model_type", "none", "."),
    field("config.json", "image_config", "x", "."),
    field("config.json", "architectures", ["os.system"], None),
    field("config.json", "problem_type", "regression", None),
    field("config.json", "unknown", {"a": 1}, None),
    field("processor_config.json", "processor_class", "Evil", "."),
    field("processor_config.json", "max_length", 0, "."),
    field("processor_config.json", "max_length", -1, "."),
    field("processor_config.json", "max_length", "x", "."),
    field("processor_config.json", "max_length", 10**18, None),
    field("processor_config.json", "max_images", 0, "."),
    field("processor_config.json", "max_images", "x", "."),
    field("processor_config.json", "text_steps", ["nothing"], "."),
    field("processor_config.json", "text_steps", "strip_links", "."),
    field("processor_config.json", "text_steps", [["strip_links"]], "."),
    field("processor_config.json", "image_processor.size", {"height": 0, "width": 0}, "."),
    field("processor_config.json", "image_processor.size", {"height": 10**6, "width": 10**6}, "."),
    field("processor_config.json", "image_processor.size", {"height": 10, "width": 10}, "."),
    field("processor_config.json", "image_processor.size", {"shortest_edge": 64}, "."),
    field("processor_config.json", "image_processor.size", "x", "."),
    field("processor_config.json", "image_processor.image_mean", [0.5], None),
    field("processor_config.json", "image_processor.image_std", [0, 0, 0], "."),
    field("processor_config.json", "image_processor.image_std", [float("nan")] * 3, "."),
    field("processor_config.json", "image_processor.rescale_factor", "x", "."),
    field("processor_config.json", "image_processor.image_processor_type", "Evil", "."),
    field("tokenizer_config.json", "pad_token", None, ".", at={"load_folder": None}),
    field("tokenizer_config.json", "tokenizer_class", "Evil", None),
    content(WEIGHTS, "missing", fixed(None), "."),
    content(WEIGHTS, "empty", fixed(b""), "."),
    content(WEIGHTS, "no JSON", fixed(b"\x08" + b"\0" * 7 + b"notjson!"), "."),
    content(WEIGHTS, "a huge header", fixed(b"\xff" * 100), "."),
    content(WEIGHTS, "a header of 99 MB", fixed((99_000_000).to_bytes(8, "little") + b"{"), "."),
    content(WEIGHTS, "a pickle", fixed(pickle.dumps(3)), "."),
    content(WEIGHTS, "half", lambda old: old[: len(old) // 2], "."),
    content(WEIGHTS, "cut by a byte", lambda old: old[:-1], "."),
    content(WEIGHTS, "bytes after", lambda old: old + b"\0", "."),
    weights("renamed", lambda old: {f"module.{key}": value for key, value in old.items()}, "."),
    weights("one is missing", lambda old: dict(list(old.items())[1:]), "."),
    weights("none", lambda old: {"x": torch.zeros(1)}, "."),
    weights("one more", lambda old: old | {"head.extra": torch.zeros(1)}, "."),
    weights("NaN", some(float("nan")), "."),
    weights("infinity", some(float("inf")), "."),
    weights("minus infinity", some(float("-inf")), "."),
    weights(
        "huge numbers",
        lambda old: {key: value * 1e30 if value.is_floating_point() else value for key, value in old.items()},
        ".",
        at={"load_folder": None},
    ),
    weights("another shape", lambda old: {key: value[..., None] for key, value in old.items()}, "."),
    weights(
        "one row less",
        lambda old: {key: value[1:].clone() if value.ndim else value for key, value in old.items()},
        ".",
    ),
    weights(
        "float64",
        lambda old: {key: value.double() if value.is_floating_point() else value for key, value in old.items()},
        None,
    ),
    weights(
        "float16",
        lambda old: {key: value.half() if value.is_floating_point() else value for key, value in old.items()},
        None,
    ),
    weights("integers", lambda old: {key: value.long() for key, value in old.items()}, "."),
    Case("only a pickle", only_pickle, "."),
    Case("only a zip of a pickle", only_zip_of_pickle, "."),
    Case("an index that leads out", index_out, "."),
    Case("code that is not trusted", evil_code, None),
    Case("code of an unknown type", evil_type, "."),
    beside("adapter_config.json", "[]", "."),
    beside("adapter_config.json", '{"base_model_name_or_path": "/etc", "peft_type": "LORA"}', "."),
    beside("preprocessor_config.json", "[]", None),
    beside("chat_template.jinja", "{{ 7 * 7 }}{% for x in range(10**9) %}{% endfor %}", None),
    beside("added_tokens.json", "[", "."),
    beside("generation_config.json", "[", None),
    Case("a moved folder", lambda folder: moved(folder).with_name("model"), "There is no folder"),
    name("./nowhere", "There is no folder ./nowhere. It looks like a path"),
    name("/nowhere", "There is no folder"),
    name("~/nowhere", "There is no folder"),
    name("../nowhere", "There is no folder"),
    name("a/b/c", "There is no folder"),
    name("a\\b", "There is no folder"),
    name("MODELx", "There is no folder"),
    name("MODEL/config.json", "is not a folder: name the folder of a saved model"),
    name("MODEL/../nothing", "There is no folder"),
    name(".", "."),
    name("/", "."),
    name("", "."),
    name(" ", "."),
    name("no_user/no_model", "."),
    name("no_model", "."),
    name("no user/no model", "."),
    name("http://127.0.0.1:9/x", "There is no folder"),
    name("a" * 5000, "."),
    name("a\0b", "."),
    name("a\nb/c", "."),
    name("--model", "."),
]

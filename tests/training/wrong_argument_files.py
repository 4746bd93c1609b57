"""The files and folders that the wrong arguments of train.py name."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import tiny
import torch
from safetensors.torch import load_file, save_file
from small_runs import write_corpus
from transformers import BertTokenizer

from mmsent.training.run_folder import complete_checkpoint


class WrongFiles(dict[str, Path]):
    """Paths by name: those of the backbones, and those of files that are written below a folder."""

    def __init__(self, folder: Path, backbones: dict[str, str]):
        super().__init__({name: Path(path) for name, path in backbones.items()})
        self.folder, self["nothing"] = folder, folder / "nothing"
        self.add_files()
        self.add_folders()
        self.add_encoders()
        self["trained"] = folder / "trained"
        for part in tiny.build("comn", "own", backbones):
            part.save_pretrained(self["trained"])
        self.add_trained_models()

    def add(self, name: str, content: bytes | None = None) -> Path:
        self[name] = path = self.folder / name
        path.mkdir() if content is None else path.write_bytes(content)
        return path

    def copy(self, name: str, source: str, change: Callable[[Path], object]) -> None:
        self[name] = shutil.copytree(self[source], self.folder / name)
        change(self[name])

    def add_files(self) -> None:
        self.add("words", b"just words\n")
        self.add("empty", b"")
        self.add("binary", bytes(range(256)) * 9)
        self.add("list_recipe", b"- seed: 1\n")
        self.add("twice", b"seed: 1\nseed: 2\n")
        self.add("narrow_vectors", b"the 1 2 3\ngood 1 2 3\n")
        self["pipe"] = self.folder / "pipe"
        os.mkfifo(self["pipe"])

    def add_folders(self) -> None:
        self.add("folder")
        (self.add("plain_table") / "train.csv").write_text("id,text\n1,good\n")
        write_corpus(self.add("posts"))
        self.copy("no_validation", "posts", remove("data/validation*"))
        (self.add("finished") / "run.json").write_text("{}")
        (self.add("stranger") / "model.safetensors").write_bytes(b"")
        (self.add("interrupted") / "checkpoint-1").mkdir()
        (self["interrupted"] / "settings.json").write_text('{"learning_rate": 0.5}')
        complete_checkpoint(self["interrupted"] / "checkpoint-1")

    def add_encoders(self) -> None:
        self.copy("truncated", "bert", truncate)
        self.copy("not_json", "bert", config("{"))
        self.copy("json_list", "bert", config("[]"))
        self.copy("no_type", "bert", config("{}"))
        self.copy("unknown_type", "bert", config('{"model_type": "unheard_of"}'))
        self.copy("other_tokenizer", "bert", other_tokenizer)
        self.copy("no_tokenizer", "bert", remove("tokenizer*", "vocab*", "special*"))
        self.copy("no_weights", "bert", remove("model*"))
        self.copy("pickle_only", "bert", pickle_only)
        self.copy("nan_backbone", "bert", nan)
        self.copy("renamed_backbone", "bert", renamed)
        self.copy("no_image_processor", "vit", remove("preprocessor*", "processor*"))

    def add_trained_models(self) -> None:
        self.copy("trained_no_weights", "trained", remove("model*"))
        self.copy("trained_pickle_only", "trained", pickle_only)
        self.copy("trained_truncated", "trained", truncate)
        self.copy("trained_nan", "trained", nan)
        self.copy("trained_renamed", "trained", renamed)
        self.copy("trained_no_processor", "trained", remove("processor*", "token*"))


def remove(*names: str) -> Callable[[Path], None]:
    return lambda path: [file.unlink() for name in names for file in path.glob(name)]


def config(content: str) -> Callable[[Path], object]:
    return lambda path: (path / "config.json").write_text(content)


def truncate(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def pickle_only(path: Path) -> None:
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()


def nan(path: Path) -> None:
    weights = load_file(path / "model.safetensors")
    next(value for value in weights.values() if value.ndim > 1).fill_(torch.nan)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def renamed(path: Path) -> None:
    weights = {f"module.{key}": value for key, value in load_file(path / "model.safetensors").items()}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def other_tokenizer(path: Path) -> None:
    remove("tokenizer*", "vocab*", "special*")(path)
    (path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + "\n".join(f"w{i}" for i in range(99)))
    BertTokenizer(vocab=str(path / "vocab.txt")).save_pretrained(path)

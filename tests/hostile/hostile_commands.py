"""Cases of commands: arguments of train.py, recipes, files of word vectors, outputs, ids of repositories and ports."""

import os
from collections.abc import Callable
from pathlib import Path

from hostile_case import Case


def arguments(line: str, says: str) -> Case:
    return Case(line[:60], lambda folder: line.split(" ") if line else [], says)


TRAIN = [
    arguments("--learning_rate inf", "learning_rate=inf: give a finite number"),
    arguments("--learning_rate nan", "learning_rate=nan"),
    arguments("--learning_rate -1", "learning_rate=-1"),
    arguments("--learning_rate fast", "learning_rate.*fast"),
    arguments("--num_train_epochs -3", "num_train_epochs"),
    arguments("--num_train_epochs 0", "num_train_epochs"),
    arguments("--per_device_train_batch_size 0", "per_device_train_batch_size"),
    arguments("--per_device_train_batch_size 1.5", "per_device_train_batch_size"),
    arguments("--seed -1", "seed"),
    arguments("--seed 99999999999999999999", "seed"),
    arguments("--class_weights -1 1 1", "class_weights"),
    arguments("--class_weights nan 1 1", "class_weights"),
    arguments("--class_weights heavy", "class_weights"),
    arguments("--min_confidence 0.5", "min_confidence needs init_from"),
    arguments("--min_confidence 2", "min_confidence"),
    arguments("--architecture resnet", "invalid choice: 'resnet'"),
    arguments("--dataset nothing", "dataset 'nothing' is not one of"),
    arguments("--dataset ./nothing", "nothing"),
    arguments("--data_dir", "expected one argument"),
    arguments("--modalities smell", "invalid choice: 'smell'"),
    arguments("--on_bad_image hide", "invalid choice: 'hide'"),
    arguments("--image_augmentation rotate", "invalid choice: 'rotate'"),
    arguments("--processor_kwargs max_length=0", "processor_kwargs max_length=0"),
    arguments("--processor_kwargs max_length=[", "max_length|parsing"),
    arguments("--processor_kwargs nothing=1", "processor_kwargs nothing"),
    arguments("--processor_kwargs text_steps=[none]", "text_steps|Text step|none"),
    arguments("--processor_kwargs max_length", "NAME=VALUE"),
    arguments("--model_kwargs hops", "NAME=VALUE"),
    arguments("--model_kwargs hops=-1", "hops"),
    arguments("--model_kwargs nothing=1", "nothing"),
    arguments("--model_kwargs hops=!!python/object/apply:os.system[ls]", "constructor|python"),
    arguments("--dataset_kwargs classes=3", "classes"),
    arguments("--cache_features true", "cache_features|frozen"),
    arguments("--early_stopping_patience 0", "early_stopping_patience"),
    arguments("--early_stopping_patience 2 --eval_strategy no", "early_stopping_patience"),
    arguments("--lr_scheduler_type wave", "lr_scheduler_type|wave"),
    arguments("--optim gradient_free", "optim"),
    arguments("--lora_rank 0", "lora_rank"),
    arguments("--lora_rank 4", "lora|LoRA"),
    arguments("--init_from ./nothing", "There is no folder ./nothing"),
    arguments("--text_encoder ./nothing", "There is no folder ./nothing"),
    arguments("--image_encoder ./nothing", "There is no folder ./nothing"),
    arguments("--word_vectors ./nothing", "nothing"),
    arguments("--leaning_rate 1", "did you mean 'learning_rate'"),
    arguments("--hops 3", "belongs under model_kwargs"),
    arguments("learning_rate=1", "unknown key|unrecognized"),
    arguments("--config", "expected one argument"),
    arguments("--bf16 maybe", "bf16|[Tt]ruthy"),
]


def recipe(name: str, content: bytes | str, says: str) -> Case:
    def make(folder: Path) -> list[str]:
        path = folder / "recipe.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ["--config", str(path)]

    return Case(f"recipe: {name}", make, f"recipe.yaml.*({says})" if says else None)


def recipe_that_is(name: str, make_path: Callable[[Path], object], says: str) -> Case:
    def make(folder: Path) -> list[str]:
        make_path(folder / "recipe.yaml")
        return ["--config", str(folder / "recipe.yaml")]

    return Case(f"recipe: {name}", make, says)


RECIPES = [
    recipe("empty", "", "does not hold 'key: value' lines"),
    recipe("a list", "- a\n- b\n", "does not hold"),
    recipe("a word", "good day", "does not hold"),
    recipe("JSON", '{"learning_rate": "fast"}', "learning_rate"),
    recipe("unknown key", "leaning_rate: 1\n", "did you mean 'learning_rate'"),
    recipe("unclosed", "learning_rate: [1\n", "line"),
    recipe("tab", "a:\n\t- b\n", "line 2"),
    recipe("no UTF-8", b"learning_rate: \xff\n", "0xff|UTF-8"),
    recipe("UTF-16", "seed: 1\n".encode("utf-16"), "UTF|0xff"),
    recipe("NUL", b"seed: 1\n\0", "special characters|x00|NUL"),
    recipe("wrong type", "learning_rate: fast\n", "learning_rate"),
    Case("recipe: infinity", recipe("", "learning_rate: -.inf\n", "").make, "learning_rate=-inf"),
    recipe("a number as key", "3: 4\n", "unknown key '3'"),
    recipe("null as key", "null: 4\n", "unknown key"),
    recipe("a list as key", "? [a]\n: 4\n", "key"),
    recipe("python object", "seed: !!python/object/apply:os.system ['touch pwned']\n", "constructor"),
    recipe("an alias of itself", "seed: &a [*a]\n", "seed"),
    recipe(
        "billion laughs",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"b{i}: &b{i} [{','.join(['*' + ('a' if i == 0 else f'b{i - 1}')] * 9)}]\n" for i in range(9)),
        "unknown key",
    ),
    recipe("deep", "seed: " + "[" * 3000, "recursion|nested"),
    recipe("two documents", "seed: 1\n---\nseed: 2\n", "document"),
    recipe_that_is("a folder", Path.mkdir, "recipe.yaml"),
    recipe_that_is("a pipe", os.mkfifo, "recipe.yaml"),
    recipe_that_is("missing", lambda path: None, "recipe.yaml"),
    recipe_that_is("a link to itself", lambda path: path.symlink_to(path), "recipe.yaml"),
]


def words(name: str, content: bytes | str, says: str | None) -> Case:
    def make(folder: Path) -> Path:
        path = folder / "words.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return Case(f"words: {name}", make, says and f"words.txt.*{says}")


def words_that_are(name: str, make_path: Callable[[Path], object]) -> Case:
    def make(folder: Path) -> Path:
        make_path(folder / "words.txt")
        return folder / "words.txt"

    return Case(f"words: {name}", make, "words.txt")


WORDS = [
    words("plain", "good 1 2 3\nday 4 5 6\n", None),
    words("with a header", "2 3\ngood 1 2 3\nday 4 5 6\n", None),
    words("CR LF", "good 1 2 3\r\nday 4 5 6\r\n", None),
    words("twice", "good 1 2 3\ngood 4 5 6\n", None),
    words("a blank in a word", "very good 1 2 3\ngood 1 2 3\n", None),
    words("empty", "", "has none of the"),
    words("header only", "2 3\n", "has none of the"),
    words("header of another width", "2 5\ngood 1 2 3\n", "line 1: 5 numbers"),
    words("NaN", "good 1 nan 3\n", "line 1: a value is NaN or infinity"),
    words("infinity", "good 1 2 3\nday 1 2 -inf\n", "line 2: a value is NaN or infinity"),
    words("too large", "good 1 2 1e99\n", "line 1: a value is NaN or infinity"),
    words("words as numbers", "good a b c\n", "line 1: could not convert"),
    words("ragged", "good 1 2 3\nday 4 5\n", "line 2: 2 numbers"),
    words("longer", "good 1 2 3 4\n", "line 1: 4 numbers"),
    words("commas", "good,1,2,3\n", "line 1: 0 numbers"),
    words("other words", "gut 1 2 3\n", "has none of the"),
    words("binary", bytes(range(256)) * 9, "line 1"),
    words("UTF-16", "good 1 2 3\n".encode("utf-16"), "line"),
    words("NUL", b"\0" * 100_000, "line 1"),
    words("one long line", b"x" * 5_000_000, "line 1"),
    words_that_are("a folder", Path.mkdir),
    words_that_are("a pipe", os.mkfifo),
    words_that_are("a device", lambda path: path.symlink_to("/dev/zero")),
    words_that_are("missing", lambda path: None),
    words_that_are("a link to itself", lambda path: path.symlink_to(path)),
]


def output(name: str, prepare: Callable[[Path], Path], says: str | None, **at: str | None) -> Case:
    """Return the case of an output. The entry point passes the path that it would write to `prepare`."""
    return Case(
        f"output: {name}", lambda folder: prepare, says, at={f"{entry}_output": value for entry, value in at.items()}
    )


def occupied(make: Callable[[Path], object]) -> Callable[[Path], Path]:
    def prepare(path: Path) -> Path:
        make(path)
        return path

    return prepare


def below_a_file(path: Path) -> Path:
    (path.parent / "file").write_text("mine")
    return path.parent / "file" / path.name


def others_model(path: Path) -> None:
    """Make a folder that holds a model of another program."""
    path.mkdir()
    (path / "model.safetensors").write_text("mine")


IS_FOLDER = "x.* is a folder"
# What becomes of an output that is a file already, and so on, is not the same everywhere: a page or a report replaces
# what it can, a folder must be new or empty, and training keeps what it has not written.
WRITTEN = {"explain": None, "audit": None}
NO_PARENT = {"explain": "the folder .* does not exist", "audit": "there is no folder"}
OUTPUTS = [
    output("new", lambda path: path, None),
    output(
        "a folder",
        occupied(lambda path: (path / "inner").mkdir(parents=True)),
        "x.* (is a folder|holds other files)|x.*not empty|Is a directory.*x",
        train=None,
    ),
    output("a folder of others", occupied(others_model), "x.*", explain=IS_FOLDER, predict=IS_FOLDER),
    output("a file", occupied(lambda path: path.write_text("mine")), "x.*(is a file|exists)|exists.*x", **WRITTEN),
    output(
        "below a file",
        below_a_file,
        "file is a file|file.*Not a directory|(Not a directory|File exists).*file|folder .*file",
    ),
    output("below a missing folder", lambda path: path.parent / "a" / "b" / path.name, None, **NO_PARENT),
    output("through ..", lambda path: path.parent / "a" / ".." / path.name, None, **NO_PARENT),
    output("in /proc", lambda path: Path("/proc/nothing") / path.name, "/proc"),
    output("a pipe", occupied(os.mkfifo), "x.*(is a file|exists|regular)|exists.*x", **WRITTEN),
    output(
        "a link to itself",
        occupied(lambda path: path.symlink_to(path)),
        "x.*exists|exists.*x|x is a file|[Ll]oop|symbolic links",
        predict=None,
        **WRITTEN,
    ),
    output("a long name", lambda path: path.with_name("x" * 300 + path.suffix), "File name too long"),
    output("a name with NUL", lambda path: path.with_name("a\0b" + path.suffix), "null (byte|character)"),
    output("a name with a line end", lambda path: path.with_name("a\nb" + path.suffix), None),
    output(
        "a name that is not UTF-8",
        lambda path: path.with_name("a\udcff" + path.suffix),
        None,
        export="surrogates not allowed",
        train="output_dir=.*the name is not UTF-8",
    ),
]
IDS = [
    Case(f"id: {name[:30]!r}", lambda folder, name=name: name, "does not have the form user/name")
    for name in (
        "",
        "me",
        "me/",
        "/x",
        "me/..",
        "me/.",
        "../x",
        "me/a/b",
        "me/a b",
        "me/a\0b",
        "me/é",
        "me/a--b",
        "me/-a",
        "me/a.git",
        "me/" + "x" * 200,
        "https://x/me/a",
        "me\\a",
        "me/<b>",
        "~/x",
        "me/$(id)",
    )
]
PORTS = [
    Case(f"port {port}", lambda folder, port=port: port, says)
    for port, says in {
        "-1": "-1",
        "65536": "65536",
        "x": "invalid int value: 'x'",
        "1.5": "1.5",
        "1e3": "1e3",
        "": "invalid int",
        "9" * 5000: "int|digits",
    }.items()
]

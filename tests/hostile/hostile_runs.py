"""Cases of whole commands, which run as processes of an ordinary user. Files without permission are among them."""

import os
from collections.abc import Callable
from pathlib import Path

import tiny
from hostile_case import Case
from standins import write_msed, write_posts

TRAIN = ["--report_to", "none", "--disable_tqdm", "true", "--num_train_epochs", "1", "--dataset"]


def prepare(folder: Path) -> None:
    """Write what the commands read: a table of posts, a corpus, and a table of labelled posts. The model is there."""
    (folder / "posts.csv").write_text("text,image\ngood day,a.png\ngood day,\n")
    tiny.picture(0).save(folder / "a.png")
    write_msed(folder / "msed")
    write_posts(folder / "own")


def arguments(command: str, folder: Path) -> dict[str, object]:
    """Return the arguments of a command that works. The key "" has those without a name."""
    output, model = folder.parent / "out", folder / "model"
    own = folder / "own" / "posts.csv"
    return {
        "predict": {"--model": model, "--input": folder / "posts.csv", "--output": output / "x.csv"},
        "explain": {"--model": model, "--text": "good day", "--output": output / "x.html"},
        "evaluate": {"--dataset": own, "--model": model, "--output": output / "scores"},
        "audit": {"": ["msed"], "--data_dir": folder / "msed", "--json": output / "x.json"},
        "export": {"": ["msed"], "--data_dir": folder / "msed", "--output": output / "x"},
        "push": {"": ["model", model], "--repo_id": "me/x", "--dry_run": output / "x"},
        "demo": {"--model": model},
        "train.py": {"": [*TRAIN, own], "--output_dir": output / "run"},
    }[command]


def run(command: str, name: str, change: Callable[[Path], dict[str, object] | None], says: str) -> Case:
    """Return the case of a command with a damage, which can give arguments other values. None leaves one out."""

    def make(folder: Path) -> list[object]:
        prepare(folder)
        words = arguments(command, folder) | (change(folder) or {})
        named = [word for key, value in words.items() if key and value is not None for word in (key, value)]
        script = [tiny.ROOT / "train.py"] if command == "train.py" else ["mmsent", command]
        return [*script, *words.get("", []), *named]

    return Case(f"{command}: {name}", make, says)


def closed(*names: str, mode: int = 0) -> Callable[[Path], None]:
    """Take permissions from files or folders."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).chmod(mode)

    return change


def closed_output(option: str, name: str) -> Callable[[Path], dict]:
    """Name a file in a folder that must not be written to."""

    def change(folder: Path) -> dict:
        (folder.parent / "out").chmod(0o555)
        return {option: folder.parent / "out" / name}

    return change


def given(option: str, value: object) -> Callable[[Path], dict]:
    return lambda folder: {option: value}


def made(option: str, name: str, make: Callable[[Path], object]) -> Callable[[Path], dict]:
    """Make a file or folder among the inputs, and name it."""

    def change(folder: Path) -> dict:
        make(folder / name)
        return {option: folder / name}

    return change


def run_of(text: str) -> Callable[[Path], None]:
    """Make the model a run whose run.json has this content."""

    def change(folder: Path) -> None:
        (folder / "model/run.json").write_text(text)
        (folder / "model/settings.json").write_text("{}")

    return change


DENIED = "Permission denied|may not write"
NO_FOLDER = "There is no folder .*nowhere"
RUNS = [
    run("predict", "no model", given("--model", "./nowhere"), NO_FOLDER),
    run("predict", "no input", given("--input", "nowhere.csv"), "nowhere.csv"),
    run("predict", "a pipe as input", made("--input", "x.csv", os.mkfifo), "x.csv is not a regular file"),
    run("predict", "a table without permission", closed("posts.csv"), "posts.csv.*Permission|Permission.*posts.csv"),
    run("predict", "a model without permission", closed("model"), "model.*Permission|Permission.*model"),
    run(
        "predict",
        "weights without permission",
        closed("model/model.safetensors"),
        "model.safetensors.*Permission|Permission.*model.safetensors",
    ),
    run("predict", "a config without permission", closed("model/config.json"), "config.json|Permission.*model"),
    run("predict", "an output without permission", closed_output("--output", "x.csv"), "may not write into .*out"),
    run("predict", "the input as output", lambda folder: {"--output": folder / "posts.csv"}, "replace its --input"),
    run("explain", "no model", given("--model", "./nowhere"), NO_FOLDER),
    run("explain", "an image without permission", lambda f: closed("a.png")(f) or {"--image": f / "a.png"}, "a.png"),
    run("explain", "an output without permission", closed_output("--output", "x.html"), "may not write into .*out"),
    run("explain", "no folder", given("--output", "nowhere/x.html"), "the folder nowhere does not exist"),
    run("explain", "nothing to explain", given("--text", ""), "neither text nor an image"),
    run("explain", "no such label", given("--label", "joy"), "joy"),
    run("evaluate", "no model", given("--model", "./nowhere"), NO_FOLDER),
    run("evaluate", "a table without permission", closed("own/posts.csv"), "posts.csv.*Permission|Permission.*posts"),
    run("evaluate", "an output without permission", closed_output("--output", "x"), DENIED),
    run("evaluate", "a file as output", made("--output", "x", Path.touch), "x.*(is a file|File exists)|exists.*x"),
    run("evaluate", "no corpus", given("--dataset", "nothing"), "nothing"),
    run("audit", "no corpus", given("", ["nothing"]), "nothing"),
    run("audit", "no folder", given("--data_dir", "nowhere"), "nowhere does not exist"),
    run("audit", "a corpus without permission", closed("msed"), "may not read data_dir .*msed"),
    run("audit", "a table without permission", closed("msed/dev/dev.csv"), "dev.csv"),
    run("audit", "an output without permission", closed_output("--json", "x.json"), DENIED),
    run("export", "no folder", given("--data_dir", "nowhere"), "nowhere does not exist"),
    run("export", "an image without permission", closed("msed/test/images/1.jpg"), "1.jpg.*Permission"),
    run("export", "images without permission", closed("msed/test/images"), "images"),
    run("export", "an output without permission", closed_output("--output", "x"), DENIED),
    run(
        "export", "a folder of others", made("--output", "x", lambda p: (p / "mine").mkdir(parents=True)), "other fil"
    ),
    run("push", "no run", lambda folder: None, "model is not a finished run"),
    run("push", "no folder", given("", ["model", "./nowhere"]), "nowhere is not a finished run"),
    run("push", "a list as run.json", run_of("[]"), "run.json"),
    run("push", "an empty run.json", run_of("{}"), "run.json"),
    run("push", "brackets as run.json", run_of("[" * 60_000), "run.json"),
    run("push", "an output without permission", closed_output("--dry_run", "x"), DENIED),
    run("demo", "no model", given("--model", "./nowhere"), NO_FOLDER),
    run("demo", "a model without permission", closed("model"), "model.*Permission|Permission.*model"),
    run("demo", "a folder that is not a model", lambda folder: {"--model": folder}, "in"),
    run("train.py", "a learning rate", given("--learning_rate", "inf"), "learning_rate=inf"),
    run("train.py", "a table without permission", closed("own/posts.csv"), "posts.csv"),
    run("train.py", "an image without permission", lambda f: closed(f"own/{first_image(f)}")(f), "Permission denied"),
    run(
        "train.py",
        "a recipe without permission",
        lambda f: closed("posts.csv")(f) or {"--config": f / "posts.csv"},
        "posts.csv",
    ),
    run(
        "train.py",
        "a model without permission",
        lambda f: closed("model")(f) or {"--init_from": f / "model"},
        "init_from=.*model",
    ),
    run("train.py", "a file as output", made("--output_dir", "x", Path.touch), "output_dir=.*x is a file"),
    run("train.py", "an output without permission", closed_output("--output_dir", "run"), DENIED),
    run(
        "train.py",
        "a cache without permission",
        lambda f: (
            closed_output("--features_dir", "x")(f)
            | {
                "--cache_features": "true",
                "--model_kwargs": "freeze_image=true",
                "--output_dir": f.parent / "tmp" / "run",
            }
        ),
        DENIED,
    ),
]


def first_image(folder: Path) -> str:
    """Return the path of an image of the labelled posts, in their folder."""
    paths = sorted(path for path in (folder / "own").rglob("*") if path.suffix in (".jpg", ".png"))
    return str(paths[0].relative_to(folder / "own"))

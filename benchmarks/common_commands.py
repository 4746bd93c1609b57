"""Commands that `soak.py` kills and that `full_disk.py` leaves without space: how each runs, and what must be equal at
its end.

A command runs in a process that is forked from one that has all modules imported, so that a start takes no time.
"""

import heapq
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# A process with threads should not fork. What `datasets` caches goes away with the benchmark.
CACHE = tempfile.TemporaryDirectory(prefix="mmsent-cache-")
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="0", HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=CACHE.name)
sys.path.insert(0, str(Path(__file__).parents[1]))  # train.py is not installed.

import datasets  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import train  # noqa: E402
from mmsent.dataset_scripts.common_arguments import exit_with_one_line  # noqa: E402
from mmsent.dataset_scripts.common_files import content_hash  # noqa: E402
from mmsent.hub import export, push  # noqa: E402
from mmsent.inference import predict  # noqa: E402
from mmsent.training import exact_resume  # noqa: E402
from mmsent.training.run_folder import RUN, checkpoints, is_complete, step_of  # noqa: E402
from mmsent.training.trainer import MultimodalTrainer  # noqa: E402

STEPS = 12  # of a training
POSTS = {"train": 60, "validation": 25, "test": 23}
ROWS = 300  # of the table that is predicted
POSTS_PER_SHARD = 40  # of an export
TRAINING = [
    *("--model_kwargs", "dropout=0.3", "--num_train_epochs", "2", "--per_device_train_batch_size", "5"),
    *("--gradient_accumulation_steps", "2", "--save_strategy", "steps", "--save_steps", "2"),
    *("--eval_strategy", "steps", "--eval_steps", "2", "--logging_strategy", "steps", "--logging_steps", "3"),
    *("--report_to", "none", "--disable_tqdm", "true"),
]
AUGMENTED = ["--image_augmentation", "flip", "crop", "--dataloader_num_workers", "1"]

Install = Callable[[Callable[[], None]], None]


def before(*functions: tuple[object, str]) -> Install:
    """Return a function that makes each call of these functions of an owner call another function first."""

    def install(hit: Callable[[], None]) -> None:
        for owner, name in functions:
            setattr(owner, name, _preceded(getattr(owner, name), hit))

    return install


def _preceded(function: Callable, hit: Callable[[], None]) -> Callable:
    def call(*args, **kwargs):
        hit()
        return function(*args, **kwargs)

    return call


def in_a_line(hit: Callable[[], None]) -> None:
    """Call a function whenever half of a line has been written to a part of the predictions."""
    original = predict.open_part

    def open_part(*args):
        part, last_row = original(*args)
        write = part.write

        def write_halves(line: bytes) -> int:
            write(line[: len(line) // 2])
            part.flush()
            hit()
            return write(line[len(line) // 2 :])

        part.write = write_halves
        return part, last_row

    predict.open_part = open_part


def in_a_merge(hit: Callable[[], None]) -> None:
    """Call a function before each row that is merged into the predictions."""
    original = heapq.merge

    def merge(*parts, **kwargs) -> Iterator[dict]:
        for record in original(*parts, **kwargs):
            hit()
            yield record

    heapq.merge = merge


@dataclass
class Command:
    """A command and its output folder.

    Attributes:
        run: Run the command with this folder, and return the exit code or `None`.
        outcome: Return what must be equal after an interruption.
        done: Return which share of the work the folder holds; 1 stands for a finished command.
        places: Where the command can be interrupted; each place has a function that makes it call another function.
        code: The exit code at the end.
        finished: Part of the message that refuses to run a finished command again.
        writing: Return what is being written in the folder, or was when a kill came.
    """

    run: Callable[[Path], int | None]
    outcome: Callable[[Path], object]
    done: Callable[[Path], float]
    places: dict[str, Install]
    finished: str
    code: int = 0
    writing: Callable[[Path], set[Path]] = field(default=lambda folder: set(folder.rglob("tmp-*")))


def files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder by its name there. The file of a lock may remain after a kill."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): content_hash(path) for path in paths}


MOVING = before((Path, "replace"), (Path, "unlink"))


def training(base: Path, arguments: list[str]) -> Command:
    """Return the command that trains on the corpus of `prepare`. `FOLDER` in its arguments stands for the folder."""

    def run(folder: Path) -> None:
        sys.argv = ["train.py", "--dataset", str(base / "corpus"), "--output_dir", str(folder / "run")]
        sys.argv += [*TRAINING, *(word.replace("FOLDER", str(folder)) for word in arguments)]
        with exit_with_one_line("train.py"):
            train.main()

    def outcome(folder: Path) -> dict:
        hashes, report = files(folder), json.loads((folder / "run" / RUN).read_text())
        log = [{k: v for k, v in row.items() if not k.endswith(("runtime", "per_second"))} for row in report["log"]]
        compared = (".safetensors", ".jsonl", ".npy", ".png")  # Other files hold durations or paths.
        same = {name: value for name, value in hashes.items() if name.endswith(compared)}
        return {"names": list(hashes), "files": same, "scores": report["scores"], "log": log}

    def done(folder: Path) -> float:
        run = folder / "run"
        return 1 if (run / RUN).exists() else 0.99 * max(map(step_of, checkpoints(run)), default=0) / STEPS

    saving = before((torch, "save"), (shutil, "rmtree"), (exact_resume, "complete_checkpoint"))
    places = {
        "step": before((MultimodalTrainer, "training_step")),
        "evaluation": before((MultimodalTrainer, "prediction_step")),
        "saving": saving,
        "ending": before((train, "save_model"), (train, "score_splits"), (train, "write_figures"), (train, "finish")),
    }

    def writing(folder: Path) -> set[Path]:
        return {path for path in folder.glob("run/checkpoint-*") if not is_complete(path)}

    return Command(run, outcome, done, places, "holds a trained model", writing=writing)


def prediction(base: Path, suffix: str, processes: int) -> Command:
    """Return the command that predicts the table of `prepare`, of which some rows are bad."""

    def run(folder: Path) -> int:
        sys.argv = ["mmsent predict", "--model", str(base / "model" / "run"), "--input", str(base / "posts.csv")]
        sys.argv += ["--output", str(folder / f"out{suffix}"), "--batch_size", "16"]
        return predict.main() if processes == 1 else _in_two_processes(predict.main)

    def done(folder: Path) -> float:
        parts = [path.read_bytes().count(b"\n") - 1 for path in folder.glob("*.part-*")]
        return 0.99 * sum(parts) / ROWS if parts else float((folder / f"out{suffix}").exists())

    places = {
        "batch": before((predict, "predict_rows")),
        "half a line": in_a_line,
        "merging": in_a_merge,
        "moving": MOVING,
    }
    return Command(run, files, done, places, "exists already", code=1)


def exporting(base: Path, cold: bool = False) -> Command:
    """Return the command that exports the sample posts. It builds the corpus first if the cache is cold."""

    def run(folder: Path) -> None:
        export.POSTS_PER_SHARD = POSTS_PER_SHARD
        if cold:
            datasets.config.HF_DATASETS_CACHE = folder / "cache"
        sys.argv = ["mmsent export", "sample_posts", "--output", str(folder / "out")]
        export.main()

    def is_finished(output: Path) -> bool:
        return (output / export.CARD).exists() and not (output / export.STATE).exists()

    places = {"shard": before((pq, "write_table")), "card": before((export, "make_card")), "moving": MOVING}
    shards = sum(-(-len(posts) // POSTS_PER_SHARD) for posts in datasets.load_dataset("sample_posts").values())

    def done(folder: Path) -> float:
        written = [path for path in folder.glob("out/data/*.parquet") if not path.name.startswith("tmp-")]
        return 1 if is_finished(folder / "out") else 0.99 * len(written) / shards

    def outcome(folder: Path) -> dict:
        return files(folder / "out")

    return Command(run, outcome if cold else files, done, places, "holds a finished export")


def staging(kind: str, source: Path) -> Command:
    """Return the command that writes what `mmsent push` would upload."""

    def run(folder: Path) -> None:
        sys.argv = ["mmsent push", kind, str(source), "--repo_id", "me/name", "--dry_run", str(folder / "out")]
        push.main()

    places = {"copying": before((shutil, "copyfile")), "moving": before((Path, "replace"), (Path, "write_text"))}
    return Command(run, files, lambda folder: float((folder / "out").exists()), places, "is not empty")


def _in_two_processes(function: Callable[[], int]) -> int:
    """Call a function in two processes that `accelerate` knows, and return the result of the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    second = os.fork()
    rank = str(int(second == 0))
    os.environ.update(RANK=rank, LOCAL_RANK=rank)
    if second == 0:
        try:
            function()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        torch.distributed.destroy_process_group()
        os._exit(0)
    try:
        return function()
    finally:  # The other process waits for this one if this one failed.
        os.kill(second, signal.SIGKILL)
        os.waitpid(second, 0)


def start(function: Callable[[], int | None], log: Path) -> int:
    """Call a function in a new process, and return the process id. The log gets what the process prints.

    The exit code of the process is what the function returns; it is 70 after an unexpected error.
    """
    child = os.fork()
    if child == 0:
        os.setsid()  # A kill of the process group includes the data workers.
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 70
        try:
            code = function() or 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(code)
    return child


def exit_code(child: int, wait: bool = True) -> int | None:
    """Return the exit code of a process, the negative signal if one killed it, and `None` while it runs."""
    ended, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def call(function: Callable[[], int | None], log: Path, code: int = 0) -> None:
    """Call a function in a new process and wait for it.

    Raises:
        RuntimeError: If the process ends with another exit code.
    """
    ended = exit_code(start(function, log))
    if ended != code:
        raise RuntimeError(f"exit code {ended} instead of {code}:\n{log.read_text()[-3000:]}")


def prepare(base: Path) -> None:
    """Write a corpus, a table of posts with bad rows, and a trained model."""
    base.mkdir(parents=True, exist_ok=True)
    call(lambda: _write_posts(base), base / "log")
    model = training(base, [])
    call(lambda: model.run(base / "model"), base / "log")


def _write_posts(base: Path) -> None:
    corpus, rng = datasets.load_dataset("sample_posts"), random.Random(0)
    (base / "corpus" / "data").mkdir(parents=True)
    for split, count in POSTS.items():
        posts = corpus[split].shuffle(seed=0).select(range(count))
        posts.to_parquet(base / "corpus" / "data" / f"{split}-00000-of-00001.parquet")
    images = [f"{number}.png" for number in range(8)]
    for name in images:
        Image.frombytes("RGB", (40, 30), rng.randbytes(40 * 30 * 3)).save(base / name)
    (base / "broken.jpg").write_text("this is not an image")
    words, lines = ["a", "good", "bad", "day", "咖啡"], ["id,text,images"]
    for row in range(ROWS):
        text = " ".join(rng.choices(words, k=rng.randint(1, 30)))
        image = rng.choice([*images, *images, "", f"{images[0]};{images[1]}", "broken.jpg", "absent.png"])
        lines.append(f"{row},{text},{image}" + (",one cell too many" if row % 29 == 7 else ""))
    (base / "posts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

"""Kill trainings with SIGKILL at random moments and check that each ends like one that was not killed.

    python benchmarks/soak.py [--kills 60] [--seed 0] [--output benchmarks/soak.json]

A run reads its posts in data workers, with augmentation, dropout and accumulated gradients. It evaluates and saves
every second step, and logs every third. It is killed five times and then finishes. A kill comes after a random time,
at a step, in an evaluation, between two files of a checkpoint, or while a checkpoint is being written.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="0")  # A process with threads should not fork.
sys.path.insert(0, str(Path(__file__).parents[1]))  # train.py is not installed.

import torch  # noqa: E402
from common_report import parser_of, write_report  # noqa: E402
from datasets import load_dataset  # noqa: E402

import train  # noqa: E402
from mmsent.training import exact_resume  # noqa: E402
from mmsent.training.run_folder import RUN, checkpoints, is_complete, step_of  # noqa: E402
from mmsent.training.trainer import MultimodalTrainer  # noqa: E402

KILLS_PER_RUN = 5
STEPS = 12
POSTS = {"train": 60, "validation": 25, "test": 23}
# How often each place is reached in a run. "clock" and "writing" are chosen by time.
CALLS = {"clock": 0, "step": 2 * STEPS, "evaluation": STEPS // 2, "saving": 6 * STEPS // 2, "writing": 0}
ARGUMENTS = [
    *("--model_kwargs", "dropout=0.3", "--image_augmentation", "flip", "crop", "--dataloader_num_workers", "1"),
    *("--num_train_epochs", "2", "--per_device_train_batch_size", "5", "--gradient_accumulation_steps", "2"),
    *("--save_strategy", "steps", "--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2"),
    *("--logging_strategy", "steps", "--logging_steps", "3", "--report_to", "none", "--disable_tqdm", "true"),
]


def write_corpus(folder: Path) -> None:
    corpus = load_dataset("sample_posts")
    for split, count in POSTS.items():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        posts = corpus[split].shuffle(seed=0).select(range(count))
        posts.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def start(function: Callable[[], None], log: Path) -> int:
    """Call a function in a new process, where all modules are imported already, and return the process id."""
    child = os.fork()
    if child == 0:
        os.setsid()  # A kill of the process group includes the data workers.
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            function()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return child


def run_training(corpus: Path, run: Path, place: str = "", calls: int = 0) -> None:
    """Train. With a place, the process and its data workers are killed when the place is reached for the n-th time."""

    def counted(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls -= 1
            if calls == 0:
                os.killpg(0, signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    targets = {
        "step": [(MultimodalTrainer, "training_step")],
        "evaluation": [(MultimodalTrainer, "prediction_step")],
        "saving": [(torch, "save"), (shutil, "rmtree"), (exact_resume, "complete_checkpoint")],
    }
    for owner, name in targets.get(place, []):
        setattr(owner, name, counted(getattr(owner, name)))
    sys.argv = ["train.py", "--dataset", str(corpus), "--output_dir", str(run), *ARGUMENTS]
    train.main()


def exit_status(child: int, log: Path, wait: bool = False) -> int | None:
    """Return the exit status of a process, `None` while it runs, and the negative signal if one killed it.

    Raises:
        RuntimeError: If the process failed by itself.
    """
    ended, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    status = os.waitstatus_to_exitcode(status) if ended else None
    if status not in (None, 0, -signal.SIGKILL):
        raise RuntimeError(f"a run failed by itself:\n{log.read_text()[-3000:]}")
    return status


def kill_once(place: str, corpus: Path, run: Path, log: Path, seconds: float, calls: int, rng: random.Random) -> bool:
    """Start or resume a run and kill it. Return `False` if it ended before the kill.

    Args:
        seconds: Time within which the run is killed if the place is "clock".
        calls: How often the place is reached at most.
    """
    call = rng.randint(1, max(1, calls))
    child = start(lambda: run_training(corpus, run, place, call), log)
    moment = time.time() + rng.uniform(0, seconds) if place == "clock" else float("inf")
    while (status := exit_status(child, log)) is None:
        if place == "writing" and not all(map(is_complete, run.glob("checkpoint-*"))):
            moment = min(moment, time.time() + rng.uniform(0, 0.05))
        if time.time() >= moment:
            os.killpg(child, signal.SIGKILL)
            return exit_status(child, log, wait=True) != 0
        time.sleep(0.002)
    return status != 0


def result(run: Path) -> dict:
    """Return what must be equal: the weights, the scores and the log without durations."""
    report = json.loads((run / RUN).read_text())
    log = [{k: v for k, v in entry.items() if not k.endswith(("runtime", "per_second"))} for entry in report["log"]]
    return {"weights": report["weights_sha256"], "scores": report["scores"], "log": log}


def finish(corpus: Path, run: Path, log: Path) -> float:
    """Train to the end, and return how many seconds that took."""
    started = time.time()
    exit_status(start(lambda: run_training(corpus, run), log), log, wait=True)
    return time.time() - started


def kill_run(number: int, corpus: Path, run: Path, log: Path, seconds: float, rng: random.Random) -> Counter:
    """Kill a run several times and let it finish. Return the number of kills by place, and of `"lost"` checkpoints
    and of kills that came `"too late"`."""
    counts, places = Counter(), list(CALLS)
    for attempt in range(KILLS_PER_RUN):
        before = max(map(step_of, checkpoints(run)), default=0)
        place, share_left = places[(number + attempt) % len(places)], 1 - before / STEPS
        calls = int(CALLS[place] * share_left)
        killed = kill_once(place, corpus, run, log, seconds * (0.3 + 0.7 * share_left), calls, rng)
        counts[place if killed else "too late"] += 1
        if (run / RUN).exists():  # The run has finished, and keeps the best checkpoint only.
            break
        after = max(map(step_of, checkpoints(run)), default=0)
        counts["lost"] += after < before
    if not (run / RUN).exists():
        finish(corpus, run, log)
    return counts


def soak(kills: int, seed: int, folder: Path) -> dict:
    """Kill runs until there were that many kills, and return the figures."""
    started, rng = time.time(), random.Random(seed)
    corpus, log = folder / "corpus", folder / "log"
    exit_status(start(lambda: write_corpus(corpus), log), log, wait=True)
    finish(corpus, folder / "straight", log)
    expected = result(folder / "straight")
    seconds = finish(corpus, folder / "again", log)  # The corpus is prepared by now.
    if result(folder / "again") != expected:
        raise RuntimeError("two runs differ that were not killed")
    counts, equal, runs = Counter(), 0, 0
    while sum(counts[place] for place in CALLS) < kills:
        runs += 1
        run = folder / f"run-{runs}"
        counts += kill_run(runs, corpus, run, log, seconds, rng)
        equal += result(run) == expected
        print(f"{runs} runs, {equal} equal, {counts['lost']} checkpoints lost", flush=True)
    return {
        "kills": {place: counts[place] for place in CALLS},
        "kills_in_all": sum(counts[place] for place in CALLS),
        "runs": runs,
        "runs_equal_to_the_straight_one": equal,
        "checkpoints_lost": counts["lost"],
        "runs_that_ended_before_a_kill": counts["too late"],
        "seconds_of_the_straight_run": round(seconds, 1),
        "seconds": round(time.time() - started),
    }


def main() -> None:
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = soak(args.kills, args.seed, Path(folder))
    write_report(args, figures)
    if figures["checkpoints_lost"] or figures["runs_equal_to_the_straight_one"] != figures["runs"]:
        sys.exit("A run lost a checkpoint, or ended differently from the run that was not killed.")


if __name__ == "__main__":
    main()

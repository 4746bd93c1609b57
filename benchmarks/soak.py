"""Kill trainings with SIGKILL at random moments and see whether each ends as the one that was left alone.

    python benchmarks/soak.py [--kills 60] [--output benchmarks/soak.json]

A run takes posts through data workers, augmentation, dropout and gradient accumulation, evaluates and saves every
second step, and logs every third. It is killed five times and then left to finish. Kills come by the clock, spread
over the whole run; at a step; in an evaluation; between two files of a checkpoint; and while one is being written.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="0")  # a process with threads should not fork

import torch  # noqa: E402
from datasets import load_dataset  # noqa: E402

import train  # noqa: E402
from mmsent.training import run_folder
from mmsent.training.trainer import MultimodalTrainer  # noqa: E402

KILLS_A_RUN = 5
POSTS = {"train": 60, "validation": 25, "test": 23}
KINDS = ("clock", "step", "evaluation", "saving", "writing")
DURATIONS = ("runtime", "per_second")
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


def start(function, log: Path) -> int:
    """Call a function in a process of its own that begins with all modules imported; returns the process's id."""
    child = os.fork()
    if child == 0:
        os.setsid()  # data workers die with it
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


def run_training(corpus: Path, run: Path, count_down: dict[str, int]) -> None:
    """Train; a process with a count that comes to zero kills itself there, data workers and all."""

    def counted(kind, function):
        def call(*args, **kwargs):
            count_down[kind] = count_down.get(kind, 0) - 1
            if count_down[kind] == 0:
                os.killpg(0, signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    MultimodalTrainer.training_step = counted("step", MultimodalTrainer.training_step)
    MultimodalTrainer.prediction_step = counted("evaluation", MultimodalTrainer.prediction_step)
    run_folder._flush = counted("saving", run_folder._flush)
    torch.save = counted("saving", torch.save)
    run_folder.shutil.rmtree = counted("saving", run_folder.shutil.rmtree)
    sys.argv = ["train.py", "--dataset", str(corpus), "--output_dir", str(run), *ARGUMENTS]
    train.main()


def ended(child: int) -> int | None:
    """The exit status of a process, None while it runs; negative: the signal that killed it."""
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def kill_once(kind: str, corpus: Path, run: Path, log: Path, seconds: float, calls: int, rng: random.Random) -> bool:
    """Start or go on with a run, and kill it; False if it was through before."""
    count = {kind: rng.randint(1, calls)} if kind in ("step", "evaluation", "saving") else {}
    child = start(lambda: run_training(corpus, run, count), log)
    until = time.time() + rng.uniform(0, seconds)
    if kind == "writing":  # wait for a checkpoint that is being written, and a little more
        patience, until = rng.randint(0, 2), float("inf")
        seen: set[str] = set()
    while (status := ended(child)) is None:
        if kind == "writing" and until == float("inf"):
            seen |= {path.name for path in run.glob("tmp-checkpoint-*")}
            if len(seen) > patience:
                until = time.time() + rng.uniform(0, 0.15)
        if kind in ("clock", "writing") and time.time() >= until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.002)
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a run failed by itself:\n{log.read_text()[-3000:]}")
    return status != 0


def result(run: Path) -> dict:
    """What must be equal: weights, scores and logs, durations left out."""
    report = json.loads((run / run_folder.RUN).read_text())
    log = [{k: v for k, v in row.items() if not k.endswith(DURATIONS)} for row in report["log"]]
    return {"weights": report["weights_sha256"], "scores": report["scores"], "log": log}


def finish(corpus: Path, run: Path, log: Path) -> float:
    started = time.time()
    child = start(lambda: run_training(corpus, run, {}), log)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise RuntimeError(f"a run failed by itself:\n{log.read_text()[-3000:]}")
    return time.time() - started


def soak(kills: int, seed: int, folder: Path) -> dict:
    """Kill runs until there were so many kills; returns the report."""
    started, rng = time.time(), random.Random(seed)
    corpus, log = folder / "corpus", folder / "log"
    os.waitpid(start(lambda: write_corpus(corpus), log), 0)
    finish(corpus, folder / "straight", log)
    wanted = result(folder / "straight")
    seconds = finish(corpus, folder / "again", log)  # without the time to prepare the corpus
    if result(folder / "again") != wanted:
        raise RuntimeError("two runs that nobody killed differ")
    steps = 12
    calls = {"step": 2 * steps, "evaluation": steps // 2, "saving": 25 * steps // 2, "clock": 0, "writing": 0}
    made, lost, equal, runs, too_late = Counter(), 0, 0, 0, 0
    while made.total() < kills:
        runs += 1
        run = folder / f"run-{runs}"
        for number in range(KILLS_A_RUN):
            before = max(map(run_folder.step_of, run_folder.checkpoints(run)), default=0)
            kind = KINDS[(runs + number) % len(KINDS)]
            # what is left of the run is shorter with every kill
            share = 1 - before / steps
            killed = kill_once(
                kind, corpus, run, log, seconds * (0.3 + 0.7 * share), max(1, int(calls[kind] * share)), rng
            )
            after = max(map(run_folder.step_of, run_folder.checkpoints(run)), default=0)
            if not killed:
                too_late += 1
                break
            made[kind] += 1
            # with run.json the run is over, and of its checkpoints only the best is left
            lost += after < before and not (run / run_folder.RUN).exists()
        if not (run / run_folder.RUN).exists():
            finish(corpus, run, log)
        equal += result(run) == wanted
        print(f"{made.total()} kills, {runs} runs, {equal} equal, {lost} checkpoints lost", flush=True)
    return {
        "command": f"python benchmarks/soak.py --kills {kills} --seed {seed}",
        "kills": dict(made),
        "kills_in_all": made.total(),
        "runs": runs,
        "runs_equal_to_the_straight_one": equal,
        "checkpoints_lost": lost,
        "runs_that_ended_before_a_kill": too_late,
        "seconds_of_the_straight_run": round(seconds, 1),
        "seconds": round(time.time() - started),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = soak(args.kills, args.seed, Path(folder))
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if report["checkpoints_lost"] or report["runs_equal_to_the_straight_one"] != report["runs"]:
        sys.exit("a run lost a checkpoint or ended otherwise than the one that was left alone")


if __name__ == "__main__":
    main()

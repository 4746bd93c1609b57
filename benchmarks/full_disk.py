"""Fill the disk at many points of trainings, predictions and exports, and check that nothing is lost or wrong.

    unshare --map-root-user --mount python benchmarks/full_disk.py [--only NAME ...] [--every N] [--output FILE]

The disk is a small file system in memory, which `unshare` allows to mount without being root. At a point, a file takes
all space but at most a page. The command must end with the exit code 2 and one line, which says that the disk is full
and names a file or folder there. An earlier output and the finished work must stay. When the space is free again, the
same command must end like one that never met a full disk.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common_commands  # noqa: F401  # before the libraries whose threads it limits
import numpy as np
import pyarrow.parquet as pq
import torch
from common_commands import (
    Command,
    Install,
    before,
    call,
    exit_code,
    exporting,
    files,
    in_a_merge,
    prediction,
    prepare,
    staging,
    start,
    training,
)
from common_report import parser_of, write_report
from datasets.arrow_writer import ArrowWriter

import train
from mmsent.dataset_scripts import common_files
from mmsent.hub import export
from mmsent.hub import staging as staging_module
from mmsent.inference import predict
from mmsent.training import exact_resume, run_report
from mmsent.training.trainer import MultimodalTrainer

SIZE = "192m"  # of the disk
CACHED = ["--cache_features", "true", "--features_dir", "FOLDER/features"]
FROZEN = ["--model_kwargs", "dropout=0.3", "freeze_text=true", "freeze_image=true"]

Points = list[tuple[str, Install, int]]


def at(place: str, install: Install, *numbers: int) -> Points:
    """Return a point for each n-th call of the functions of a place."""
    return [(place, install, number) for number in numbers]


def commands(base: Path) -> dict[str, tuple[Command, Points]]:
    """Return the commands, each with the points where the disk becomes full."""
    return runs(base) | exports(base)


def runs(base: Path) -> dict[str, tuple[Command, Points]]:
    """Return the commands that train and predict."""
    return {
        "training": (
            training(base, []),
            [
                *at("lock", before((common_files.FileLock, "acquire")), 1),
                *at("settings", before((train, "begin_or_resume")), 1),
                *at("checkpoint", before((MultimodalTrainer, "save_model")), 1, 3),
                *at("optimizer", before((torch, "save")), 1, 2, 5),
                *at("list of a checkpoint", before((exact_resume, "complete_checkpoint")), 1, 5),
                *at("weights", before((train, "save_model")), 1),
                *at("predictions", before((run_report, "write_predictions")), 1, 2),
                *at("figures", before((train, "write_figures")), 1),
                *at("run.json", before((train, "finish")), 1),
            ],
        ),
        "feature cache": (training(base, [*FROZEN, *CACHED]), at("shard", before((np, "save")), 1, 3, 6)),
        "prediction as JSONL": (
            prediction(base, ".jsonl", 1),
            [
                *at("lock", before((common_files.FileLock, "acquire")), 1),
                *at("part", before((predict, "predict_rows")), 1, 8, 15),
                *at("merging", in_a_merge, 1, 150),
            ],
        ),
        "prediction as CSV": (prediction(base, ".csv", 1), at("merging", in_a_merge, 250)),
        "prediction as Parquet": (prediction(base, ".parquet", 1), at("merging", in_a_merge, 50)),
    }


def exports(base: Path) -> dict[str, tuple[Command, Points]]:
    """Return the commands that build, export and stage."""
    return {
        "corpus build": (
            exporting(base, cold=True),
            [
                *at("cache", before((export, "load_named_corpus")), 1),
                *at("Arrow file", before((ArrowWriter, "__init__")), 1, 2),
                *at("end of an Arrow file", before((ArrowWriter, "finalize")), 1, 3),
            ],
        ),
        "export": (
            exporting(base),
            [
                *at("beginning", before((export, "locked")), 1),
                *at("shard", before((pq, "write_table")), 1, 4),
                *at("card", before((export, "make_card")), 1),
            ],
        ),
        "staging of a model": (
            staging("model", base / "model" / "run"),
            [
                *at("copy", before((shutil, "copyfile")), 1, 3),
                *at("card", before((staging_module, "make_card")), 1),
            ],
        ),
        "staging of a corpus": (staging("corpus", base / "exported"), at("copy", before((shutil, "copyfile")), 1, 3)),
    }


def run_until_full(command: Command, folder: Path, install: Install, number: int, spare: int) -> int | None:
    """Run a command, and fill the disk of a folder when functions are called for the n-th time."""
    left = number

    def hit() -> None:
        nonlocal left
        left -= 1
        if left == 0 and (free := shutil.disk_usage(folder).free) > spare:
            with (folder.parent / "ballast").open("wb") as ballast:
                os.posix_fallocate(ballast.fileno(), 0, free - spare)

    install(hit)
    return command.run(folder)


def try_point(command: Command, point: tuple[str, Install, int], folder: Path, log: Path, spare: int) -> str:
    """Let the disk become full at a point, and return "failed" if the command then failed as it should, "fitted" if
    it needed no more space, or what was wrong."""
    disk = folder.parent
    earlier = files(disk / "earlier")
    folder.mkdir()
    code = exit_code(start(lambda: run_until_full(command, folder, *point[1:], spare), log))
    lines = log.read_text().splitlines()
    done = command.done(folder)
    if not (disk / "ballast").exists():
        return "this point was not reached"
    (disk / "ballast").unlink()
    if code == command.code:
        return "fitted"
    if code != 2 or "Traceback" in "".join(lines):
        return f"exit code {code}: {' | '.join(lines[-12:])}"
    if "error: " not in lines[-1] or "the disk is full" not in lines[-1] or str(disk) not in lines[-1]:
        return f"the message is: {lines[-1]}"
    if files(disk / "earlier") != earlier:
        return "an earlier output has changed"
    code = exit_code(start(lambda: command.run(folder), log))
    if code != command.code:
        return f"the second run failed with {code}: {' | '.join(log.read_text().splitlines()[-3:])}"
    return "failed" if command.done(folder) >= done else "finished work was lost"


def fill(only: list[str], every: int, seed: int, base: Path, disk: Path) -> dict:
    """Fill the disk at every n-th point of the commands, and return the figures."""
    started, rng, log = time.time(), random.Random(seed), base / "log"
    prepare(base)
    call(lambda: exporting(base).run(base / "export"), log)
    (base / "export" / "out").rename(base / "exported")
    shutil.copytree(base / "exported", disk / "earlier")
    places, wrong, fitted, equal, index = Counter(), [], 0, 0, 0
    for name, (command, points) in commands(base).items():
        chosen = [point for number, point in enumerate(points, index) if number % every == 0]
        index += len(points)
        if not chosen or (only and name not in only):
            continue
        straight, folder = disk / "straight", disk / "out"
        straight.mkdir()
        call(lambda command=command, straight=straight: command.run(straight), log, command.code)
        expected = command.outcome(straight)
        shutil.rmtree(straight)
        for point in chosen:
            result = try_point(command, point, folder, log, rng.choice((0, 4096)))
            if result == "failed" and command.outcome(folder) == expected:
                equal += 1
            elif result != "fitted":
                wrong.append(f"{name}, {point[0]} {point[2]}: {result}")
            fitted += result == "fitted"
            places[f"{name}: {point[0]}"] += result != "fitted"
            print(f"{name}, {point[0]} {point[2]}: {result}", flush=True)
            shutil.rmtree(folder)
    return {
        "full_disks": dict(places),
        "full_disks_in_all": places.total(),
        "failed_as_they_should_and_then_ended_equal": equal,
        "points_that_needed_no_more_space": fitted,
        "wrong": wrong,
        "seconds": round(time.time() - started),
    }


def main() -> None:
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="commands (default: all)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="try each n-th point only")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, tempfile.TemporaryDirectory() as disk:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk])
        if mounted.returncode:
            sys.exit("The disk cannot be mounted: run this as root, or by unshare as shown in --help.")
        try:
            figures = fill(args.only, args.every, args.seed, Path(base) / "base", Path(disk))
        finally:
            subprocess.run(["umount", disk], check=True)
    write_report(args, figures)
    if figures["wrong"]:
        sys.exit("A full disk was not handled: see `wrong`.")


if __name__ == "__main__":
    main()

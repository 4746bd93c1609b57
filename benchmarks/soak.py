"""Kill trainings, predictions and exports with SIGKILL, and check that each ends like one that was not killed.

    python benchmarks/soak.py [--training 125] [--prediction 55] [--export 33] [--seed 0] [--output FILE]

A training reads its posts in data workers, with augmentation, dropout and accumulated gradients. It evaluates and
saves every second step, and logs every third. A prediction reads a table of 300 posts, some of them bad, and writes
JSONL, Parquet, or with two processes CSV. An export writes a corpus in shards, or what would be uploaded to the Hub. A
command is killed several times, and then finishes. A kill comes after a random time ("clock"), while a file is being
written ("writing"), or at a place in the code. With 0 kills, a kind of command is not run, and its figures in the file
are kept.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from common_commands import (
    AUGMENTED,
    Command,
    call,
    exit_code,
    exporting,
    prediction,
    prepare,
    staging,
    start,
    training,
)
from common_report import parser_of, write_report

KILLS = {"training": 125, "prediction": 55, "export": 33}
KILLS_PER_RUN = 5
LATE = {"clock", "writing", "merging", "moving", "ending", "card"}  # places that a run reaches at its end, too


def run_with(command: Command, folder: Path, place: str, number: int) -> int | None:
    """Run a command, and kill its processes when a place is reached for the n-th time."""
    left = number

    def hit() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.killpg(0, signal.SIGKILL)

    if place in command.places:
        command.places[place](hit)
    return command.run(folder)


def count_calls(command: Command, folder: Path, calls: Path) -> int | None:
    """Run a command, and write how often each place was reached."""
    counts = Counter()
    for place, install in command.places.items():
        install(lambda place=place: counts.update([place]))
    code = command.run(folder)
    calls.write_text(json.dumps(counts))
    return code


def kill_once(
    command: Command, place: str, folder: Path, log: Path, seconds: float, number: int, rng: random.Random
) -> bool:
    """Start or continue a command and kill it. Return `False` if it ended before the kill.

    Args:
        seconds: Time within which the command is killed if the place is "clock".
        number: How often the place is reached at most.
    """
    number = rng.randint(1, max(1, number))
    leftovers = command.writing(folder)
    child = start(lambda: run_with(command, folder, place, number), log)
    moment = time.time() + rng.uniform(0, seconds) if place == "clock" else float("inf")
    while (code := exit_code(child, wait=False)) is None:
        if place == "writing" and moment == float("inf") and command.writing(folder) - leftovers:
            moment = time.time() + rng.uniform(0, 0.02)
        if time.time() >= moment:
            os.killpg(child, signal.SIGKILL)
            code = exit_code(child)
            break
        time.sleep(0.001)
    if code not in (-signal.SIGKILL, command.code):
        raise RuntimeError(f"a command failed by itself with {code}:\n{log.read_text()[-3000:]}")
    return code == -signal.SIGKILL


def finish(command: Command, folder: Path, log: Path) -> None:
    """Give the command again; it ends, or says that it has ended already.

    Raises:
        RuntimeError: If it fails for another reason.
    """
    code = exit_code(start(lambda: command.run(folder), log))
    if code != command.code and not (code == 2 and command.finished in log.read_text()):
        raise RuntimeError(f"a command did not end after a kill, but with {code}:\n{log.read_text()[-3000:]}")


class Straight:
    """A command that is not killed: what it ends with, how long it takes and how often it reaches each place."""

    def __init__(self, command: Command, folder: Path, log: Path):
        self.command = command
        for name in ("straight", "again"):
            (folder / name).mkdir(parents=True)
        call(lambda: count_calls(command, folder / "straight", folder / "calls"), log, command.code)
        started = time.time()
        call(lambda: command.run(folder / "again"), log, command.code)
        self.seconds = time.time() - started
        self.outcome, self.calls = command.outcome(folder / "straight"), json.loads((folder / "calls").read_text())
        if command.outcome(folder / "again") != self.outcome:
            raise RuntimeError("two runs differ that were not killed")

    def kill_run(self, number: int, folder: Path, log: Path, rng: random.Random) -> Counter:
        """Kill a command several times and let it finish. Return the number of kills by place, of those that `"lost"`
        finished work, of those that came `"too late"`, and whether the end was `"equal"`."""
        folder.mkdir()
        counts = Counter()
        for attempt in range(KILLS_PER_RUN):
            before = self.command.done(folder)
            if before >= 1:
                break
            places = [place for place in ("clock", "writing", *self.calls) if before < 0.9 or place in LATE]
            place = places[(number + attempt) % len(places)]
            calls, seconds = self.calls.get(place, 0), self.seconds * (1 - 0.7 * before)
            calls = calls if place in LATE else round(calls * (1 - before))
            killed = kill_once(self.command, place, folder, log, seconds, calls, rng)
            counts[place if killed else "too late"] += 1
            counts["lost"] += self.command.done(folder) < before
            if not killed:
                break
        finish(self.command, folder, log)
        counts["equal"] = int(self.command.outcome(folder) == self.outcome)
        if not counts["equal"]:
            print(f"{folder} differs: its last kills were {dict(counts)}", flush=True)
        return counts


def commands(base: Path) -> dict[str, list[Command]]:
    """Return the commands of each kind."""
    return {
        "training": [training(base, AUGMENTED)],
        "prediction": [prediction(base, ".jsonl", 1), prediction(base, ".csv", 2), prediction(base, ".parquet", 1)],
        "export": [exporting(base), staging("model", base / "model" / "run"), staging("corpus", base / "exported")],
    }


def soak(kills: dict[str, int], seed: int, base: Path) -> dict:
    """Kill commands until there were that many kills of each kind, and return the figures by kind."""
    rng, log, figures = random.Random(seed), base / "log", {}
    prepare(base)
    call(lambda: exporting(base).run(base / "export"), log)
    (base / "export" / "out").rename(base / "exported")
    for kind, kinds in commands(base).items():
        if not kills[kind]:
            continue
        started, counts, runs = time.time(), Counter(), 0
        straights = [Straight(command, base / f"{kind}-{index}", log) for index, command in enumerate(kinds)]
        places = {name for straight in straights for name in ("clock", "writing", *straight.calls)}
        while sum(counts[place] for place in places) < kills[kind]:
            straight = straights[runs % len(straights)]
            runs += 1
            counts += straight.kill_run(runs, base / f"{kind}-run-{runs}", log, rng)
            print(f"{kind}: {runs} runs, {counts['equal']} equal, {counts['lost']} lost work", flush=True)
        figures[kind] = {
            "kills": {place: counts[place] for place in sorted(places)},
            "kills_in_all": sum(counts[place] for place in places),
            "runs": runs,
            "runs_equal_to_the_straight_one": counts["equal"],
            "kills_that_lost_finished_work": counts["lost"],
            "runs_that_ended_before_a_kill": counts["too late"],
            "seconds_of_the_straight_runs": [round(straight.seconds, 1) for straight in straights],
            "seconds": round(time.time() - started),
        }
    return figures


def failed(figures: dict) -> bool:
    """Return whether a run lost work, or ended differently from the run that was not killed."""
    return any(
        row["kills_that_lost_finished_work"] or row["runs_equal_to_the_straight_one"] != row["runs"]
        for row in figures.values()
    )


def main() -> None:
    parser = parser_of(__file__, __doc__)
    for kind, kills in KILLS.items():
        parser.add_argument(f"--{kind}", type=int, default=kills, help="number of kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = soak({kind: getattr(args, kind) for kind in KILLS}, args.seed, Path(folder))
    if args.output.exists():
        figures = json.loads(args.output.read_text())["figures"] | figures
    write_report(args, figures, kills=sum(row["kills_in_all"] for row in figures.values()))
    if failed(figures):
        sys.exit("A run lost finished work, or ended differently from the run that was not killed.")


if __name__ == "__main__":
    main()

"""What benchmarks share: the command line, measuring in turns or in a new process, and the JSON file of figures."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def parser_of(script: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with `--output`, which names the JSON file; the default stands beside the script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path(script).with_suffix(".json"), help="file for the figures, as JSON"
    )
    return parser


def take_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Call the functions in turns, and return the seconds of each call by name. A first call of each warms up."""
    seconds = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: values[1:] for name, values in seconds.items()}


def run_child(code: str, *argv: object, **variables: str) -> dict:
    """Run code in a new process, and return the JSON object in the last line that it prints."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | variables
    command = [sys.executable, "-c", code, *map(str, argv)]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def write_report(args: argparse.Namespace, figures: dict, **settings) -> None:
    """Print the figures, and write them with the command and the machine that made them.

    Args:
        args: The arguments of `parser_of`.
        figures: What was measured.
        settings: What the figures depend on, for example the number of repeats.
    """
    print(json.dumps(figures, indent=2))
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        machine |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    # The folders of this machine are left out.
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])
    report = {"command": command, **machine, **settings, "figures": figures}
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

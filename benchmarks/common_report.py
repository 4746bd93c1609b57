"""The frame of every benchmark: its command line, and the JSON file that its figures are written to."""

import argparse
import json
import os
import platform
import shlex
import sys
from pathlib import Path


def parser_of(script: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with `--output`, which names the JSON file; the default stands beside the script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=Path(script).with_suffix(".json"), help="file for the figures, as JSON"
    )
    return parser


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
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_without_folder, sys.argv[1:])])
    report = {"command": command, **machine, **settings, "figures": figures}
    args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _without_folder(word: str) -> str:
    """Return an argument without the folders of this machine."""
    return Path(word).name if Path(word).is_absolute() else word

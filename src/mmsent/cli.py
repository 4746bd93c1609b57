"""Run the commands of `mmsent`."""

import argparse
import sys
from importlib import import_module

# name of the command -> the module whose `main` runs it, and a description
COMMANDS = {
    "sample": ("mmsent.inference.examples", "write generated posts as a table with pictures, to try the others on"),
    "predict": ("mmsent.inference.predict", "predict the sentiment of the posts in a file or folder"),
    "evaluate": ("mmsent.inference.evaluate", "score a trained model on a labelled corpus"),
    "caption": ("mmsent.inference.captions", "describe the images of posts in words, as a further column of a table"),
    "compare": ("mmsent.evaluation.compare", "compare two models on the same posts"),
    "explain": ("mmsent.explanation.explain", "show which words and pixels support a label"),
    "figures": ("mmsent.figures.command", "draw a figure of one of the papers"),
    "benchmark": ("mmsent.training.benchmark", "train a recipe with several seeds and write the scores"),
    "audit": ("mmsent.evaluation.audit", "report what to know about a corpus before trusting a score"),
    "export": ("mmsent.hub.export", "write a corpus as Parquet files with its images and a card"),
    "push": ("mmsent.hub.push", "publish a model, a corpus or a demo on the Hugging Face Hub"),
    "demo": ("mmsent.demo.app", "show a model in the browser"),
}


def main() -> int | None:
    """Run the command that the first argument names and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="mmsent",
        usage="mmsent COMMAND [arguments]",
        description="Image-and-text sentiment analysis. `mmsent COMMAND --help` shows the arguments of a command.",
        epilog="commands:\n" + "\n".join(f"  {name:10} {text}" for name, (_, text) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    name = parser.parse_args(sys.argv[1:2]).command
    module, _ = COMMANDS[name]
    sys.argv = [f"mmsent {name}", *sys.argv[2:]]
    return import_module(module).main()

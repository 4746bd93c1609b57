"""The command `mmsent`: one word says what to do, what follows it are the arguments of that."""

import sys
from importlib import import_module

# command -> the module whose `main` runs it, and what it does
COMMANDS = {
    "predict": ("mmsent.inference.predict", "predict the sentiment of a file or folder of posts"),
    "explain": ("mmsent.explanation.explain", "show which words and pixels speak for a label"),
    "benchmark": ("mmsent.training.benchmark", "train a recipe with several seeds and keep the scores"),
    "audit": ("mmsent.evaluation.audit", "report what to know of a corpus before trusting a score"),
    "export": ("mmsent.hub.export", "write a corpus as Parquet with its pictures and a card"),
    "push": ("mmsent.hub.push", "publish a model, a corpus or a demo on the Hugging Face Hub"),
    "demo": ("mmsent.demo.app", "open a model as a page in the browser"),
}


def main() -> int | None:
    """Run the command that the first argument names; its exit code is returned."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in COMMANDS:
        known = name in ("-h", "--help")
        lines = ["usage: mmsent COMMAND [arguments]; mmsent COMMAND --help tells the arguments", ""]
        lines += [f"  {command:10} {text}" for command, (_, text) in COMMANDS.items()]
        print(
            "\n".join(lines) if known else f"mmsent: there is no command {name!r}. " + "\n".join(lines),
            file=sys.stdout if known else sys.stderr,
        )
        return 0 if known else 2
    module, _ = COMMANDS[name]
    sys.argv = [f"mmsent {name}", *sys.argv[2:]]
    return import_module(module).main()

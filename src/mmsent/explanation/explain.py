"""Explain the scores that a model gives a post.

    mmsent explain --model RUN --text "What a day" --image picture.jpg --output explanation.html

The page shows which words and pixels support a label, how the scores change without the text or an image, and what
models with attention attend to.
"""

import argparse
import sys
from pathlib import Path

import torch

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.common_columns import FURTHER_FIELDS
from mmsent.dataset_scripts.common_files import atomic_write, check_output
from mmsent.inference.predict import load_pipeline
from mmsent.modeling.common_text import replace_lone_surrogates

from .attribution import Explanation, explain_post
from .figure import find_browser, write_png
from .html import to_html


def parse_arguments(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line; return the parser too, for later errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="run folder or Hub id")
    parser.add_argument("--text", help="text of the post")
    parser.add_argument("--image", nargs="*", default=[], help="one or more image files")
    parser.add_argument("--aspect", help="aspect, for models that judge one")
    for name in FURTHER_FIELDS:
        parser.add_argument(f"--{name}", help=f"{name}, for models that were trained with one")
    parser.add_argument("--label", help="label to explain (default: the one with the highest score)")
    parser.add_argument(
        "--output",
        type=Path,
        nargs="+",
        default=[Path("explanation.html")],
        help="files to write, .html or .png (default: explanation.html); .png needs Chromium, Chrome or Edge",
    )
    args = parser.parse_args(argv)
    unknown = [str(path) for path in args.output if path.suffix not in (".html", ".png")]
    if unknown:
        parser.error(f"--output {' '.join(unknown)}: the suffix must be .html or .png.")
    return parser, args


def main() -> None:
    """Run the command."""
    parser, args = parse_arguments(sys.argv[1:])
    with exit_with_one_line(parser.prog):
        check_outputs(args.output)
        pipe = load_pipeline(args.model, torch.device("cpu"))
        columns = pipe.model.config.columns or ()
        for name in FURTHER_FIELDS:
            if getattr(args, name) is not None and name not in columns:
                raise ValueError(f"--{name}: {args.model} does not read a {name}; leave it out.")
        post = {"text": args.text, "images": args.image, "aspect": args.aspect}
        post |= {name: getattr(args, name) for name in columns}
        explanation = explain_post(pipe.model, pipe.processor, label=args.label, **post)
        print(format_scores(explanation))
        page = replace_lone_surrogates(to_html(explanation))
        for path in sorted(args.output, key=lambda path: path.suffix == ".png"):  # a browser that fails costs no page
            with atomic_write(path) as temporary:
                write_png(page, temporary) if path.suffix == ".png" else temporary.write_text(page, encoding="utf-8")
            print(f"wrote {path}")


def check_outputs(paths: list[Path]) -> None:
    """Check before the work that the files can be written, and that there is a browser if one is needed.

    Raises:
        OSError: If a file cannot be written, or there is no browser.
    """
    for path in paths:
        if not path.parent.is_dir():
            raise FileNotFoundError(f"--output {path}: the folder {path.parent} does not exist.")
        check_output(path)
    if any(path.suffix == ".png" for path in paths):
        find_browser()


def format_scores(explanation: Explanation) -> str:
    """Return a table with the scores of the whole post and without each part, one per line."""
    rows = explanation.score_rows()
    width = max(map(len, rows))
    lines = [" ".join([" " * width, *(f"{label:>9}" for label in explanation.scores)])]
    for name, scores in rows.items():
        cells = (f"{score:>{max(9, len(label))}.1%}" for label, score in scores.items())
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines)

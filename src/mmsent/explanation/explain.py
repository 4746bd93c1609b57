"""Explain a model's score of one post, as a page and as a picture.

python explain.py --model RUN --text "What a day" --image picture.jpg --output explanation.html

Which words and pixels speak for a label, what the scores become without the text or an image, and what models with
attention attended to; see `modeling.explanation`.
"""

import argparse
import sys
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoProcessor

from mmsent.modeling.common_images import BadImageError

from .attribution import Explanation, explain_post


def table(explanation: Explanation) -> str:
    """The scores with everything and without each part, a line each."""
    rows = {"everything": explanation.scores}
    rows |= {f"without {part}": scores for part, scores in explanation.without.items()}
    width = max(map(len, rows))
    lines = [" ".join([" " * width, *(f"{label:>9}" for label in explanation.scores)])]
    for name, scores in rows.items():
        cells = (f"{score:>{max(9, len(label))}.1%}" for label, score in scores.items())
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines)


def write(explanation: Explanation, path: Path) -> None:
    """A page or a picture, by the name's suffix."""
    # matplotlib is an extra: without it the command should still say what is wrong with its arguments
    from .figure import to_figure
    from .html import to_html

    if path.suffix == ".html":
        path.write_text(to_html(explanation), encoding="utf-8")
    else:
        to_figure(explanation).savefig(path, dpi=144)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="run folder or Hub id")
    parser.add_argument("--text")
    parser.add_argument("--image", nargs="*", default=[], help="one or more picture files")
    parser.add_argument("--aspect", help="for models that judge an aspect")
    parser.add_argument("--label", help="the label to explain; the likeliest unless given")
    parser.add_argument(
        "--output",
        type=Path,
        nargs="+",
        default=[Path("explanation.html"), Path("explanation.png")],
        help="files to write, .html or .png; both unless given",
    )
    args = parser.parse_args()
    strange = [str(path) for path in args.output if path.suffix not in (".html", ".png")]
    if strange:
        parser.error(f"--output {' '.join(strange)}: the suffix must be .html or .png.")
    try:
        model = AutoModelForSequenceClassification.from_pretrained(args.model)
        processor = AutoProcessor.from_pretrained(args.model)
    except (OSError, ValueError) as error:
        sys.exit(f"--model {args.model} is no run folder or Hub id that can be read: {error}")
    if model.reads_aspect and not args.aspect:
        parser.error(f"a {model.config.model_type} model judges an aspect: give --aspect.")
    try:
        explanation = explain_post(model, processor, args.text, args.image, args.aspect, args.label)
    except (ImportError, BadImageError, ValueError) as error:
        sys.exit(str(error))
    print(table(explanation))
    for path in args.output:
        write(explanation, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()

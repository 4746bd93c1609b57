"""What one does with a corpus before any training.

python -m dataset_scripts audit  NAME --data_dir DIR [--config NAME] [--json FILE]
python -m dataset_scripts export NAME --data_dir DIR --output DIR [--config NAME]
"""

import argparse
import json
import sys
from pathlib import Path

import yaml
from datasets import load_dataset

from mmsent.dataset_scripts import CORPORA
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.evaluation.audit import audit, render

from .export import export


def main() -> None:
    args = _parse(sys.argv[1:])
    options = {name: yaml.safe_load(value) for name, _, value in (option.partition("=") for option in args.options)}
    try:
        corpus = load_dataset(args.name, args.config, data_dir=args.data_dir, num_proc=args.num_proc, **options)
        config = next(iter(corpus.values())).info.config_name
        if args.command == "audit":
            report = audit(corpus)
            print(render(f"{args.name}, config {config}", report), end="")
            if args.json:
                args.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            corpus, bad_images = screen_images(corpus, args.on_bad_image)
            for split, reasons in bad_images.items():
                print(f"{split}: {len(reasons)} pictures cannot be read: " + "; ".join(reasons[:10]))
            export(corpus, args.name, config, args.output)
            print(f"{sum(corpus.num_rows.values())} posts are in {args.output}: load_dataset({str(args.output)!r})")
    except (ValueError, OSError) as error:  # what a user can mend; anything else is a defect and shows where it is
        sys.exit(f"error: {error}")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m dataset_scripts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in {"audit": "what to know before trusting a score", "export": "Parquet with a card"}.items():
        sub = commands.add_parser(command, help=text)
        sub.add_argument("name", choices=CORPORA)
        sub.add_argument("--data_dir", help="folder of the corpus as its authors ship it")
        sub.add_argument("--config", help="split scheme, say random, clmlf_clean")
        sub.add_argument(
            "--options", nargs="*", default=[], metavar="NAME=VALUE", help="of the builder, say classes=10"
        )
        sub.add_argument("--num_proc", type=int, help="processes that build the corpus")
    commands.choices["audit"].add_argument("--json", type=Path, metavar="FILE", help="write the report here too")
    commands.choices["export"].add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    commands.choices["export"].add_argument(
        "--on_bad_image",
        choices=["error", "skip", "missing"],
        default="error",
        help="a picture that is absent or cannot be decoded stops the export, or its post is left out, or only itself",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()

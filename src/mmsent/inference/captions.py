"""Describe the images of posts in words, with an image-to-text or image-text-to-text model of transformers.

    mmsent caption --model Salesforce/blip-image-captioning-base --input posts.csv --output captioned.csv

The output is the table of the input with one more column, `caption`, which architectures such as HSAN read. The
sentences of several images of a post are joined; a post without images has an empty caption. The output has the format
of the input; a TSV file or a folder of posts gives a CSV or JSONL file. Image paths stay as they are, relative to the
folder of the input.

If the command is interrupted, run it again to continue.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from os.path import realpath
from pathlib import Path

import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from datasets import Features, Value
from tqdm.auto import tqdm

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.common_columns import FIELDS, describe_columns, missing_columns
from mmsent.dataset_scripts.common_files import atomic_write, check_output, locked, name_full_disk
from mmsent.dataset_scripts.common_posts import PostFile, open_posts
from mmsent.modeling.common_images import BadImageError, load_image

from .captioner import Captioner
from .parts import open_part, part_path, read_parts, refuse_complete
from .predict import model_version
from .writers import write_table

COLUMN = "caption"
FORMATS = (".csv", ".jsonl", ".parquet")


def parse_arguments(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line; return the parser too, for later errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub id of a model for image-text-to-text")
    parser.add_argument("--input", type=Path, required=True, help="file or folder of posts")
    parser.add_argument("--output", type=Path, required=True, help=f"file to write: {', '.join(FORMATS)}")
    option, usual = FIELDS["images"]
    help = f"column of the images (default: one of {', '.join(usual)})"
    parser.add_argument(f"--{option}", nargs="+", metavar="COLUMN", help=help)
    parser.add_argument("--image_dir", type=Path, help="folder of relative image paths (default: the input's)")
    parser.add_argument("--allow_absolute_paths", action="store_true", help="allow images outside of --image_dir")
    parser.add_argument(
        "--on_bad_image",
        choices=["error", "skip", "missing"],
        default="error",
        help="for an image that cannot be decoded: stop, leave its post out, or describe the other images",
    )
    parser.add_argument("--prompt", help="request to a chat model, or words that another model continues")
    parser.add_argument("--max_new_tokens", type=int, default=40, help="highest number of tokens of a sentence")
    parser.add_argument("--batch_size", type=int, default=8, help="number of posts whose images are read at once")
    parser.add_argument("--trust_remote_code", action="store_true", help="run the Python code of the model's folder")
    args = parser.parse_args(argv)
    for name in ("max_new_tokens", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)} must be 1 or more.")
    suffixes = {".parquet": (".parquet",), ".jsonl": (".jsonl",), ".csv": (".csv",)}
    allowed = suffixes.get(args.input.suffix.lower(), (".csv", ".jsonl"))
    if args.output.suffix.lower() not in allowed:
        parser.error(f"--output {args.output} must end with {' or '.join(allowed)} for this --input.")
    return parser, args


def main() -> None:
    """Run the command."""
    parser, args = parse_arguments(sys.argv[1:])
    with exit_with_one_line(parser.prog):
        check_output(args.output)
        if realpath(args.input) in map(realpath, (args.output, part_path(args.output, 0))):
            raise ValueError(f"The command would replace its --input {args.input}: choose another --output.")
        refuse_complete(args.output)
        posts = open_table(args)
        print(f"The columns of {args.input} are read as {describe_columns(posts.columns)}", flush=True)
        device = Accelerator(cpu=not torch.accelerator.is_available()).device
        captioner = Captioner(args.model, args.prompt, args.max_new_tokens, device, args.trust_remote_code)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        with locked(args.output):
            part, last_row = open_part(args.output, 0, describe_settings(args, posts))
            with name_full_disk(Path(part.name)), part:
                for record in caption_rows(captioner, posts, last_row, args.batch_size, args.on_bad_image):
                    part.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                    part.flush()
            count = write_captions(posts, args.output)
            part_path(args.output, 0).unlink()
        print(f"{count} posts are in {args.output}, with the column {COLUMN}")
        if args.output.parent.resolve() != posts.image_dir.resolve():
            print(f"Their image paths are relative to {posts.image_dir}: read the table with --image_dir")


def open_table(args: argparse.Namespace) -> PostFile:
    """Open the input, with all of its columns in each row.

    Raises:
        ValueError: If it has no images, or has captions already.
    """
    chosen = {"images": args.image_columns}
    fields = ("text", "images", "id")
    posts = open_posts(args.input, chosen, args.image_dir, args.allow_absolute_paths, fields)
    if posts.columns["images"] is None:
        raise missing_columns(("images",), posts.available, str(args.input))
    if COLUMN in posts.available:
        raise ValueError(f"{args.input} has a column {COLUMN} already: remove or rename it.")
    return posts


def describe_settings(args: argparse.Namespace, posts: PostFile) -> dict:
    """Return all that the captions depend on. A command continues a part only if it was begun with the same."""
    names = ("model", "prompt", "max_new_tokens", "batch_size", "on_bad_image")
    files = {"input": str(args.input), "input_version": posts.state(), "model_version": model_version(args.model)}
    return {name: getattr(args, name) for name in names} | files | {"columns": posts.columns["images"]}


def caption_rows(
    captioner: Captioner, posts: PostFile, last_row: int, batch_size: int, on_bad_image: str
) -> Iterator[dict]:
    """Yield `{"row", "caption"}` for each row after `last_row`; the caption is None for a post that is left out.

    Raises:
        ValueError: If a row cannot be read, or an image cannot be decoded and `on_bad_image` is "error".
    """
    with tqdm(total=posts.count(), unit="post", mininterval=0.5, initial=last_row) as bar:
        new = (row for row in posts if row[0] > last_row)
        while rows := list(islice(new, batch_size)):
            images = {}
            for number, row in rows:
                try:
                    images[number] = _images(posts.post(row)["images"], on_bad_image)
                except ValueError as error:
                    raise ValueError(f"{posts.path}, row {number}: {error}") from error
            sentences = iter(captioner([image for found in images.values() for image in found or ()]))
            for number, found in images.items():
                said = [next(sentences) for _ in found or ()]
                yield {"row": number, COLUMN: None if found is None else " ".join(filter(None, said))}
            bar.update(len(rows))


def _images(sources: list, on_bad_image: str) -> list | None:
    """Decode the images of a post. None means that the post is left out."""
    images = []
    for source in sources:
        try:
            images.append(load_image(source))
        except BadImageError as error:
            if on_bad_image == "error":
                raise
            print(f"{on_bad_image}: {error}", file=sys.stderr)
            if on_bad_image == "skip":
                return None
    return images


def write_captions(posts: PostFile, output: Path) -> int:
    """Write the rows of the table with their captions, and return how many there are."""
    rows = (
        row | {COLUMN: record[COLUMN]}
        for (_, row), record in zip(posts.whole(), read_parts([part_path(output, 0)]), strict=True)
        if record[COLUMN] is not None
    )
    schema = None
    if output.suffix.lower() == ".parquet":
        features = Features.from_arrow_schema(pq.read_schema(posts.path))
        schema = Features({**features, COLUMN: Value("string")}).arrow_schema
    with atomic_write(output) as path:
        return write_table(rows, [*posts.available, COLUMN], path, schema)

"""Predict the sentiment of the posts in a file or folder.

    mmsent predict --model RUN --input posts.csv --output predictions.jsonl
    accelerate launch --num_processes 2 -m mmsent predict ...

The input is a CSV, TSV, JSONL or Parquet file, or a folder of <id>.txt with <id>.jpg, <id>.png ... beside them. A cell
with several images is a JSON list, or has `;` between the names. The output is a JSONL, CSV or Parquet file in the
order of the input; each line has the number of its row, counted from 1. A post that says nothing, since it has no text
and no image that the model reads, has no prediction there (null, or an empty cell), but a reason. Rows that cannot be
predicted are written to OUTPUT.bad.jsonl with the reason.

--abstain_below 0.6 leaves posts whose highest score is below 0.6 to a person: they have no prediction, but a reason.
--unsure 100 writes another table: the 100 posts whose labels would teach the model most, with the columns of the
input, an empty column `label`, and the prediction, the margin and the scores.

Each process writes its progress to OUTPUT.part-N.jsonl; at the end these files are merged into OUTPUT and deleted. If
the command is interrupted, run it again to continue. The exit code is 0 if no row was bad, 1 if some rows were bad,
and 2 if the command itself was wrong.
"""

import argparse
import hashlib
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from os.path import realpath
from pathlib import Path
from typing import BinaryIO

import torch
from accelerate import Accelerator
from tqdm.auto import tqdm
from transformers import PreTrainedConfig

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.common_columns import FIELDS, FURTHER_FIELDS, POST_FIELDS, describe_columns
from mmsent.dataset_scripts.common_files import (
    check_output,
    content_hash,
    join_names,
    locked,
    name_full_disk,
)
from mmsent.dataset_scripts.common_posts import PostFile, open_posts
from mmsent.dataset_scripts.common_rows import RawRow
from mmsent.modeling.common_loading import load_config, load_model, load_processor
from mmsent.modeling.common_pipeline import (
    ImageTextSentimentPipeline,
    has_scores,
    reading,
    says_something,
    why_empty,
)
from mmsent.modeling.common_text import replace_lone_surrogates

from .parts import bad_rows_path, merge, open_part, part_path, read_parts, refuse_complete
from .unsure import choose_unsure, write_unsure
from .writers import WRITERS

# The files of a saved model: its config, processor, tokenizer, code and weights.
MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", "*.safetensors")
MAX_REASON = 1000  # maximum length in characters of the reason for a bad row, which may quote the row


def parse_arguments(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line; return the parser too, for later errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="run folder or Hub id")
    parser.add_argument("--input", type=Path, required=True, help="file or folder of posts")
    parser.add_argument("--output", type=Path, required=True, help=f"file to write: {', '.join(WRITERS)}")
    for field in (*POST_FIELDS, *FURTHER_FIELDS):
        option, usual = FIELDS[field]
        several = {"nargs": "+"} if field == "images" else {}
        help = f"column of the {field}, or none (default: one of {', '.join(usual)})"
        parser.add_argument(f"--{option}", metavar="COLUMN", help=help, **several)
    parser.add_argument("--image_dir", type=Path, help="folder of relative image paths (default: the input's)")
    parser.add_argument("--allow_absolute_paths", action="store_true", help="allow images outside of --image_dir")
    parser.add_argument(
        "--abstain_below", type=float, default=0.0, metavar="SCORE", help="lowest score of a prediction (default: 0)"
    )
    parser.add_argument("--unsure", type=int, metavar="COUNT", help="write only the posts that are most worth a label")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--trust_remote_code", action="store_true", help="run the Python code of the model's folder")
    args = parser.parse_args(argv)
    if args.output.suffix.lower() not in WRITERS:
        parser.error(f"--output {args.output} must end with one of {', '.join(WRITERS)}.")
    if args.batch_size < 1:
        parser.error(f"--batch_size {args.batch_size} must be 1 or more.")
    if not 0 <= args.abstain_below <= 1:
        parser.error(f"--abstain_below {args.abstain_below} must be between 0 and 1.")
    if args.unsure is not None and args.unsure < 1:
        parser.error(f"--unsure {args.unsure} must be 1 or more.")
    if args.unsure is not None and args.abstain_below:
        parser.error("--unsure lists the doubtful posts with their predictions: leave out --abstain_below.")
    if args.unsure is not None and args.input.suffix.lower() == ".parquet" != args.output.suffix.lower():
        parser.error(f"--output {args.output} must end with .parquet to hold what the Parquet file --input holds.")
    return parser, args


def main() -> int:
    """Run the command and return its exit code."""
    parser, args = parse_arguments(sys.argv[1:])
    # Without the argument, processes on a CPU would not know each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    with exit_with_one_line(parser.prog):
        return run(args, accelerator)


def run(args: argparse.Namespace, accelerator: Accelerator) -> int:
    """Predict the posts and return the exit code."""
    check_paths(args.input, args.output, accelerator)
    chosen = {field: getattr(args, FIELDS[field][0]) for field in (*POST_FIELDS, *FURTHER_FIELDS)}
    fields = post_fields(load_config(args.model, trust_remote_code=args.trust_remote_code))
    for field in FURTHER_FIELDS:
        if chosen[field] is not None and field not in fields:
            raise ValueError(
                f"--{FIELDS[field][0]} {chosen[field]}: {args.model} does not read a {field}; leave it out."
            )
    posts = open_posts(args.input, chosen, args.image_dir, args.allow_absolute_paths, fields)
    if accelerator.is_main_process:
        print(f"The columns of {args.input} are read as {describe_columns(posts.columns)}", flush=True)
    pipe = load_pipeline(args.model, accelerator.device, args.trust_remote_code)
    check_columns(pipe, posts)
    settings = describe_settings(args, posts, pipe, accelerator.num_processes)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with locked(args.output) if accelerator.is_main_process else nullcontext():
        with accelerator.main_process_first():
            part, last_row = open_part(args.output, accelerator.process_index, settings)
        with name_full_disk(Path(part.name)), part:
            predict(pipe, posts, part, last_row, args.batch_size, accelerator)
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            return 0
        parts = [part_path(args.output, index) for index in range(accelerator.num_processes)]
        labels = list(pipe.model.config.id2label.values())
        counts = merge(parts, args.output, labels, args.abstain_below)
        if args.unsure is not None:
            chosen = choose_unsure(read_parts(parts), args.unsure, labels)
            write_unsure(chosen, posts, args.output)
        for path in reversed(parts):  # The first one tells that the command has not ended.
            path.unlink()
    print_summary(counts, args, None if args.unsure is None else len(chosen))
    if left_out := posts.left_out():
        print(replace_lone_surrogates(f"{len(left_out)} files were left out: {join_names(left_out)}"))
    return 1 if counts["bad"] else 0


def print_summary(counts: Counter, args: argparse.Namespace, chosen: int | None) -> None:
    """Print how many posts were predicted, or chosen for a label, and why others were not."""
    if chosen is None:
        print(f"{counts['predicted']} posts predicted and written to {args.output}")
    else:
        print(f"{chosen} posts to label are in {args.output}")
    if empty := counts["empty"]:
        rest = f"they have no prediction in {args.output}, but a reason" if chosen is None else "they are not listed"
        print(f"{empty} posts say nothing: {rest}")
    if doubtful := counts["doubtful"]:
        print(f"{doubtful} posts have a highest score below {args.abstain_below}: they have a reason, no prediction")
    if bad := counts["bad"]:
        print(f"{bad} rows could not be predicted; for the reasons see {bad_rows_path(args.output)}")


def check_paths(source: Path, output: Path, accelerator: Accelerator) -> None:
    """Check before the work that the output can be written, and does not replace the input or an earlier output.

    Raises:
        OSError: If the output cannot be written.
        ValueError: If it would replace a file.
    """
    check_output(output)
    parts = [part_path(output, index) for index in range(accelerator.num_processes)]
    # Unlike `resolve`, `realpath` raises no error for a link to itself.
    if realpath(source) in map(realpath, (output, bad_rows_path(output), *parts)):
        raise ValueError(f"The command would replace its --input {source}: choose another --output.")
    refuse_complete(output)


def post_fields(config: PreTrainedConfig) -> tuple[str, ...]:
    """Return the fields of a post that a model of this config reads, and the id."""
    return (*POST_FIELDS, *(getattr(config, "columns", None) or ()))


def check_columns(pipe: ImageTextSentimentPipeline, posts: PostFile) -> None:
    """Check that posts have aspects, further columns, and vectors in place of images, if the model needs them.

    Raises:
        ValueError: If they do not.
    """
    for name in reading(pipe.model)["columns"]:
        if posts.columns[name] is None:
            raise ValueError(
                f"The model reads a {name}, and {posts.path} has no column {name}: name it with --{FIELDS[name][0]}."
            )
    reads_vectors = pipe.processor.image_feature_size is not None and "image" in pipe.model.modalities
    if reads_vectors and posts.columns["image_features"] is None:
        raise ValueError(
            f"The model reads vectors in place of pictures, and {posts.path} has no column image_features: name it "
            "with --image_features_column."
        )
    if reading(pipe.model)["aspects"] == "required" and posts.columns["aspect"] is None:
        raise ValueError(
            f"The model judges an aspect, and {posts.path} has no column aspect: name it with --aspect_column."
        )


def load_pipeline(
    model: str, device: torch.device | None = None, trust_remote_code: bool = False
) -> ImageTextSentimentPipeline:
    """Return the pipeline of a run folder or Hub id, after a check of the name, the weights and the processor."""
    classifier = load_model(model, trust_remote_code=trust_remote_code)
    processor = load_processor(model, trust_remote_code=trust_remote_code)
    return ImageTextSentimentPipeline(classifier, processor=processor, device=device)


def describe_settings(
    args: argparse.Namespace, posts: PostFile, pipe: ImageTextSentimentPipeline, num_processes: int
) -> dict:
    """Return all that predictions depend on. A command continues a part only if it was begun with the same."""
    return {
        "model": args.model,
        "model_version": model_version(args.model) or getattr(pipe.model.config, "_commit_hash", None),
        "input": str(args.input),
        "input_version": posts.state(),
        "columns": posts.columns,
        "image_dir": str(posts.image_dir),
        "allow_absolute_paths": posts.allow_absolute_paths,
        "batch_size": args.batch_size,
        "processes": num_processes,
    }


def model_version(folder: str) -> str | None:
    """Return the SHA-256 of all files of a model's folder that decide its predictions, or None for a Hub id."""
    if not Path(folder).is_dir():
        return None
    paths = sorted(path for pattern in MODEL_FILES for path in Path(folder).glob(pattern))
    return hashlib.sha256("".join(f"{path.name}\0{content_hash(path)}\0" for path in paths).encode()).hexdigest()


def predict(
    pipe: ImageTextSentimentPipeline,
    posts: PostFile,
    part: BinaryIO,
    last_row: int,
    batch_size: int,
    accelerator: Accelerator,
) -> None:
    """Write a line to `part` for each row of this process after `last_row`. The processes take batches in turn."""
    # The bar ends its line also before the line of an error.
    with tqdm(total=posts.count(), unit="post", disable=not accelerator.is_main_process, mininterval=0.5) as bar:
        for index, numbered_rows in itertools.groupby(posts, lambda row: (row[0] - 1) // batch_size):
            rows = dict(numbered_rows)
            if index % accelerator.num_processes == accelerator.process_index and last_row < max(rows):
                # The same batch as in a command that is not interrupted: scores depend on it in the last digits.
                for record in predict_rows(pipe, posts, rows):
                    if record["row"] > last_row:
                        part.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
                part.flush()
            if last_row >= max(rows) and not bar.disable:  # Rows of an earlier command are progress, but not speed.
                bar.initial += len(rows)
            bar.update(len(rows))


def predict_rows(pipe: ImageTextSentimentPipeline, posts: PostFile, rows: dict[int, RawRow]) -> Iterator[dict]:
    """Yield a record for each row: `{"row", "id", "prediction", "scores"}` or `{"row", "id", "error"}`.

    A post that says nothing has the prediction and the scores None, and a "reason".
    """
    valid_posts, errors = {}, {}
    for number, row in rows.items():
        try:
            valid_posts[number] = posts.post(row)
        except ValueError as error:
            errors[number] = str(error)
    try:
        batch = pipe.preprocess(list(valid_posts.values()), allow_empty=True) if valid_posts else None
    except ValueError:  # At least one post is bad: try each one alone.
        for number, post in list(valid_posts.items()):
            try:
                pipe.preprocess([post], allow_empty=True)
            except ValueError as error:
                errors[number] = str(error)
                del valid_posts[number]
        batch = pipe.preprocess(list(valid_posts.values()), allow_empty=True) if valid_posts else None
    results = _results(pipe, valid_posts, batch) if valid_posts else {}
    for number, row in rows.items():
        result = {"error": _reason(errors[number])} if number in errors else results[number]
        yield {"row": number, "id": posts.id_of(row)} | result


def _reason(error: str) -> str:
    """Return an error in at most `MAX_REASON` characters. What was wrong may stand after the path of an image."""
    error = replace_lone_surrogates(error)
    half = MAX_REASON // 2
    return error if len(error) <= MAX_REASON else f"{error[: half - 5]} ... {error[-half:]}"


def _results(pipe: ImageTextSentimentPipeline, posts: dict[int, dict], batch: dict[str, torch.Tensor]) -> dict:
    """Return what the record of each post says beside its row and id."""
    labels, results = pipe.model.config.id2label.values(), {}
    outputs = pipe.forward(batch)
    columns = (
        posts,
        says_something(batch, pipe.processor).tolist(),
        has_scores(outputs).tolist(),
        pipe.postprocess(outputs),
    )
    for number, is_said, is_scored, ranked in zip(*columns, strict=True):
        if not is_said:
            reason = f"the post has {why_empty(posts[number], pipe.processor, pipe.model.modalities)}"
            results[number] = {"prediction": None, "scores": dict.fromkeys(labels), "reason": reason}
        elif not is_scored:
            results[number] = {"error": "the model gives this post scores that are not finite numbers"}
        else:
            scores = {entry["label"]: round(entry["score"], 6) for entry in ranked}
            results[number] = {"prediction": ranked[0]["label"], "scores": {label: scores[label] for label in labels}}
    return results

"""Predict the sentiment of a file or folder of posts.

    python predict.py --model RUN --input posts.csv --output predictions.jsonl
    accelerate launch --num_processes 2 predict.py ...

Input: CSV, TSV, JSONL or Parquet, or a folder of `<id>.txt` with `<id>.jpg`, `<id>.png` ... beside them. Several
pictures of a post stand in one cell as a JSON list, or with `;` between them. Output: JSONL, CSV or Parquet, in the
order of the input; each line has its row's number, from 1 on. Rows that cannot be predicted go to OUTPUT.bad.jsonl,
with the reason.

Each process keeps what it has done in OUTPUT.part-N.jsonl; at the end these are merged into OUTPUT and removed. The
same command again goes on where a killed one was. It ends with 0 where all rows were predicted, with 1 where some were
bad, with 2 where the command itself was wrong.
"""

import argparse
import csv
import heapq
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm
from transformers import pipeline
from transformers.utils import SAFE_WEIGHTS_NAME

from mmsent.modeling.common_pipeline import TASK, ImageTextSentimentPipeline
from mmsent.modeling.common_text import replace_lone_surrogates

from .post_files import PostFile, RawRow, open_posts

MAX_REASON = 1000  # characters of what is said of a bad row, which may quote it
PARQUET_ROWS = 10_000  # of a row group that is written


def parse_arguments(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="run folder or Hub id")
    parser.add_argument("--input", type=Path, required=True, help="file or folder of posts")
    parser.add_argument("--output", type=Path, required=True, help=f"ends with {', '.join(WRITERS)}")
    for part, usual in (("text", "text"), ("image", "images or image"), ("aspect", "aspect"), ("id", "id")):
        parser.add_argument(f"--{part}_column", help=f"unless it is called {usual}")
    parser.add_argument("--image_dir", type=Path, help="what picture paths are relative to; the input's folder")
    parser.add_argument("--allow_absolute_paths", action="store_true", help="pictures may lie anywhere")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--trust_remote_code", action="store_true", help="run the model folder's own Python code")
    args = parser.parse_args(argv)
    if args.output.suffix.lower() not in WRITERS:
        parser.error(f"--output {args.output} must end with one of {', '.join(WRITERS)}.")
    if args.batch_size < 1:
        parser.error(f"--batch_size {args.batch_size} must be 1 or more.")
    return parser, args


def main() -> int:
    parser, args = parse_arguments(sys.argv[1:])
    # Without the argument, processes on a CPU would not know of each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    chosen = {"text": args.text_column, "images": args.image_column, "aspect": args.aspect_column}
    try:
        posts = open_posts(args.input, chosen | {"id": args.id_column}, args.image_dir, args.allow_absolute_paths)
        pipe = pipeline(
            TASK,
            model=args.model,
            device=accelerator.device,
            trust_remote_code=args.trust_remote_code,
            pipeline_class=ImageTextSentimentPipeline,
        )
        settings = describe(args, posts, pipe, accelerator.num_processes)
        with accelerator.main_process_first():
            part, done = begin(args.output, accelerator.process_index, settings)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    with part:
        predict(pipe, posts, part, done, args.batch_size, accelerator)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return 0
    parts = [_part(args.output, index) for index in range(accelerator.num_processes)]
    predicted, bad = merge(parts, args.output, list(pipe.model.config.id2label.values()))
    for path in parts:
        path.unlink()
    print(f"{predicted} posts predicted, in {args.output}")
    if bad:
        print(f"{bad} rows could not be: see {_bad(args.output)}")
    return 1 if bad else 0


def describe(args: argparse.Namespace, posts: PostFile, pipe: ImageTextSentimentPipeline, processes: int) -> dict:
    """All that a prediction depends on: two commands may share their parts only if these are the same."""
    weights = Path(args.model, SAFE_WEIGHTS_NAME)
    version = weights.stat().st_mtime_ns if weights.is_file() else getattr(pipe.model.config, "_commit_hash", None)
    return {
        "model": args.model,
        "model_version": version,
        "input": str(args.input),
        "input_version": posts.state(),
        "columns": posts.columns,
        "image_dir": str(posts.image_dir),
        "allow_absolute_paths": posts.allow_absolute_paths,
        "batch_size": args.batch_size,
        "processes": processes,
    }


def begin(output: Path, process: int, settings: dict) -> tuple[BinaryIO, int]:
    """Open a process's part, with the settings in its first line, and say which row was the last one done, 0 if none.

    A last line that a kill cut short is removed.

    Raises:
        ValueError: `output` exists, or the part was begun with other settings.
    """
    path = _part(output, process)
    if output.exists() and not path.exists():
        raise ValueError(f"{output} exists already: remove it, or choose another --output.")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.open("ab+")
    part.seek(0)
    complete, first, last = 0, None, None
    for line in part:
        if line.endswith(b"\n"):
            complete, first, last = complete + len(line), first or line, line
    part.truncate(complete)
    if first is None:
        part.write(json.dumps({"row": 0, "settings": settings}).encode() + b"\n")
        part.flush()
        return part, 0
    begun = json.loads(first)["settings"]
    other = [
        f"{name} was {begun.get(name)}, is {value}" for name, value in settings.items() if begun.get(name) != value
    ]
    if other:
        part.close()
        raise ValueError(f"{path} was begun otherwise: {'; '.join(other)}. Remove it to begin anew.")
    return part, json.loads(last)["row"]


def predict(
    pipe: ImageTextSentimentPipeline,
    posts: PostFile,
    part: BinaryIO,
    done: int,
    batch_size: int,
    accelerator: Accelerator,
) -> None:
    """Write a line for each row of this process that is not done yet, in order; batches are dealt out in turns."""
    bar = tqdm(total=posts.count(), unit="post", disable=not accelerator.is_main_process, mininterval=0.5)
    for index, numbered in itertools.groupby(posts, lambda row: (row[0] - 1) // batch_size):
        rows = dict(numbered)
        if index % accelerator.num_processes == accelerator.process_index:
            waiting = {number: row for number, row in rows.items() if number > done}
            for record in records(pipe, posts, waiting):
                part.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            part.flush()
        if done >= max(rows):  # of an earlier command: counts as progress, not as speed
            bar.initial += len(rows)
        bar.update(len(rows))
    bar.close()


def records(pipe: ImageTextSentimentPipeline, posts: PostFile, rows: dict[int, RawRow]) -> Iterator[dict]:
    """What is said of each row: `{"row", "id", "prediction", "scores"}`, or `{"row", "id", "error"}`."""
    ready, errors = {}, {}
    for number, row in rows.items():
        try:
            ready[number] = posts.post(row)
        except ValueError as error:
            errors[number] = str(error)
    try:
        batch = pipe.preprocess(list(ready.values())) if ready else None
    except ValueError:  # one is bad: see which
        for number, post in list(ready.items()):
            try:
                pipe.preprocess([post])
            except ValueError as error:
                errors[number] = str(error)
                del ready[number]
        batch = pipe.preprocess(list(ready.values())) if ready else None
    results = pipe.postprocess(pipe.forward(batch)) if ready else []
    found = dict(zip(ready, results, strict=True))
    for number, row in rows.items():
        record = {"row": number, "id": posts.id_of(row)}
        if number in errors:
            yield record | {"error": replace_lone_surrogates(errors[number][:MAX_REASON])}
            continue
        scores = {entry["label"]: round(entry["score"], 6) for entry in found[number]}
        in_order = {name: scores[name] for name in pipe.model.config.id2label.values()}
        yield record | {"prediction": found[number][0]["label"], "scores": in_order}


# ------------------------------------------------------------------------------------------------------------- output


def merge(parts: list[Path], output: Path, labels: list[str]) -> tuple[int, int]:
    """Parts to one output in the order of the rows, beside it the bad rows; how many of each.

    Both files are there completely or not at all.
    """
    rows = heapq.merge(*(_lines(path) for path in parts), key=lambda record: record["row"])
    new_output, new_bad = (path.with_name(f"{path.name}.new") for path in (output, _bad(output)))
    predicted = bad = 0
    with WRITERS[output.suffix.lower()](new_output, labels) as write, _write_jsonl(new_bad, labels) as write_bad:
        for record in rows:
            if "error" in record:
                bad += 1
                write_bad(record)
            else:
                predicted += 1
                write(record)
    if bad:
        new_bad.replace(_bad(output))
    else:
        new_bad.unlink()
        _bad(output).unlink(missing_ok=True)
    new_output.replace(output)
    return predicted, bad


def _part(output: Path, process: int) -> Path:
    return output.with_name(f"{output.name}.part-{process}.jsonl")


def _bad(output: Path) -> Path:
    return output.with_name(f"{output.name}.bad.jsonl")


def _lines(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        next(lines)  # the settings
        yield from map(json.loads, lines)


@contextmanager
def _write_jsonl(path: Path, labels: Iterable[str]) -> Iterator[Callable[[dict], None]]:
    with path.open("w", encoding="utf-8") as file:
        yield lambda record: file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _flat(record: dict) -> list:
    return [record["row"], record["id"], record["prediction"], *record["scores"].values()]


def _columns(labels: Iterable[str]) -> list[str]:
    return ["row", "id", "prediction", *(f"score_{label}" for label in labels)]


@contextmanager
def _write_csv(path: Path, labels: Iterable[str]) -> Iterator[Callable[[dict], None]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_columns(labels))
        yield lambda record: writer.writerow(_flat(record))


@contextmanager
def _write_parquet(path: Path, labels: Iterable[str]) -> Iterator[Callable[[dict], None]]:
    names = _columns(labels)
    types = [pa.int64(), pa.string(), pa.string(), *[pa.float64()] * (len(names) - 3)]
    schema = pa.schema(list(zip(names, types, strict=True)))
    kept: list[list] = []

    def flush() -> None:
        columns = zip(*kept, strict=True) if kept else [[] for _ in names]
        arrays = [pa.array(list(column), kind) for column, kind in zip(columns, types, strict=True)]
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        kept.clear()

    def write(record: dict) -> None:
        kept.append(_flat(record))
        if len(kept) == PARQUET_ROWS:
            flush()

    with pq.ParquetWriter(path, schema) as writer:
        yield write
        flush()


Writer = Callable[[Path, Iterable[str]], AbstractContextManager[Callable[[dict], None]]]
WRITERS: dict[str, Writer] = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}


if __name__ == "__main__":
    sys.exit(main())

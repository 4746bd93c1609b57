"""Valid files and their byte mutants, and what reading one must give."""

import json
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tiny
import torch
from hostile_case import bounded

from mmsent.dataset_scripts.common_arguments import USER_ERRORS
from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.inference.predict import load_pipeline, predict_rows
from mmsent.modeling.common_images import load_image


def mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield mutants: a byte is flipped, inserted or deleted, the file is cut, or a piece is copied elsewhere."""
    draw = random.Random(seed)
    for number in range(count):
        # Half of the mutants change the beginning, where most formats have their structure.
        where = draw.randrange(min(len(content), 400) if number % 2 else len(content))
        rest, other = content[where:], draw.randrange(len(content))
        yield (
            content[:where] + bytes([content[where] ^ (1 << draw.randrange(8))]) + rest[1:],
            content[:where] + bytes([draw.randrange(256)]) + rest,
            content[:where] + rest[draw.randrange(1, 4) :],
            content[:where],
            content[:where] + content[other : other + draw.randrange(1, 40)] + rest[draw.randrange(20) :],
        )[number // 2 % 5]


@dataclass
class Target:
    """A kind of file: the number of its mutants in the slow suite, its content, and what reads it."""

    count: int
    content: Callable[[Path], bytes]
    read: Callable[[Path, bytes], None]


def image(kind: str, **options) -> Callable[[Path], bytes]:
    def content(folder: Path) -> bytes:
        buffer = BytesIO()
        tiny.picture(0).save(buffer, kind, **options)
        return buffer.getvalue()

    return content


def read_image(folder: Path, content: bytes) -> None:
    """An image is RGB. Without a checksum in the format, other pixels are not an error."""
    decoded = load_image({"bytes": content})
    assert decoded.mode == "RGB"
    assert np.asarray(decoded).size <= 3 * 50_000_000


def table_of_posts(folder: Path) -> bytes:
    buffer = BytesIO()
    texts = [f"good day {row}" for row in range(20)]
    pq.write_table(
        pa.table({"text": texts, "id": list(range(20))}), buffer, row_group_size=5, write_page_checksum=True
    )
    return buffer.getvalue()


def read_table(folder: Path, content: bytes) -> None:
    """A table gives rows or errors, and predictions of finite scores."""
    (folder / "posts.parquet").write_bytes(content)
    posts = open_posts(folder / "posts.parquet")
    rows = dict(posts)
    assert len(rows) <= 1000
    for record in predict_rows(saved(folder), posts, rows):
        json.dumps(record, allow_nan=False)


PIPELINES: dict[Path, object] = {}


def saved(folder: Path):
    if folder not in PIPELINES:
        PIPELINES[folder] = load_pipeline(str(folder / "model"))
    return PIPELINES[folder]


def part_of_model(file: str) -> Target:
    """Return the target of a file of a model.

    A checksum that says whether the weights are those that were trained is in the run.json of a run only. So weights
    with a flipped bit that are finite numbers give other scores, which no loader can notice. The names and shapes of
    all weights are checked, and so is that every score is finite.
    """

    def content(folder: Path) -> bytes:
        return (folder / "model" / file).read_bytes()

    def read(folder: Path, content: bytes) -> None:
        mutant = folder / "mutant"
        shutil.rmtree(mutant, ignore_errors=True)
        shutil.copytree(folder / "model", mutant)
        (mutant / file).write_bytes(content)
        pipe = load_pipeline(str(mutant))
        table = folder / "posts.csv"
        table.write_text("text,image\ngood day,a.png\n")
        tiny.picture(0).save(folder / "a.png")
        posts = open_posts(table)
        (record,) = predict_rows(pipe, posts, dict(posts))
        json.dumps(record, allow_nan=False)
        assert "error" in record or record["prediction"] in pipe.model.config.id2label.values()

    return Target(0, content, read)


TARGETS = {
    "png": Target(500, image("PNG"), read_image),
    "jpeg": Target(500, image("JPEG"), read_image),
    "progressive jpeg": Target(200, image("JPEG", progressive=True), read_image),
    "webp": Target(300, image("WEBP", lossless=True), read_image),
    "gif": Target(300, image("GIF"), read_image),
    "tiff": Target(200, image("TIFF", compression="tiff_lzw"), read_image),
    "bmp": Target(100, image("BMP"), read_image),
    "parquet": Target(500, table_of_posts, read_table),
    "model.safetensors": part_of_model("model.safetensors"),
    "config.json": part_of_model("config.json"),
    "processor_config.json": part_of_model("processor_config.json"),
    "tokenizer.json": part_of_model("tokenizer.json"),
    "tokenizer_config.json": part_of_model("tokenizer_config.json"),
}
for name, target in TARGETS.items():
    target.count = target.count or {"model.safetensors": 300, "config.json": 250}.get(name, 150)


def run(name: str, folder: Path, first: int, last: int) -> list[str]:
    """Read the mutants of a target, and return what went wrong. This is what the child process does."""
    torch.set_num_threads(1)
    target = TARGETS[name]
    content = target.content(folder)
    wrong = []
    for number, mutant in enumerate(mutants(content, last, seed=len(name))):
        if number < first:
            continue
        print(number, flush=True)  # a crash is that of the last number
        try:
            with bounded(mebibytes=600):
                target.read(folder, mutant)
        except USER_ERRORS:
            pass
        except BaseException:
            wrong.append(f"mutant {number} of {name}: {traceback.format_exc(limit=-2)}")
    return wrong


if __name__ == "__main__":
    problems = run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print("\n".join(problems), file=sys.stderr)
    sys.exit(1 if problems else 0)

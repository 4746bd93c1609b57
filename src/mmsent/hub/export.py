"""A corpus as Parquet with its pictures inside and a card: `python -m dataset_scripts export NAME --output DIR`."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import datasets.load
import pyarrow.parquet as pq
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Image, List
from datasets.table import embed_table_storage
from tqdm.auto import tqdm

from mmsent.dataset_scripts import CORPORA, ROOT
from mmsent.dataset_scripts.common_corpus import CLEAN, corpus_notes, missing_report
from mmsent.dataset_scripts.common_files import content_hash

POSTS_A_SHARD = 1000
CARD, STATE = "README.md", ".export.json"


def export(corpus: DatasetDict, name: str, config: str, output: Path) -> None:
    """Write a corpus into a folder that `load_dataset(folder)` reads without any code of this project.

    Shards are written beside and moved into place, so that an interrupted export goes on with the shards that it
    lacks; the card comes last and says that the export is complete.

    Args:
        corpus: what `load_dataset(name, config, ...)` gave, every picture of it readable (`screen_images`).
        config: the split scheme, for the card.

    Raises:
        FileExistsError: `output` holds a finished export, part of another one, or other files.
    """
    # screen_images leaves pictures undecoded, and may leave a split without posts
    corpus = DatasetDict(
        {split: posts.cast_column("images", List(Image())) for split, posts in corpus.items() if len(posts)}
    )
    state = {
        "corpus": name,
        "config": config,
        "posts_a_shard": POSTS_A_SHARD,
        "content": {split: _rows_hash(posts) for split, posts in corpus.items()},
    }
    _claim(output, state)
    shards = {}
    for split, posts in corpus.items():
        starts = range(0, len(posts), POSTS_A_SHARD)
        for index, start in enumerate(starts):
            shards[output / "data" / f"{split}-{index:05d}-of-{len(starts):05d}.parquet"] = (posts, start)
    (output / "data").mkdir(exist_ok=True)
    for path, (posts, start) in tqdm(shards.items(), desc=f"exporting {name}", unit="shard"):
        if not path.exists():
            _write_shard(posts, start, path)
    card = make_card(corpus, name, config, {path.name: content_hash(path) for path in shards})
    _move_into_place(output / CARD, card.encode())
    (output / STATE).unlink()


def _claim(output: Path, state: dict) -> None:
    """Make the folder, or make sure that what is in it is the beginning of this very export."""
    output.mkdir(parents=True, exist_ok=True)
    if (output / CARD).exists():
        raise FileExistsError(f"{output} holds a finished export: give another folder, or remove it first")
    if (output / STATE).exists():
        if json.loads((output / STATE).read_text()) != state:
            raise FileExistsError(f"{output} holds part of another export: give another folder, or remove it first")
    elif any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty: give another folder")
    else:
        _move_into_place(output / STATE, json.dumps(state).encode())


def _rows_hash(posts: Dataset) -> str:
    """Of all that the rows hold, pictures by their paths; a dataset's fingerprint differs from process to process."""
    digest = hashlib.sha256()
    for batch in posts.with_format("arrow").iter(POSTS_A_SHARD):
        digest.update(json.dumps(batch.to_pylist(), default=bytes.hex).encode())
    return digest.hexdigest()


def _write_shard(posts: Dataset, start: int, path: Path) -> None:
    rows = posts.select(range(start, min(start + POSTS_A_SHARD, len(posts))))
    table = embed_table_storage(
        rows.with_format("arrow")[:].replace_schema_metadata(rows.features.arrow_schema.metadata)
    )
    part = path.with_suffix(".part")
    pq.write_table(table, part, row_group_size=100)
    part.replace(path)


def _move_into_place(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


def make_card(corpus: DatasetDict, name: str, config: str, checksums: dict[str, str]) -> str:
    """The dataset card: that of the corpus's folder, and what is true of this export."""
    builder = datasets.load.import_main_class(CORPORA[name])
    folder = ROOT / CORPORA[name].split(".")[2]
    _, front, body = (folder / CARD).read_text(encoding="utf-8").split("---\n", 2)
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in corpus]
    front = yaml.safe_load(front) | {"configs": [{"config_name": config, "data_files": data_files, "default": True}]}
    verdict, reason = builder.REDISTRIBUTION
    first = next(iter(corpus.values()))
    scheme = (
        next(c.description for c in builder.BUILDER_CONFIGS if c.name == config) if builder.BUILDER_CONFIGS else ""
    )
    lines = [
        f"## This export: `{name}`, config `{config}`",
        "",
        f"Redistribution: **{verdict}** ({reason}).",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        'posts = load_dataset("<this folder or repository>")',
        "```",
        "",
        "### Columns",
        "| column | type |",
        "|---|---|",
    ]
    for column, feature in first.features.items():
        kind = f"class: {', '.join(feature.names)}" if isinstance(feature, ClassLabel) else _type_name(feature)
        lines.append(f"| `{column}` | {kind} |")
    label_names = first.features["label"].names
    lines += [
        "",
        "### Posts",
        f"| split | posts | {' | '.join(label_names)} |",
        "|---|---|" + "---|" * len(label_names),
    ]
    for split, posts in corpus.items():
        count = Counter(posts["label"])
        cells = " | ".join(f"{count[index]:,}" for index in range(len(label_names)))
        lines.append(f"| {split} | {len(posts):,} | {cells} |")
    lines += ["", f"Splits: {scheme}".rstrip()]
    lines += [f"- {split}: {len(ids)} listed posts were not at hand" for split, ids in missing_report(corpus).items()]
    lines += [f"- {note.partition(': ')[0]}" for note in corpus_notes(corpus)]
    lines += ["", "### Checksums (SHA-256)", "```"]
    ids = folder / "splits" / ("" if name == "sample_posts" else f"{name}/{config.removesuffix(CLEAN)}")
    lines += [f"{content_hash(path)}  {path.name} (ids)" for path in sorted(ids.glob("*.txt"))] if ids.is_dir() else []
    lines += [f"{checksum}  data/{file}" for file, checksum in checksums.items()]
    lines.append("```")
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{body.rstrip()}\n\n"
        + "\n".join(lines)
        + "\n"
    )


def _type_name(feature) -> str:
    return "list of pictures" if isinstance(feature, List) else feature.dtype

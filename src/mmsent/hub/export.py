"""Write a corpus as Parquet files that hold the images, with a dataset card: `mmsent export NAME --output DIR`."""

import argparse
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Image, List
from datasets.table import embed_table_storage
from huggingface_hub import DatasetCard
from tqdm.auto import tqdm

from mmsent.dataset_scripts.common_arguments import add_corpus_arguments, exit_with_one_line, load_named_corpus
from mmsent.dataset_scripts.common_corpus import CLEAN, corpus_notes, missing_report, rows_hash
from mmsent.dataset_scripts.common_files import atomic_write, content_hash, lock_file, locked
from mmsent.dataset_scripts.common_loading import CORPORA, corpus_class, corpus_folder
from mmsent.dataset_scripts.common_screening import screen_images

POSTS_PER_SHARD = 1000
CARD, STATE = "README.md", ".export.json"
TEMPLATE = Path(__file__).parent / "templates" / "dataset_card.md"


def export(corpus: DatasetDict, name: str, config: str, output: Path) -> None:
    """Write a corpus into a folder that `load_dataset(folder)` reads without any code of this project.

    An interrupted export continues with the missing shards when it is started again. The card is written last.

    Args:
        corpus: A corpus whose images can all be read, as `screen_images` returns it.
        name: Name of the corpus.
        config: Its split scheme.
        output: A new or empty folder, or the folder of the interrupted export.

    Raises:
        FileExistsError: If `output` holds a finished export, a part of another export, or other files.
    """
    # Screening leaves images undecoded, and can leave a split without posts.
    corpus = DatasetDict(
        {split: posts.cast_column("images", List(Image())) for split, posts in corpus.items() if len(posts)}
    )
    state = {"corpus": name, "config": config, "posts_per_shard": POSTS_PER_SHARD, "content": rows_hash(corpus)}
    output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        _claim(output, state)
        _write(corpus, name, config, output)
    (output / STATE).unlink()  # after the lock, whose file is therefore not left in a finished export by a kill


def _write(corpus: DatasetDict, name: str, config: str, output: Path) -> None:
    shards = {}
    for split, posts in corpus.items():
        starts = range(0, len(posts), POSTS_PER_SHARD)
        for index, start in enumerate(starts):
            shards[output / "data" / f"{split}-{index:05d}-of-{len(starts):05d}.parquet"] = (posts, start)
    (output / "data").mkdir(exist_ok=True)
    for path, (posts, start) in tqdm(shards.items(), desc=f"exporting {name}", unit="shard"):
        if not path.exists():
            _write_shard(posts, start, path)
    card = make_card(corpus, name, config, {f"data/{path.name}": content_hash(path) for path in shards})
    with atomic_write(output / CARD) as temporary:
        temporary.write_text(card, encoding="utf-8")


def _claim(output: Path, state: dict) -> None:
    """Check that a folder is empty or holds the beginning of this export, and remove files of a killed process."""
    for leftover in output.glob(f"tmp-*-{STATE}"):
        leftover.unlink()
    if (output / STATE).exists():
        if json.loads((output / STATE).read_text(encoding="utf-8")) != state:
            raise FileExistsError(
                f"{output} holds a part of another export: choose another folder, or remove this one"
            )
        for leftover in output.rglob("tmp-*"):
            leftover.unlink()
    elif any(path.name != lock_file(output).name for path in output.iterdir()):
        content = "a finished export" if (output / CARD).exists() else "other files"
        raise FileExistsError(f"{output} holds {content}: choose another folder, or remove it")
    else:
        with atomic_write(output / STATE) as temporary:
            temporary.write_text(json.dumps(state), encoding="utf-8")


def _write_shard(posts: Dataset, start: int, path: Path) -> None:
    rows = posts.select(range(start, min(start + POSTS_PER_SHARD, len(posts))))
    table = rows.with_format("arrow")[:].replace_schema_metadata(rows.features.arrow_schema.metadata)
    with atomic_write(path) as temporary:
        pq.write_table(embed_table_storage(table), temporary, row_group_size=100)


def make_card(corpus: DatasetDict, name: str, config: str, checksums: dict[str, str]) -> str:
    """Return the dataset card: the card of the corpus, followed by a section about this export.

    Args:
        checksums: SHA-256 of each file of the export.
    """
    builder, folder = corpus_class(name), corpus_folder(name)
    card = DatasetCard.load(folder / CARD)
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in corpus]
    card.data.configs = [{"config_name": config, "data_files": data_files, "default": True}]
    features = next(iter(corpus.values())).features
    label_names = features["label"].names
    label_counts = {split: Counter(posts["label"]) for split, posts in corpus.items()}
    split_files = folder / "splits" / ("" if name == "sample_posts" else f"{name}/{config.removesuffix(CLEAN)}")
    verdict, reason = builder.REDISTRIBUTION
    rendered = DatasetCard.from_template(
        card.data,
        template_path=TEMPLATE,
        body=card.text.strip(),
        name=name,
        config=config,
        verdict=verdict,
        reason=reason,
        columns=[(column, _type_name(feature)) for column, feature in features.items()],
        label_names=label_names,
        posts={split: [count[label] for label in range(len(label_names))] for split, count in label_counts.items()},
        scheme=next((row.description for row in builder.BUILDER_CONFIGS if row.name == config), ""),
        missing=missing_report(corpus),
        notes=[note.partition(": ")[0] for note in corpus_notes(corpus)],
        checksums={f"{path.name} (ids)": content_hash(path) for path in sorted(split_files.glob("*.txt"))} | checksums,
    )
    return f"{rendered}\n"


def _type_name(feature) -> str:
    if isinstance(feature, ClassLabel):
        return f"class: {', '.join(feature.names)}"
    return "list of images" if isinstance(feature, List) else feature.dtype


def main() -> None:
    """Run the command `mmsent export`."""
    parser = argparse.ArgumentParser(description="Write a corpus as Parquet files with its images and a dataset card.")
    add_corpus_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--on_bad_image",
        choices=["error", "skip", "missing"],
        default="error",
        help="what to do if an image cannot be decoded: stop, drop its post, or drop only the image",
    )
    args = parser.parse_args()
    with exit_with_one_line(parser.prog):
        corpus, bad_images = screen_images(load_named_corpus(args), args.on_bad_image)
        for split, reasons in bad_images.items():
            print(f"{split}: {len(reasons)} images cannot be decoded: " + "; ".join(reasons[:10]))
        name = args.name if args.name in CORPORA else "posts"
        export(corpus, name, next(iter(corpus.values())).info.config_name, args.output)
    print(f"{sum(corpus.num_rows.values())} posts are in {args.output}: load_dataset({str(args.output)!r})")

"""Write posts of the embedded corpus `sample_posts` as a table with pictures, to try the other commands on.

    mmsent sample --output posts

The table is FOLDER/posts.csv, with the columns id, text, image and label. The pictures lie beside it. The posts are
generated, may be redistributed, and are always the same.
"""

import argparse
import csv
import sys
from itertools import islice
from pathlib import Path

from mmsent.dataset_scripts import load_corpus
from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.modeling.common_base import MultimodalPreTrainedModel

EXAMPLES = 3
COLUMNS = ("id", "text", "image", "label")
FURTHER = {"caption": "a drawing of people in coloured shirts", "tree": None}  # what the columns of an example hold


def example_posts(folder: Path, model: MultimodalPreTrainedModel) -> list[dict]:
    """Return posts of the embedded corpus, which may be redistributed, and write their images into a new folder.

    Returns:
        For each post its text and the path of its image and, if the model reads one, its aspect, or the most frequent
        aspect of the model's training, and the further columns that the model reads.
    """
    posts = load_corpus("sample_posts", split="test")
    folder.mkdir()
    examples = []
    for number in range(EXAMPLES):
        post = posts[number * len(posts) // EXAMPLES]
        path = folder / f"{number}.png"
        post["images"][0].save(path)
        example = {"text": post["text"], "image": path}
        if model.reads_aspect and (aspects := list(filter(None, [post["aspect"], *(model.config.aspects or [])]))):
            example["aspect"] = aspects[0]
        examples.append(example | {name: FURTHER[name] for name in model.config.columns or ()})
    return examples


def write_table(folder: Path, split: str, count: int | None) -> int:
    """Write the first posts of a split, or all, into a new folder, and return how many there are.

    Every 27 posts in a row hold each kind of post and each label equally often.

    Raises:
        FileExistsError: If the folder exists.
    """
    corpus = load_corpus("sample_posts", split=split)
    names = corpus.features["label"].names
    folder.mkdir(parents=True)
    rows = []
    for post in islice(corpus, count):
        rows.append([post["id"], post["text"], f"{post['id']}.png", names[post["label"]]])
        post["images"][0].save(folder / rows[-1][2])
    with (folder / "posts.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([COLUMNS, *rows])
    return len(rows)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new folder for the posts")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test", help="default: test")
    parser.add_argument("--posts", type=int, help="number of posts (default: all of the split)")
    args = parser.parse_args(sys.argv[1:])
    if args.posts is not None and args.posts < 1:
        parser.error(f"--posts {args.posts} must be 1 or more.")
    if args.output.exists():
        parser.error(f"--output {args.output} exists already: name a new folder.")
    with exit_with_one_line(parser.prog):
        count = write_table(args.output, args.split, args.posts)
    print(f"{count} posts are in {args.output / 'posts.csv'}, and their pictures beside it")

"""Posts that the page offers as examples: of the corpus that the model learned from, or generated ones."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from datasets import Dataset

from mmsent.dataset_scripts import CORPORA
from mmsent.dataset_scripts.common_arguments import USER_ERRORS, parse_name_values
from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.dataset_scripts.common_sources import load_source
from mmsent.inference.examples import EXAMPLES, example_posts
from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_images import BadImageError, load_image
from mmsent.training.arguments import DataArguments
from mmsent.training.run_folder import SETTINGS

MAX_IMAGES = 3  # of an example


def demo_examples(run: str, folder: Path, model: MultimodalPreTrainedModel, of_corpus: bool) -> list[dict]:
    """Return examples with "text", "images", "aspect" and the further columns that the model reads, and write their
    images into a new folder.

    Args:
        run: Folder of a run, or Hub id.
        of_corpus: Whether posts of the corpus that settings.json of the run names may be shown. They are, if the
            corpus is on this machine. Otherwise the examples are posts of the embedded corpus.
    """
    if of_corpus and (Path(run) / SETTINGS).is_file():
        try:
            return corpus_posts(Path(run), folder, model)
        except (*USER_ERRORS, TypeError) as error:  # of settings that another version of train.py wrote
            print(f"The examples are generated posts, since the posts of the training cannot be read: {error}")
    posts = example_posts(folder, model)
    for post in posts:
        post["images"] = [str(post.pop("image"))]
    return [{"aspect": None} | post for post in posts]


def corpus_posts(run: Path, folder: Path, model: MultimodalPreTrainedModel) -> list[dict]:
    """Return posts that the model has not learned from, of each label in turn, with the paths of their images.

    Raises:
        ValueError: If the corpus is not on this machine, or the run did not keep any of its posts for tests.
    """
    settings = json.loads((run / SETTINGS).read_text(encoding="utf-8"))
    names = {field.name for field in fields(DataArguments)}
    args = DataArguments(**{name: value for name, value in settings.items() if name in names})
    if args.dataset not in CORPORA and not Path(args.dataset).expanduser().exists():
        raise ValueError(f"there is no {args.dataset} here.")
    options = parse_name_values(args.dataset_kwargs) | args.table_options()
    corpus = load_source(args.dataset, args.dataset_config, data_dir=args.data_dir, **options)
    split = next((name for name in ("test", "validation") if name in corpus), None)
    if split is None:
        raise ValueError(f"{args.dataset} has neither test posts nor validation posts.")
    folder.mkdir()
    examples = []
    for number, post in enumerate(_of_each_label(corpus[split])):
        try:
            pictures = [load_image(image) for image in post["images"][:MAX_IMAGES]]
        except BadImageError:
            continue
        paths = [str(folder / f"{number}-{slot}.png") for slot in range(1, len(pictures) + 1)]
        for picture, path in zip(pictures, paths, strict=True):
            picture.save(path)
        aspect = post["aspect"] if model.reads_aspect else None
        further = {name: post.get(name) for name in model.config.columns or ()}
        examples.append({"text": post["text"], "images": paths, "aspect": aspect} | further)
        if len(examples) == EXAMPLES:
            break
    return examples


def _of_each_label(posts: Dataset) -> Iterator[dict]:
    """Yield the posts in such an order that the labels take turns. Their images are not decoded."""
    counts, order = Counter(), []
    for index, label in enumerate(posts["label"]):
        order.append((counts[label], index))
        counts[label] += 1
    raw = undecoded(posts)
    for _, index in sorted(order):
        yield raw[index]

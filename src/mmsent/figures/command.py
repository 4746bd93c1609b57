"""Draw a figure of one of the papers.

    mmsent figures best-models --output best_models.png
    mmsent figures label-embeddings mvso --data_dir MVSO --config study_two_classes --model RUN --output points.svg
    mmsent figures class-scores mvsa_single --data_dir MVSA --models FULL NO_TPFL NO_IPFL --ids 1 2 --output f.svg
    mmsent figures attention --model RUN --text "What a day" --image picture.jpg --output attention.png

The suffix of the output, .png or .svg, is its format.
"""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from mmsent.dataset_scripts.common_arguments import add_corpus_arguments, exit_with_one_line, load_named_corpus
from mmsent.dataset_scripts.common_files import check_output
from mmsent.explanation.attribution import attend_post
from mmsent.inference.predict import load_pipeline

SUFFIXES = (".png", ".svg")


def parse_arguments(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line; return the parser too, for later errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    figures = parser.add_subparsers(dest="figure", required=True, metavar="NAME")
    best = figures.add_parser("best-models", help="the best models of the MVSO study against its benchmarks")
    points = figures.add_parser("label-embeddings", help="the outputs of a label-embedding model, by t-SNE")
    scores = figures.add_parser("class-scores", help="the class scores of posts by several models")
    attention = figures.add_parser("attention", help="the attention by hop over the words and regions of a post")
    for figure in (points, scores):
        add_corpus_arguments(figure)
        figure.add_argument("--split", default="test", help="split of the posts (default: test)")
    points.add_argument("--model", required=True, help="run folder or Hub id of a model with label embeddings")
    points.add_argument("--posts", type=int, default=80, help="number of posts (default: 80)")
    points.add_argument("--name_column", default="anp", help="column of what is written at a point (default: anp)")
    scores.add_argument("--models", nargs="+", required=True, help="run folders or Hub ids")
    scores.add_argument("--names", nargs="+", help="names of the models (default: those of the folders)")
    scores.add_argument("--ids", nargs="+", required=True, help="ids of the posts")
    attention.add_argument("--model", required=True, help="run folder or Hub id")
    attention.add_argument("--text", help="text of the post")
    attention.add_argument("--image", nargs="*", default=[], help="one or more image files")
    attention.add_argument("--aspect", help="aspect, for models that judge one")
    for figure in (best, points, scores, attention):
        figure.add_argument("--output", type=Path, required=True, help="file to write, .png or .svg")
    parser.epilog = "\n".join(figure.format_help() for figure in (best, points, scores, attention))
    args = parser.parse_args(argv)
    if args.output.suffix not in SUFFIXES:
        parser.error(f"--output {args.output}: the suffix must be .png or .svg.")
    if args.figure == "class-scores" and args.names and len(args.names) != len(args.models):
        parser.error(f"--names: give one for each of the {len(args.models)} models.")
    return parser, args


def main() -> None:
    """Run the command."""
    parser, args = parse_arguments(sys.argv[1:])
    with exit_with_one_line(parser.prog):
        if find_spec("matplotlib") is None:
            raise ImportError('figures are drawn by matplotlib: pip install "mmsent[figures]"')
        check_output(args.output)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        module = import_module(f"{__package__}.{args.figure.replace('-', '_')}")
        figure = FIGURES[args.figure](module, args)
        import_module(f"{__package__}.style").save(figure, args.output)
        print(f"wrote {args.output}")


def best_models(module, args: argparse.Namespace):
    """Return the figure best-models."""
    return module.draw(*module.best_rows())


def label_embeddings(module, args: argparse.Namespace):
    """Return the figure label-embeddings."""
    posts = _split(args)
    if args.name_column not in posts.column_names:
        raise ValueError(f"--name_column {args.name_column}: the columns are {', '.join(posts.column_names)}")
    posts = module.choose_posts(posts, args.posts)
    points = module.project(module.embed(load_pipeline(args.model, torch.device("cpu")), posts))
    names = [str(name or "").replace("_", " ").replace("$", r"\$") for name in posts[args.name_column]]
    return module.draw(points, names, posts["label"], posts.features["label"].names)


def class_scores(module, args: argparse.Namespace):
    """Return the figure class-scores."""
    split = _split(args)
    posts = module.find_posts(split, args.ids)
    names = args.names or [Path(model).name for model in args.models]
    pipes = {name: load_pipeline(model, torch.device("cpu")) for name, model in zip(names, args.models, strict=True)}
    return module.draw(posts, module.class_scores(pipes, posts), split.features["label"].names)


def attention(module, args: argparse.Namespace):
    """Return the figure attention."""
    pipe = load_pipeline(args.model, torch.device("cpu"))
    return module.draw(*attend_post(pipe.model, pipe.processor, args.text, args.image, args.aspect))


def _split(args: argparse.Namespace):
    corpus = load_named_corpus(args)
    if args.split not in corpus:
        raise ValueError(f"{args.name} has no {args.split} posts here, only {', '.join(corpus)}: choose with --split")
    return corpus[args.split]


FIGURES = {
    "best-models": best_models,
    "label-embeddings": label_embeddings,
    "class-scores": class_scores,
    "attention": attention,
}

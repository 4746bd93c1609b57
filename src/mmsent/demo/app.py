"""Show a model in the browser: the scores of a post, the reasons, and the scores without each part of the post.

mmsent demo --model RUN_OR_HUB_ID
"""

import argparse
import atexit
import csv
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from shutil import copy2, rmtree

import gradio as gr
from gradio.data_classes import FileData, ListFiles
from huggingface_hub import metadata_load

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.explanation.attribution import explain_post
from mmsent.explanation.html import to_section
from mmsent.inference.examples import example_posts
from mmsent.inference.predict import check_aspect_column, load_pipeline, predict_rows
from mmsent.modeling.common_images import MAX_IMAGE_BYTES
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline

MAX_ROWS = 1000  # of a table; `mmsent predict` reads any number
BATCH_SIZE = 16
KEEP_FILES = 3600  # seconds after which uploaded files are deleted
ONE_AT_A_TIME = "model"  # what both tabs wait for: an explanation sets hooks in the model, which others would meet
MAX_WAITING = 200  # requests; others are refused until some are done
MAX_SESSIONS = 200  # whose last inputs and outputs Gradio keeps in memory; its default is 10,000


def build(pipe: ImageTextSentimentPipeline, name: str) -> gr.Blocks:
    """Return the page of one model, with a tab for a post and a tab for a table of posts."""
    labels = ", ".join(pipe.model.config.id2label.values())
    with gr.Blocks(title="Sentiment of posts", analytics_enabled=False, delete_cache=(KEEP_FILES, KEEP_FILES)) as page:
        gr.Markdown(
            f"# Sentiment of a text with images\n`{name}` predicts one of the labels **{labels}**. Without a text or "
            "without images, the model uses the part that is present."
        )
        with gr.Tab("A post"):
            _add_post_tab(pipe)
        with gr.Tab("A table of posts"):
            _add_table_tab(pipe)
    return page


def _add_post_tab(pipe: ImageTextSentimentPipeline) -> None:
    def analyse(text: str, files: list[str] | None, aspect: str | None) -> Iterator[tuple[dict, str]]:
        post = {"text": text or None, "images": files or [], "aspect": aspect or None}
        try:
            scores = {entry["label"]: entry["score"] for entry in pipe(post)}
            yield scores, "<p>Computing the explanation ...</p>"
            yield scores, to_section(explain_post(pipe.model, pipe.processor, **post))
        except ValueError as error:
            raise _error(error, files) from error

    with gr.Row():
        with gr.Column(min_width=280):
            text = gr.Textbox(label="Text", lines=3, elem_id="text", placeholder="Shift + Enter analyses the post")
            files = _upload(label="Images", file_count="multiple", file_types=["image"], elem_id="images")
            aspect = gr.Dropdown(
                pipe.model.config.aspects or [],
                label="Aspect",
                info="What the sentiment is about. You can type any words.",
                allow_custom_value=True,
                visible=pipe.model.reads_aspect,
                elem_id="aspect",
            )
            button = gr.Button("Analyse", variant="primary", elem_id="analyse")
        with gr.Column(min_width=280):
            scores = gr.Label(label="Sentiment", elem_id="scores")
    reasons = gr.HTML(elem_id="reasons", apply_default_css=False)
    gr.on([button.click, text.submit], analyse, [text, files, aspect], [scores, reasons], concurrency_id=ONE_AT_A_TIME)
    fields = [text, files, aspect] if pipe.model.reads_aspect else [text, files]
    folder = tempfile.mkdtemp(prefix="mmsent-examples-")
    atexit.register(rmtree, folder, ignore_errors=True)
    posts = example_posts(Path(folder) / "examples", pipe.model)
    examples = [[post["text"], [str(post["image"])], post.get("aspect")][: len(fields)] for post in posts]
    gr.Examples(examples, fields, label="Examples")


def _upload(**settings) -> gr.File:
    """Return a box for files. Unlike that of Gradio, it leaves no empty file behind for each file that is read."""

    def paths(files: ListFiles | FileData | None) -> list[str] | str | None:
        return [file.path for file in files] if isinstance(files, ListFiles) else files and files.path

    box = gr.File(**settings)
    box.preprocess = paths  # A subclass would make Gradio write a file beside this one.
    return box


def _add_table_tab(pipe: ImageTextSentimentPipeline) -> None:
    labels = list(pipe.model.config.id2label.values())
    columns = ["row", "text", "prediction", "error", *(f"score_{label}" for label in labels)]

    def analyse_table(table: str | None, files: list[str] | None) -> tuple[list[list], str]:
        try:
            rows = _predict_table(pipe, table, files or [])
        except ValueError as error:
            raise _error(error, [table]) from error
        # Uploads of the same content lie in the same folder, whoever has sent them. Gradio deletes the file.
        output = Path(tempfile.mkdtemp(dir=Path(table).parent)) / "predictions.csv"
        with output.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        return rows, str(output)

    gr.Markdown(
        "Upload a CSV file with the column `text`, the column `images` (file names, with `;` between them), or both"
        f"{'. It may have the column `aspect`' if pipe.model.reads_aspect else ''}. Upload the images as well. The "
        f"first {MAX_ROWS:,} rows are read."
    )
    with gr.Row():
        table = _upload(label="Table", file_types=[".csv", ".tsv"], elem_id="table")
        files = _upload(label="Images", file_count="multiple", file_types=["image"], elem_id="table_images")
    button = gr.Button("Analyse the table", variant="primary", elem_id="analyse_table")
    widths = [60, 250, 110, 220, *[150] * len(labels)]
    rows = gr.Dataframe(
        headers=columns,
        label="Predictions",
        wrap=True,
        column_widths=[f"{width}px" for width in widths],
        elem_id="rows",
    )
    download = gr.File(label="Predictions as a file", elem_id="download")
    button.click(analyse_table, [table, files], [rows, download], concurrency_id=ONE_AT_A_TIME)


def _predict_table(pipe: ImageTextSentimentPipeline, table: str | None, files: list[str]) -> list[list]:
    """Return the number, text, label, error and scores of each row of a table.

    Raises:
        ValueError: If there is no table, or it cannot be read.
    """
    if table is None:
        raise ValueError("Choose a table first.")
    results = []
    # The folder has the images under their own names, and no other file of this machine.
    with tempfile.TemporaryDirectory() as folder:
        for file in map(Path, files):
            if Path(folder, file.name).exists():
                raise ValueError(f"Two images have the name {file.name}: rename one of them.")
            copy2(file, folder)
        posts = open_posts(Path(table), image_dir=Path(folder))
        check_aspect_column(pipe, posts)
        rows = iter(posts)
        first_rows = islice(rows, MAX_ROWS)
        while batch := dict(islice(first_rows, BATCH_SIZE)):
            for record in predict_rows(pipe, posts, batch):
                row = batch[record["row"]]
                text = "" if isinstance(row, ValueError) else row.get(posts.columns["text"])
                scores = record.get("scores") or dict.fromkeys(pipe.model.config.id2label.values())
                error = (record.get("error") or record.get("reason") or "").replace(f"{folder}/", "")
                results.append([record["row"], text, record.get("prediction"), error, *scores.values()])
        if next(rows, None) is not None:
            gr.Warning(f"Only the first {MAX_ROWS:,} rows were read. The command `mmsent predict` reads all rows.")
    return results


def _error(error: ValueError, paths: list[str | None] | None) -> gr.Error:
    """Return an error for the page, in which uploaded files have the names that the user knows."""
    message = str(error)
    for path in filter(None, paths or []):
        message = message.replace(path, Path(path).name)
    return gr.Error(message, duration=None, print_exception=False)


def model_of_space(folder: Path) -> str | None:
    """Return the model that the README.md in the folder of a Space names, or None if there is no such file or name."""
    card = folder / "README.md"
    models = (metadata_load(card) or {}).get("models") if card.is_file() else None
    return models[0] if models else None


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # A Space runs without arguments, in its own folder.
    parser.add_argument(
        "--model",
        default=model_of_space(Path.cwd()),
        help="run folder or Hub id (default: the model in the metadata of ./README.md, as in a Space)",
    )
    parser.add_argument("--port", type=int, help="port of the page (default: 7860, or the next free one)")
    args = parser.parse_args(sys.argv[1:])
    if args.model is None:
        parser.error("--model is required: give a run folder or a Hub id.")
    if args.port is not None and not 0 < args.port < 65536:
        parser.error(f"--port {args.port} is not between 1 and 65535.")
    with exit_with_one_line(parser.prog):
        pipe = load_pipeline(args.model)
        build(pipe, Path(args.model).name).queue(max_size=MAX_WAITING).launch(
            server_port=args.port,
            max_file_size=MAX_IMAGE_BYTES,
            state_session_capacity=MAX_SESSIONS,
            theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            ssr_mode=False,
            footer_links=[],
        )

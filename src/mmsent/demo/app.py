"""A page in the browser: what a model says of a post, why, and what it would say without a part of it.

    python demo/app.py --model RUN_OR_HUB_ID

As a Space, where nobody gives arguments, the model is the one that the Space's README names under `models`.
"""

import argparse
import csv
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from shutil import copy2

import gradio as gr
from datasets import load_dataset
from huggingface_hub import metadata_load
from transformers import pipeline

from mmsent.explanation.attribution import explain_post
from mmsent.explanation.html import to_section
from mmsent.inference.post_files import open_posts
from mmsent.inference.predict import records
from mmsent.modeling.common_pipeline import TASK, ImageTextSentimentPipeline
from mmsent.modeling.common_processing import MAX_IMAGE_BYTES

ROOT = Path.cwd()
MAX_ROWS = 1000  # of a table: predict.py takes the longer ones
BATCH_SIZE = 16
EXAMPLES = 3


def build(pipe: ImageTextSentimentPipeline, name: str) -> gr.Blocks:
    """The page of one model: a tab for a post, a tab for a table of posts."""
    labels = list(pipe.model.config.id2label.values())
    reads_aspect = pipe.model.reads_aspect

    def analyse(text: str, files: list[str] | None, aspect: str | None) -> Iterator[tuple[dict, str]]:
        post = {"text": text or None, "images": files or [], "aspect": aspect or None}
        try:
            scores = {entry["label"]: entry["score"] for entry in pipe(post)}
            yield scores, "<p>Looking for the reasons ...</p>"
            yield scores, to_section(explain_post(pipe.model, pipe.processor, **post))
        except ValueError as error:
            raise gr.Error(_without_folders(str(error), files), duration=None, print_exception=False) from error

    def analyse_table(table: str | None, files: list[str] | None) -> tuple[list[list], str]:
        try:
            rows = _predict_table(pipe, table, files or [])
        except ValueError as error:
            raise gr.Error(_without_folders(str(error), [table]), duration=None, print_exception=False) from error
        output = Path(table).with_name("predictions.csv")
        with output.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        return rows, str(output)

    columns = ["row", "text", "prediction", "error", *(f"score_{label}" for label in labels)]
    with gr.Blocks(title="Sentiment of posts", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            f"# Sentiment of a text with pictures\n`{name}` says which of **{', '.join(labels)}** a post is. Leave "
            "out the text or the pictures, and it judges by what there is."
        )
        with gr.Tab("A post"):
            with gr.Row():
                with gr.Column(min_width=280):
                    text = gr.Textbox(label="Text", lines=3, elem_id="text", placeholder="Shift + Enter analyses, too")
                    files = gr.File(label="Pictures", file_count="multiple", file_types=["image"], elem_id="pictures")
                    aspect = gr.Dropdown(
                        pipe.model.config.aspects or [],
                        label="Aspect",
                        info="What the sentiment is about; any words will do.",
                        allow_custom_value=True,
                        visible=reads_aspect,
                        elem_id="aspect",
                    )
                    button = gr.Button("Analyse", variant="primary", elem_id="analyse")
                with gr.Column(min_width=280):
                    verdict = gr.Label(label="Sentiment", elem_id="verdict")
            reasons = gr.HTML(elem_id="reasons", apply_default_css=False)
            gr.on([button.click, text.submit], analyse, [text, files, aspect], [verdict, reasons])
            fields = [text, files, aspect] if reads_aspect else [text, files]
            gr.Examples([example[: len(fields)] for example in _examples()], fields, label="Try one")
        with gr.Tab("A table of posts"):
            gr.Markdown(
                "A CSV file with the column `text`, the column `images` (names of pictures, `;` between them), or "
                f"both{'; and the column `aspect`' if reads_aspect else ''}. Drop the pictures that it names beside "
                f"it. The first {MAX_ROWS:,} rows are read."
            )
            with gr.Row():
                table = gr.File(label="Table", file_types=[".csv", ".tsv"], elem_id="table")
                pictures = gr.File(
                    label="Its pictures", file_count="multiple", file_types=["image"], elem_id="table_pictures"
                )
            table_button = gr.Button("Analyse the table", variant="primary", elem_id="analyse_table")
            widths = [60, 250, 110, 220, *[150] * len(labels)]
            rows = gr.Dataframe(
                headers=columns,
                label="Predictions",
                wrap=True,
                column_widths=[f"{width}px" for width in widths],
                elem_id="rows",
            )
            download = gr.File(label="The same as a file", elem_id="download")
            table_button.click(analyse_table, [table, pictures], [rows, download])
    return page


def _predict_table(pipe: ImageTextSentimentPipeline, table: str | None, files: list[str]) -> list[list]:
    """A row for each of the table's: number, text, label, what is wrong where it has none, scores.

    Raises:
        ValueError: no table, or one that cannot be read.
    """
    if table is None:
        raise ValueError("Choose a table first.")
    found = []
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # the pictures under their own names, and nothing else of this machine
        for file in files:
            copy2(file, folder)
        posts = open_posts(Path(table), dict.fromkeys(("text", "images", "aspect", "id")), Path(folder), False)
        rows = iter(posts)
        first = islice(rows, MAX_ROWS)
        while batch := dict(islice(first, BATCH_SIZE)):
            for record in records(pipe, posts, batch):
                row = batch[record["row"]]
                text = "" if isinstance(row, ValueError) else row.get(posts.columns["text"])
                scores = record.get("scores") or dict.fromkeys(pipe.model.config.id2label.values())
                error = record.get("error", "").replace(f"{folder}/", "")
                found.append([record["row"], text, record.get("prediction"), error, *scores.values()])
        if next(rows, None) is not None:
            gr.Warning(f"The table has more rows: these are the first {MAX_ROWS:,}. predict.py reads any number.")
    return found


def _without_folders(message: str, paths: list[str] | None) -> str:
    """An error's message with the names of files as the user knows them."""
    for path in paths or []:
        message = message.replace(path, Path(path).name)
    return message


def _examples() -> list[list]:
    """Posts of the embedded corpus, their pictures as files."""
    posts = load_dataset("sample_posts", split="test")
    folder = Path(tempfile.mkdtemp(prefix="examples-"))
    examples = []
    for number in range(EXAMPLES):
        post = posts[number * len(posts) // EXAMPLES]
        picture = folder / f"{number}.png"
        post["images"][0].save(picture)
        examples.append([post["text"], [str(picture)], post["aspect"]])
    return examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", help="run folder or Hub id")
    parser.add_argument("--port", type=int, help="7860, or the next free one, unless given")
    args = parser.parse_args()
    card = ROOT / "README.md"
    model = args.model or ((metadata_load(card) or {}).get("models") or [None])[0]
    if model is None:
        parser.error("--model: which one? A run folder or a Hub id.")
    try:
        pipe = pipeline(TASK, model=model, pipeline_class=ImageTextSentimentPipeline)
    except (OSError, ValueError) as error:
        parser.error(f"--model {model}: {error}")
    build(pipe, Path(model).name).launch(
        server_port=args.port,
        max_file_size=MAX_IMAGE_BYTES,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        ssr_mode=False,
        footer_links=[],
    )


if __name__ == "__main__":
    main()

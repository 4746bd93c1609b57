"""The tab for a table of posts."""

import csv
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from shutil import copy2

import gradio as gr

from mmsent.dataset_scripts.common_posts import PostFile, open_posts
from mmsent.inference.predict import check_columns, post_fields, predict_rows
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline

from .memory import release_memory
from .parts import History, Pictures, add_image_upload, add_upload, error_of, make_thumbnails, remember, render
from .post_tab import ONE_AT_A_TIME

MAX_ROWS = 1000  # of a table; `mmsent predict` reads any number
SHOWN_ROWS = 100  # in the page, with thumbnails
BATCH_SIZE = 16


def add_table_tab(pipe: ImageTextSentimentPipeline, history: History) -> None:
    """Add the content of the tab."""
    labels, further = pipe.model.config.id2label.values(), pipe.model.config.columns or ()
    columns = ["row", "text", "prediction", "error", *(f"score_{label}" for label in labels)]

    def analyse_table(table: str | None, files: list[str] | None, entries: list[dict]) -> tuple:
        try:
            rows, pictures = predict_table(pipe, table, files or [])
        except ValueError as error:
            raise error_of(error, [table]) from error
        finally:
            release_memory()
        # Uploads of the same content lie in the same folder, whoever has sent them.
        output = Path(tempfile.mkdtemp(dir=Path(table).parent)) / "predictions.csv"
        with output.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        counts = Counter(row[2] or "no prediction" for row in rows).most_common()
        answer = ", ".join(f"{count} {label}" for label, count in counts)
        past = remember(entries, Path(table).name, None, [], answer)
        return render("predictions", columns, rows, pictures), str(output), *past

    gr.Markdown(
        "Upload a CSV file with the column `text`, the column `images` (file names, with `;` between them), or both"
        f"{'. It may have the column `aspect`' if pipe.model.reads_aspect else ''}"
        f"{''.join(f'. It must have the column `{name}`' for name in further)}. Upload the images as well. The "
        f"first {MAX_ROWS:,} rows are read."
    )
    with gr.Row():
        with gr.Column(min_width=280):
            table = add_upload(label="Table", file_types=[".csv", ".tsv"], elem_id="table", height=160)
        with gr.Column(min_width=280):
            files = add_image_upload("table_images")
    button = gr.Button("Analyse the table", variant="primary", elem_id="analyse_table")
    rows = gr.HTML(elem_id="rows", apply_default_css=False)
    download = gr.File(label="Predictions as a file", elem_id="download")
    inputs, outputs = [table, files, history.state], [rows, download, *history.outputs]
    button.click(analyse_table, inputs, outputs, concurrency_id=ONE_AT_A_TIME)


def predict_table(
    pipe: ImageTextSentimentPipeline, table: str | None, files: list[str]
) -> tuple[list[list], list[Pictures]]:
    """Return the number, text, label, error and scores of each row of a table, and the pictures of the first rows.

    Raises:
        ValueError: If there is no table, or it cannot be read.
    """
    if table is None:
        raise ValueError("Choose a table first.")
    results, pictures = [], []
    # The folder has the images under their own names, and no other file of this machine.
    with tempfile.TemporaryDirectory() as folder:
        for file in map(Path, files):
            if Path(folder, file.name).exists():
                raise ValueError(f"Two images have the name {file.name}: rename one of them.")
            copy2(file, folder)
        posts = open_posts(Path(table), image_dir=Path(folder), fields=post_fields(pipe.model.config))
        check_columns(pipe, posts)
        rows = iter(posts)
        first_rows = islice(rows, MAX_ROWS)
        while batch := dict(islice(first_rows, BATCH_SIZE)):
            for record in predict_rows(pipe, posts, batch):
                row = batch[record["row"]]
                text = "" if isinstance(row, ValueError) else row.get(posts.columns["text"])
                scores = record.get("scores") or dict.fromkeys(pipe.model.config.id2label.values())
                error = (record.get("error") or record.get("reason") or "").replace(f"{folder}/", "")
                results.append([record["row"], text, record.get("prediction"), error, *scores.values()])
                if len(pictures) < SHOWN_ROWS:
                    pictures.append([] if "error" in record else _pictures(posts, row))
        if next(rows, None) is not None:
            gr.Warning(f"Only the first {MAX_ROWS:,} rows were read. The command `mmsent predict` reads all rows.")
    return results, pictures


def _pictures(posts: PostFile, row: dict) -> Pictures:
    """Return the pictures of a row of an uploaded table, in which images are paths."""
    return make_thumbnails(posts.post(row)["images"])

"""Parts of the page that Gradio does not have: thumbnails, a table of predictions, and the history of a session."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData, ListFiles

from mmsent.evaluation.html_parts import load_templates, thumbnail

SMALL = 96  # pixels of the longer side of a thumbnail
MAX_THUMBNAILS = 12  # of an upload; the other files are counted
MAX_HISTORY = 20  # entries of a session
TEXT_LENGTH = 200  # characters of a text in the history

Pictures = list[tuple[str, str | None]]  # the name of each picture with its thumbnail, or None if it cannot be read


def make_thumbnails(files: Iterable[str | Path]) -> Pictures:
    """Return the name and the thumbnail of the first files."""
    return [(Path(file).name, thumbnail(file, SMALL)) for file in list(files)[:MAX_THUMBNAILS]]


def render(part: str, *values: Any) -> str:
    """Return a part of the page as HTML."""
    return str(getattr(_PARTS, part)(*values))


def add_upload(**settings) -> gr.File:
    """Add a box for files, and return it. Unlike that of Gradio, it leaves no empty file behind for each file that is
    read."""

    def paths(files: ListFiles | FileData | None) -> list[str] | str | None:
        return [file.path for file in files] if isinstance(files, ListFiles) else files and files.path

    box = gr.File(**settings)
    box.preprocess = paths  # A subclass would make Gradio write a file beside this one.
    return box


def add_image_upload(elem_id: str) -> gr.File:
    """Add a box for images with their thumbnails below it, and return the box."""

    def show(files: list[str] | None) -> str:
        return render("thumbnails", make_thumbnails(files or []), max(0, len(files or []) - MAX_THUMBNAILS))

    box = add_upload(label="Images", file_count="multiple", file_types=["image"], elem_id=elem_id, height=160)
    shown = gr.HTML(elem_id=f"{elem_id}_thumbnails", apply_default_css=False)
    box.change(show, box, shown, show_progress="hidden", api_visibility="private")
    return box


class History:
    """What a session asked and was answered, newest first. It is in the memory of the server until the session ends.

    Attributes:
        state: The entries, which Gradio keeps apart for each session.
        outputs: What a function with a new history returns at its end: the entries and how they are shown.
    """

    def __init__(self):
        self.state = gr.State([])
        self.shown = gr.HTML(render=False, elem_id="history", apply_default_css=False)
        self.outputs = [self.state, self.shown]

    def add_to_page(self) -> None:
        """Add the history to the page at this place."""
        gr.Markdown("## History of this session")
        self.shown.render()
        clear = gr.Button("Clear the history", size="sm", elem_id="clear")
        clear.click(lambda: ([], ""), None, self.outputs, show_progress="hidden", api_visibility="private")


def remember(entries: list[dict], text: str | None, aspect: str | None, pictures: Pictures, answer: str) -> tuple:
    """Return the entries with a new one in front, and how they are shown."""
    text = text or ""
    text = text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH]} …"
    entry = {"text": text, "aspect": aspect, "pictures": pictures[:2], "answer": answer}
    entries = [entry, *entries][:MAX_HISTORY]
    return entries, render("history", entries)


def error_of(error: ValueError, paths: Iterable[str | None] | None) -> gr.Error:
    """Return an error for the page, in which uploaded files have the names that the user knows."""
    message = str(error)
    for path in filter(None, paths or []):
        message = message.replace(path, Path(path).name)
    return gr.Error(message, duration=None, print_exception=False)


_PARTS = load_templates("mmsent.demo").get_template("parts.html").module

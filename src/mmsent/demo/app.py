"""Show a model in the browser: the scores of a post, the reasons, and the scores without each part of the post.

mmsent demo --model RUN_OR_HUB_ID
"""

import argparse
import atexit
import os
import sys
import tempfile
from pathlib import Path
from shutil import rmtree

import gradio as gr
from huggingface_hub import metadata_load

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.inference.predict import load_pipeline
from mmsent.modeling.common_images import MAX_IMAGE_BYTES
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline

from .corpus_examples import demo_examples
from .files import delete_files_after
from .parts import History
from .post_tab import add_post_tab
from .table_tab import add_table_tab

KEEP_FILES = 3600  # seconds after which uploaded files are deleted
MAX_WAITING = 200  # requests; others are refused until some are done
TEMPLATES = Path(__file__).parent / "templates"
# No font is loaded from the network, and the main buttons and links have enough contrast.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    link_text_color_dark="*secondary_300",
    link_text_color_visited_dark="*secondary_300",
)
MAX_SESSIONS = 200  # whose last inputs and outputs Gradio keeps in memory; its default is 10,000


def build(pipe: ImageTextSentimentPipeline, run: str, of_corpus: bool = True) -> gr.Blocks:
    """Return the page of a model, with a tab for a post and a tab for a table of posts.

    Args:
        run: Folder of the run, or Hub id.
        of_corpus: Whether examples may be posts of the corpus that the model learned from.
    """
    labels = ", ".join(pipe.model.config.id2label.values())
    folder = tempfile.mkdtemp(prefix="mmsent-examples-")
    atexit.register(rmtree, folder, ignore_errors=True)
    examples = demo_examples(run, Path(folder) / "examples", pipe.model, of_corpus)
    with gr.Blocks(title="Sentiment of posts", analytics_enabled=False) as page:
        gr.Markdown(
            f"# Sentiment of a text with images\n`{Path(run).name}` predicts one of the labels **{labels}**. Without "
            "a text or without images, the model uses the part that is present."
        )
        history = History()
        with gr.Tab("A post"):
            add_post_tab(pipe, history, examples)
        with gr.Tab("A table of posts"):
            add_table_tab(pipe, history)
        history.add_to_page()
    return page


def launch(page: gr.Blocks, port: int | None = None, share: bool = False) -> str | None:
    """Start to serve a page, and return its public link, or None if it has none."""
    # Gradio makes statistics of its last events after each event, of 10,000 by default.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", str(MAX_SESSIONS))
    *_, link = page.queue(max_size=MAX_WAITING).launch(
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        run_history=False,  # Gradio's own is kept on the disk of the user; the page has one of the session.
        max_file_size=MAX_IMAGE_BYTES,
        state_session_capacity=MAX_SESSIONS,
        theme=THEME,
        css_paths=TEMPLATES / "style.css",
        head_paths=TEMPLATES / "head.html",
        ssr_mode=False,
        footer_links=[],
        quiet=True,  # It would name arguments of Python. A public link is printed all the same.
    )
    delete_files_after(page, KEEP_FILES)
    print(f"The page is at {page.local_url}", flush=True)
    return link


def model_of_space(folder: Path) -> str | None:
    """Return the model that the README.md in the folder of a Space names, or None if there is no such file or name."""
    card = folder / "README.md"
    models = (metadata_load(card) or {}).get("models") if card.is_file() else None
    return models[0] if models else None


def parse_arguments(argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Parse the command line; return the parser too, for later errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # A Space runs without arguments, in its own folder.
    parser.add_argument(
        "--model",
        default=model_of_space(Path.cwd()),
        help="run folder or Hub id (default: the model in the metadata of ./README.md, as in a Space)",
    )
    parser.add_argument("--port", type=int, help="port of the page (default: 7860, or the next free one)")
    parser.add_argument(
        "--examples",
        choices=("corpus", "generated"),
        help="posts that the page offers: those of the corpus that a run folder names, if it is on this machine "
        "(default), or generated ones (default with --share)",
    )
    parser.add_argument(
        "--share",
        action="store_true",
        help="open the page to everybody who has its link, through a server of Gradio; the link is printed",
    )
    args = parser.parse_args(argv)
    if args.model is None:
        parser.error("--model is required: give a run folder or a Hub id.")
    if args.port is not None and not 0 < args.port < 65536:
        parser.error(f"--port {args.port} is not between 1 and 65535.")
    args.examples = args.examples or ("generated" if args.share else "corpus")
    return parser, args


def main() -> None:
    """Run the command."""
    parser, args = parse_arguments(sys.argv[1:])
    with exit_with_one_line(parser.prog):
        pipe = load_pipeline(args.model)
        page = build(pipe, args.model, args.examples == "corpus")
        link = launch(page, args.port, args.share)
        if args.share and link is None:
            page.close(verbose=False)
            raise OSError("--share: there is no public link: Gradio's server cannot be reached. Leave --share out.")
        page.block_thread()

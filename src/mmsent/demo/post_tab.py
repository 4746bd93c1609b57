"""The tab for a post."""

from collections.abc import Iterator

import gradio as gr

from mmsent.explanation.attribution import explain_post
from mmsent.explanation.html import to_section
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline

from .memory import release_memory
from .parts import History, add_image_upload, error_of, make_thumbnails, remember, render

ONE_AT_A_TIME = "model"  # what both tabs wait for: an explanation sets hooks in the model, which others would meet


def add_post_tab(pipe: ImageTextSentimentPipeline, history: History, examples: list[dict]) -> None:
    """Add the content of the tab.

    Args:
        examples: Posts with "text", "images" (paths), "aspect" and the further columns that the model reads.
    """
    columns = pipe.model.config.columns or []

    def analyse(
        text: str, files: list[str] | None, aspect: str | None, entries: list[dict], *further: str
    ) -> Iterator[tuple[dict, str, list[dict], str]]:
        post = {"text": text or None, "images": files or [], "aspect": aspect or None}
        post |= {name: value or None for name, value in zip(columns, further, strict=True)}
        try:
            ranked = pipe(post)
            scores = {entry["label"]: entry["score"] for entry in ranked}
            answer = f"{ranked[0]['label']} {ranked[0]['score']:.0%}"
            past = remember(entries, text, post["aspect"], make_thumbnails(post["images"][:2]), answer)
            yield scores, "<p>Computing the explanation ...</p>", *past
            yield scores, to_section(explain_post(pipe.model, pipe.processor, **post)), *past
        except ValueError as error:
            raise error_of(error, files) from error
        finally:
            release_memory()

    with gr.Row():
        with gr.Column(min_width=280):
            text = gr.Textbox(label="Text", lines=3, elem_id="text", placeholder="Shift + Enter analyses the post")
            files = add_image_upload("images")
            aspect = gr.Dropdown(
                pipe.model.config.aspects or [],
                label="Aspect",
                info="What the sentiment is about. You can type any words.",
                allow_custom_value=True,
                visible=pipe.model.reads_aspect,
                elem_id="aspect",
            )
            further = [gr.Textbox(label=name.capitalize(), elem_id=name) for name in columns]
            button = gr.Button("Analyse", variant="primary", elem_id="analyse")
        with gr.Column(min_width=280):
            scores = gr.Label(label="Sentiment", elem_id="scores")
    reasons = gr.HTML(elem_id="reasons", apply_default_css=False)
    inputs, outputs = [text, files, aspect, history.state, *further], [scores, reasons, *history.outputs]
    gr.on([button.click, text.submit], analyse, inputs, outputs, concurrency_id=ONE_AT_A_TIME)
    _add_examples(
        examples, {"text": text, "images": files, "aspect": aspect} | dict(zip(columns, further, strict=True))
    )


def _add_examples(examples: list[dict], fields: dict[str, gr.Component]) -> None:
    gr.Markdown("## Examples")
    with gr.Row():
        for number, post in enumerate(examples, 1):
            values = [post[name] for name in fields]
            with gr.Column(min_width=240, elem_classes="example"):
                pictures = make_thumbnails(post["images"])
                gr.HTML(render("example", post["text"] or "", post["aspect"], pictures), apply_default_css=False)
                button = gr.Button(f"Take example {number}", size="sm", elem_id=f"example_{number}")
                button.click(
                    lambda values=values: values,
                    None,
                    [*fields.values()],
                    show_progress="hidden",
                    api_visibility="private",
                )

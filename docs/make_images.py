"""Make the pictures of the documentation, for light and for dark pages: an explained post, and the demo.

    python docs/make_images.py --model runs/sample_posts-comn

The post and its picture are those of the embedded corpus. The command needs Chromium, Chrome or Edge, and Playwright.
"""

import argparse
import base64
import html
import io
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.sample_posts.posts import make_post
from mmsent.explanation.attribution import Explanation, explain_post
from mmsent.explanation.figure import find_browser, write_png
from mmsent.explanation.html import heat_images
from mmsent.inference.predict import load_pipeline
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline

POST = "both-0050-2"
GRID = 8  # squares per side over which attributions are averaged: single pixels look like noise
IMAGES = Path(__file__).parent / "images"
SUPPORTS, OPPOSES = "240, 130, 30", "80, 140, 235"  # the colours of the explanation's page
THEMES = {
    "light": {"page": "#ffffff", "text": "#1f2328", "faint": "#59636e", "line": "#d1d9e0", "bar": "#818b98"},
    "dark": {"page": "#0d1117", "text": "#f0f6fc", "faint": "#9198a1", "line": "#3d444d", "bar": "#656c76"},
}
STYLE = """
body {{ margin: 0; padding: 24px; width: 912px; background: {page}; color: {text};
  font: 17px/1.5 system-ui, "Noto Sans", "DejaVu Sans", sans-serif }}
main {{ display: grid; grid-template-columns: 250px 250px 1fr; gap: 24px; border: 1px solid {line};
  border-radius: 12px; padding: 24px }}
figure {{ margin: 0 }} img {{ width: 250px; border-radius: 8px; display: block }}
figcaption, h2, td:first-child {{ color: {faint}; font-size: 14px }} figcaption {{ margin-top: 8px }}
h2 {{ margin: 0 0 4px; font-weight: normal }} h2.next {{ margin-top: 16px }}
p {{ margin: 0 0 20px; font-size: 21px; line-height: 1.6 }}
p span {{ border-radius: 4px; padding: 2px 0 }} table {{ border-collapse: collapse; width: 100% }}
td {{ padding: 3px 0; white-space: nowrap }} td:nth-child(2) {{ width: 100%; padding: 0 12px }}
td:last-child {{ text-align: right }}
td div {{ height: 12px; border-radius: 6px; background: {bar} }} tr.told div {{ background: rgb({supports}) }}
tr.told td {{ color: {text}; font-weight: 600; font-size: 17px }}
"""


def card(explanation: Explanation, theme: dict[str, str]) -> str:
    """Return a page that shows a post, what decided its label, and the scores."""
    words = "".join(_word(piece, value, explanation) for piece, value in explanation.words)
    bars = "".join(_bar(name, score, name == explanation.label) for name, score in explanation.scores.items())
    without = "".join(
        _bar(f"without the {part.replace('images', 'picture')}", scores[explanation.label], False)
        for part, scores in explanation.without.items()
    )
    (picture,), (pixels,) = explanation.images, explanation.heat
    side = len(pixels) // GRID
    squares = pixels.reshape(GRID, side, GRID, side).mean((1, 3))
    (heat,) = heat_images(replace(explanation, heat=[np.kron(squares, np.ones((side, side)))]))
    return (
        f'<!DOCTYPE html><meta charset="utf-8"><style>{STYLE.format(supports=SUPPORTS, **theme)}</style><main>'
        f"<figure><img src='{_data(picture)}'><figcaption>The post's picture</figcaption></figure>"
        f"<figure><img src='{_data(heat)}'><figcaption>Orange speaks for <b>{explanation.label}</b>, blue against it"
        f"</figcaption></figure><div><h2>The post's text</h2><p>{words}</p><h2>What the model says</h2>"
        f"<table>{bars}</table><h2 class='next'>How sure it would be of {explanation.label}</h2>"
        f"<table>{without}</table></div></main>"
    )


def _word(piece: str, value: float, explanation: Explanation) -> str:
    largest = max(abs(other) for _, other in explanation.words) or 1
    colour = SUPPORTS if value > 0 else OPPOSES
    return f'<span style="background: rgba({colour}, {0.8 * abs(value) / largest:.2f})">{html.escape(piece)}</span>'


def _bar(name: str, score: float, told: bool) -> str:
    row = f'<td>{name}</td><td><div style="width: {score:.1%}"></div></td><td>{score:.0%}</td>'
    return f'<tr class="told">{row}</tr>' if told else f"<tr>{row}</tr>"


def _data(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.resize((500, 500)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def write_demo(pipe: ImageTextSentimentPipeline, run: str, post: dict, output: Path) -> None:
    """Start the demo, analyse a post in a browser, and write what the page shows at each theme."""
    from playwright.sync_api import sync_playwright

    from mmsent.demo import app

    page = app.build(pipe, run, of_corpus=False)
    app.launch(page)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        picture = Path(folder, "photo.png")
        picture.write_bytes(post["images"][0])
        browser = playwright.chromium.launch(executable_path=find_browser(), chromium_sandbox=False)
        for theme in THEMES:
            tab = browser.new_page(color_scheme=theme, viewport={"width": 1100, "height": 900})
            tab.goto(page.local_url)
            tab.locator("#text textarea").fill(post["text"])
            tab.locator("#images input[type=file]").set_input_files(picture)
            tab.locator("#images_thumbnails img").wait_for()
            tab.locator("#analyse").click()
            tab.locator("#reasons").get_by_text("without text", exact=True).wait_for()
            with Image.open(io.BytesIO(tab.screenshot(animations="disabled"))) as image:
                image.quantize(128).save(path := output / f"demo_{theme}.png", optimize=True)
            print(f"wrote {path}")
    page.close(verbose=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="run folder of train.py")
    parser.add_argument("--output", type=Path, default=IMAGES, metavar="FOLDER", help="default: docs/images")
    args = parser.parse_args()
    with exit_with_one_line("make_images.py"):
        post = make_post(POST)
        picture = Image.open(io.BytesIO(post["images"][0]))
        pipe = load_pipeline(args.model)
        explanation = explain_post(pipe.model, pipe.processor, post["text"], [picture])
        for name, theme in THEMES.items():
            path = args.output / f"explained_post_{name}.png"
            write_png(card(explanation, theme), path)
            print(f"wrote {path}")
        write_demo(pipe, args.model, post, args.output)


if __name__ == "__main__":
    main()

"""Test `mmsent explain`: the page, the picture of it and the command."""

import os
import re
import resource
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import psutil
import pytest
import tiny
from accessibility import cut_off, findings, needs_chromium
from PIL import Image
from transformers.utils import logging

from mmsent.explanation import explain, figure
from mmsent.explanation.attribution import Explanation, Hop, explain_post
from mmsent.explanation.figure import BROWSERS, write_png
from mmsent.explanation.html import attention_images, heat_images, to_html, to_section

HAS_BROWSER = any(map(shutil.which, BROWSERS))
needs_browser = pytest.mark.skipif(not HAS_BROWSER, reason="needs a browser: apt-get install chromium")


def explanation(words=(("good", 0.5), (" ", 0.0), ("day", -0.25)), **changes) -> Explanation:
    heat = np.zeros((8, 8))
    heat[:4] = 1
    parts = {
        "text": "good day",
        "aspect": None,
        "columns": {},
        "images": [tiny.picture(0, 80, 40)],
        "scores": {"negative": 0.125, "neutral": 0.25, "positive": 0.625},
        "label": "positive",
        "words": list(words),
        "heat": [heat],
        "without": {"text": {"negative": 0.5, "neutral": 0.25, "positive": 0.25}},
        "attention": [Hop([0.75] + [0.0] * (len(words) - 1), [np.eye(2) / 2], tokens=3)],
        "gap": 0.0,
    }
    return Explanation(**parts | changes)


class Page(HTMLParser):
    """Collects the text, the tags, the links and the style of each word of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.text, self.links, self.shades, self.tags, self.style = "", [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [value for name, value in attributes.items() if name in ("src", "href", "srcset", "data")]
        if tag == "img":
            assert attributes["alt"]
        self.style = attributes.get("style", "") if tag == "span" else ""

    def handle_data(self, data):
        self.text += data
        self.shades.append((data, self.style))


def test_the_page_needs_no_other_file():
    html = to_html(explanation())
    page = Page(html)
    assert len(page.links) == 3  # heat, image and attention
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", html)
    assert '<meta name="viewport"' in html
    assert to_section(explanation()) in html


def test_the_page_shows_the_scores_and_the_parts():
    text = Page(to_html(explanation())).text
    for expected in ("positive 62%", "without text", "12.5%", "50.0%", "+0.25", "+32.00", "Step 1 of 1"):
        assert expected in text, expected
    assert "Most on one word: 0.75. If all were equal: 0.33. The special tokens of the tokenizer have 0.25" in text
    assert "Most in image: 0.500" in text
    assert "If all parts were equal: 0.250" in text


def test_supporting_words_are_orange_and_opposing_words_blue():
    shades = Page(to_html(explanation())).shades
    styles = {}
    for word, style in shades:
        styles.setdefault(word, style)
    assert "#f0821e" in styles["good"]  # full orange
    red, _, blue = bytes.fromhex(re.search(r"#(\w{6})", styles["day"])[1])
    assert blue == 245  # half of BLUE, (80, 140, 235)
    assert red == 168
    assert styles[" "] == ""


def test_a_post_is_text_not_markup():
    hostile = "<script>alert(1)</script> & \"q\" <img src=x onerror='y'>"
    malicious = explanation([(hostile, 1.0)], aspect="<b>", text=hostile, label="<i>", scores={"<i>": 1.0}, without={})
    page = Page(to_html(malicious))
    assert hostile in page.text
    assert not {"script", "b", "i"} & set(page.tags)
    assert page.tags.count("img") == 3


def test_heat_and_attention_are_shown_at_their_position():
    (heat,) = heat_images(explanation())
    assert heat.size == (480, 240)
    pixels = np.asarray(heat).astype(int)
    assert (pixels[:100, :, 0] > pixels[:100, :, 2] + 100).all()  # orange above
    assert (pixels[140:, :, 0] == pixels[140:, :, 2]).all()  # grey below
    (attention,) = attention_images(explanation(images=[Image.new("RGB", (40, 40), "white")]), [np.eye(2)])
    assert np.asarray(attention)[10, 10].min() == 255
    assert np.asarray(attention)[10, 470].max() == 51


@pytest.mark.slow
@needs_browser
def test_the_picture_shows_the_whole_page(tmp_path):
    page = to_html(explanation([("我在湖边拍照😍 ", 0.1), ("x" * 300, 0.2), ("יום", -0.1)], attention=[]))
    write_png(page, tmp_path / "short.png")
    footer = '<div style="background: rgb(1, 2, 3); height: 40px; margin-top: 3000px"></div></body>'
    write_png(page.replace("</body>", footer), tmp_path / "long.png")
    with Image.open(tmp_path / "short.png") as short, Image.open(tmp_path / "long.png") as long:
        assert short.width == long.width == 1440
        assert long.height == pytest.approx(short.height + 1.5 * 3040, abs=2)
        assert long.getpixel((700, long.height - 5))[:3] == (1, 2, 3)
        assert np.asarray(short.convert("L")).min() < 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.png", "short.png"]


@pytest.fixture(scope="module")
def run(backbones, tmp_path_factory):
    """Return the folders of two models by architecture."""
    folders = {}
    for name in ("comn", "mimn"):
        folders[name] = tmp_path_factory.mktemp(name)
        for part in tiny.build(name, "own", backbones, aspects=["coffee"]):
            part.save_pretrained(folders[name])
    return folders


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Run the command in this process and in a folder with two images."""
    monkeypatch.chdir(tmp_path)
    tiny.picture(0).save("a.png")
    tiny.picture(1).save("b.png")
    (tmp_path / "folder.html").mkdir()

    def command(*argv):
        monkeypatch.setattr(sys, "argv", ["mmsent explain", *map(str, argv)])
        explain.main()

    return command


def test_the_command_writes_a_page_and_prints_a_table(run, command, capsys, tmp_path, backbones):
    command("--model", run["comn"], "--text", "good day", "--image", "a.png", "b.png", "--label", "neutral")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["negative", "neutral", "positive"]
    processor, model = tiny.build("comn", "own", backbones)
    rows = explain_post(model, processor, "good day", ["a.png", "b.png"], label="neutral").score_rows()
    expected = [f"{name} " + " ".join(f"{score:.1%}" for score in scores.values()) for name, scores in rows.items()]
    assert [" ".join(line.split()) for line in printed[1:-1]] == expected
    assert "neutral" in Page((tmp_path / "explanation.html").read_text()).text
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [
        "a.png",
        "b.png",
        "explanation.html",
        "folder.html",
    ]


@needs_browser
@pytest.mark.slow
def test_the_command_as_a_process(run, tmp_path):
    command = [sys.executable, "-m", "mmsent", "explain", "--model", str(run["comn"]), "--text", "good day"]
    subprocess.run([*command, "--output", "x.html", "x.png"], cwd=tmp_path, check=True)
    assert "good" in Page((tmp_path / "x.html").read_text()).text
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width == 1440
    without_browser = os.environ | {"PATH": str(tmp_path)}
    result = subprocess.run([*command, "--output", "y.png"], cwd=tmp_path, env=without_browser, capture_output=True)
    assert result.returncode == 2
    assert b"write an .html file instead" in result.stderr
    assert not (tmp_path / "y.png").exists()


def fake_browser(folder, script: str) -> None:
    """Put a program with the name of a browser into a folder."""
    (folder / "chromium").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "chromium").chmod(0o755)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("sleep 60 & echo $! > child; wait", "did not print the page within 0.5 seconds: write an .html file instead"),
        ("echo no display >&2; exit 3", "could not print the page: no display"),
        ("echo '<html>'", "could not lay out the page: write an .html file instead"),
        ("kill -9 $$", "could not print the page"),
    ],
)
def test_a_browser_that_fails_leaves_the_page(script, message, run, command, capsys, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    fake_browser(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(figure, "TIMEOUT", 0.5)
    with pytest.raises(SystemExit, match="2"):
        command("--model", run["comn"], "--text", "good day", "--output", "x.png", "x.html")
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert "good" in Page((tmp_path / "x.html").read_text()).text
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(("tmp-", "x.png"))]
    if (tmp_path / "child").exists():  # what the browser has started has ended, too
        pid = int((tmp_path / "child").read_text())
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_full_disk_leaves_no_part_of_a_page(run, command, capsys, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(SystemExit, match="2"):
            command("--model", run["comn"], "--text", "good day", "--image", "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in capsys.readouterr().err.splitlines()[-1]
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(("tmp-", "explanation"))]


def test_an_aspect_for_a_model_without_aspects_warns(run, command, caplog):
    logging.get_logger("transformers").warning_once.cache_clear()
    command("--model", run["comn"], "--text", "good coffee", "--aspect", "coffee")
    assert sum("does not read an aspect" in record.getMessage() for record in caplog.records) == 1


def test_bytes_of_an_aspect_that_are_not_text(run, command, tmp_path):
    command("--model", run["mimn"], "--text", "good day", "--aspect", "d\ud83d\udce8ay \udcff")
    assert "\ufffd" in Page((tmp_path / "explanation.html").read_text(encoding="utf-8")).text


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("comn", ["--text", "a", "--label", "happy"], "negative, neutral, positive"),
        ("comn", ["--text", "a", "--output", "x.pdf"], "x.pdf: the suffix must be .html or .png"),
        (
            None,
            ["--text", "a", "--output", "nowhere/x.html"],
            "--output nowhere/x.html: the folder nowhere does not exist",
        ),
        (None, ["--text", "a", "--output", "folder.html"], "folder.html is a folder: name a file"),
        (None, ["--text", "a", "--output", "a.png/x.html"], "--output a.png/x.html: the folder a.png does not exist"),
        ("comn", ["--image", "nowhere.png"], "nowhere.png"),
        ("comn", [], "neither text nor an image"),
        ("mimn", ["--text", "a"], "needs the key 'aspect'"),
        ("mimn", ["--text", "a", "--aspect", " "], "needs the key 'aspect'"),
        (None, ["--text", "a"], "./nowhere"),
    ],
)
def test_errors_name_what_is_wrong(name, argv, message, run, command, capsys):
    with pytest.raises(SystemExit) as error:
        command("--model", run.get(name, "./nowhere"), *argv)
    assert error.value.code == 2
    assert message in str(error.value.code) + capsys.readouterr().err


@needs_chromium
def test_axe_finds_nothing_serious(browser):
    words = [("so", 0.5), (" ", 0.0), ("good", 0.4), (" a ", 0.1), ("day", -0.5), (" off", -0.2)]
    shown = explanation(words, aspect="coffee", attention=[Hop([0.5] * 6, [np.eye(2) / 2], tokens=6)] * 3)
    tab = browser.new_page(viewport={"width": 380, "height": 800})
    tab.set_content(to_html(shown))
    assert findings(tab) == []
    assert cut_off(tab) == []
    tab.close()

import re
import sys
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
import tiny
from matplotlib import font_manager
from PIL import Image

from mmsent.explanation import explain
from mmsent.explanation.attribution import Explanation, Hop, explain_post
from mmsent.explanation.figure import WIDTH, to_figure
from mmsent.explanation.html import heat_pictures, lit_pictures, to_html

CHINESE = "我在湖边拍照，画面非常清晰😍👍🏽。家人👨‍👩‍👧都喜欢❤️ $1999 🥰"


def explanation(words=(("good", 0.5), (" ", 0.0), ("day", -0.25)), **changes) -> Explanation:
    heat = np.zeros((8, 8))
    heat[:4] = 1
    parts = {
        "text": "good day",
        "aspect": None,
        "images": [tiny.picture(0, 80, 40)],
        "scores": {"negative": 0.125, "neutral": 0.25, "positive": 0.625},
        "label": "positive",
        "words": list(words),
        "heat": [heat],
        "without": {"text": {"negative": 0.5, "neutral": 0.25, "positive": 0.25}},
        "attention": [Hop([0.75] + [0.0] * (len(words) - 1), [np.eye(2) / 2])],
        "gap": 0.0,
    }
    return Explanation(**parts | changes)


class Page(HTMLParser):
    """The text, the shades of the words and the addresses of a page."""

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


def test_the_page_needs_nothing_else():
    html = to_html(explanation())
    page = Page(html)
    assert len(page.links) == 3  # heat, picture, regions
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"https?://|url\(|@import", html)
    assert '<meta name="viewport"' in html


def test_the_page_shows_the_scores_and_the_parts():
    text = Page(to_html(explanation())).text
    for wanted in ("positive 62%", "without text", "12.5%", "50.0%", "+0.25", "+32.00", "Attention, 1 of 1"):
        assert wanted in text, wanted


def test_words_for_are_orange_and_words_against_blue():
    shades = Page(to_html(explanation())).shades
    styles = {}
    for word, style in shades:
        styles.setdefault(word, style)
    assert "#f0821e" in styles["good"]  # full orange
    red, _, blue = bytes.fromhex(re.search(r"#(\w{6})", styles["day"])[1])
    assert blue == 245  # half way to blue, (80, 140, 235)
    assert red == 168
    assert styles[" "] == ""


def test_a_post_is_text_not_markup():
    hostile = "<script>alert(1)</script> & \"q\" <img src=x onerror='y'>"
    found = explanation([(hostile, 1.0)], aspect="<b>", text=hostile, label="<i>", scores={"<i>": 1.0}, without={})
    page = Page(to_html(found))
    assert hostile in page.text
    assert not {"script", "b", "i"} & set(page.tags)
    assert page.tags.count("img") == 3


def test_heat_lies_where_it_belongs():
    (picture,) = heat_pictures(explanation())
    assert picture.size == (480, 240)
    pixels = np.asarray(picture).astype(int)
    assert (pixels[:100, :, 0] > pixels[:100, :, 2] + 100).all()  # orange above
    assert (pixels[140:, :, 0] == pixels[140:, :, 2]).all()  # grey below
    (lit,) = lit_pictures(explanation(images=[Image.new("RGB", (40, 40), "white")]), [np.eye(2)])
    assert np.asarray(lit)[10, 10].min() == 255
    assert np.asarray(lit)[10, 470].max() == 51


def drawn(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_figure_shows_the_same():
    figure = to_figure(explanation())
    texts = drawn(figure)
    for wanted in ("positive 62%", "without text", "12.5%", "50.0%", "+0.25", "+32.00", "good", "day"):
        assert wanted in texts, wanted
    assert len(figure.axes[0].get_images()) == 3


def test_long_texts_wrap_inside_the_figure():
    words = [(piece, 0.1) for word in ["word", "我在湖边拍" * 20, "x" * 120] for piece in (word, " ")]
    figure = to_figure(explanation(words, attention=[]))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert max(box.x1 for box in boxes) <= WIDTH * 1.01
    assert min(box.y0 for box in boxes) >= 0


def has_fonts() -> bool:
    files = " ".join(font_manager.findSystemFonts())
    return "NotoSansCJK" in files and "NotoColorEmoji" in files


@pytest.mark.skipif(not has_fonts(), reason="needs fonts-noto-cjk and fonts-noto-color-emoji")
def test_chinese_and_emoji_have_glyphs(tmp_path):
    words = [(sign, 0.1) for sign in re.split(r"( )", CHINESE)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = to_figure(explanation(words, text=CHINESE, attention=[], aspect="屏幕"))
        figure.savefig(tmp_path / "a.png")
    assert "□" not in "".join(drawn(figure))
    assert "我在湖边拍照，画面非常清晰" in drawn(figure)
    assert len(figure.axes[0].get_images()) == 2 + 5  # a picture for each emoji, whatever it is joined of


def test_characters_without_a_glyph_are_named(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure = to_figure(explanation([("a\U0010fffd", 1.0)], attention=[]))
        figure.savefig(tmp_path / "a.png")
    (warning,) = caught
    assert re.search("No installed font has \U0010fffd.*fonts-noto-cjk", str(warning.message))
    assert "a□" in drawn(figure)


def test_right_to_left():
    figure = to_figure(explanation([("כן", 0.1), (" ", 0.0), ("לא", 0.1)], attention=[], images=[], heat=[]))
    first, second = (next(t for t in figure.axes[0].texts if t.get_text() == word) for word in ("כן", "לא"))
    assert first.get_position()[0] > second.get_position()[0]


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def run(backbones, tmp_path_factory):
    folders = {}
    for name in ("comn", "mimn"):
        processor, model = tiny.build(name, "own", backbones)
        folders[name] = tmp_path_factory.mktemp("runs") / name
        model.save_pretrained(folders[name])
        processor.save_pretrained(folders[name])
    return folders


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    tiny.picture(0).save("a.png")
    tiny.picture(1).save("b.png")

    def command(*argv):
        monkeypatch.setattr(sys, "argv", ["explain.py", *map(str, argv)])
        explain.main()

    return command


def test_the_command_writes_both_and_prints_a_table(run, command, capsys, tmp_path, backbones):
    command("--model", run["comn"], "--text", "good day", "--image", "a.png", "b.png", "--label", "neutral")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["negative", "neutral", "positive"]
    processor, model = tiny.build("comn", "own", backbones)
    found = explain_post(model, processor, "good day", ["a.png", "b.png"], label="neutral")
    rows = {"everything": found.scores} | {f"without {part}": scores for part, scores in found.without.items()}
    want = [f"{name} " + " ".join(f"{score:.1%}" for score in scores.values()) for name, scores in rows.items()]
    assert [" ".join(line.split()) for line in printed[1:-2]] == want
    assert "neutral" in Page((tmp_path / "explanation.html").read_text()).text
    with Image.open("explanation.png") as picture:
        assert picture.width == 1440


def test_the_suffix_says_what_is_written(run, command, tmp_path):
    command("--model", run["comn"], "--text", "good day", "--output", "x.html")
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["a.png", "b.png", "x.html"]
    with pytest.raises(SystemExit):
        command("--model", run["comn"], "--text", "good day", "--output", "x.pdf")


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("comn", ["--text", "a", "--label", "happy"], "negative, neutral, positive"),
        ("comn", ["--image", "nowhere.png"], "nowhere.png"),
        ("comn", [], "give a text, images or both"),
        ("mimn", ["--text", "a"], "give --aspect"),
        (None, ["--text", "a"], "no run folder"),
    ],
)
def test_what_is_wrong_is_said(name, argv, message, run, command, capsys):
    with pytest.raises(SystemExit) as error:
        command("--model", run.get(name, "nowhere"), *argv)
    assert error.value.code
    assert message in str(error.value.code) + capsys.readouterr().err

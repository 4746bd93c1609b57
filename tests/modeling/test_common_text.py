"""Each step on texts as people post them, their order, and whatever else a text may be."""

import ast
import importlib
import json
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoProcessor

from mmsent.modeling import common_text as text_steps
from mmsent.modeling.common_text import TEXT_STEPS, prepare_text
from mmsent.modeling.common_word_vectors import build_word_tokenizer
from mmsent.modeling.comn import CoMNProcessor

STRIPS = ["strip_links", "strip_mentions", "strip_hashtags"]
TWEET = "RT @user_1: So happy!! 😀 #TeamSpirit #euro2016 pic.twitter.com/aB3 https://t.co/x?y=1&z=2"


# ------------------------------------------------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Sunset. https://t.co/aB3", "Sunset."),
        ("Sunset. HTTP://T.CO/aB3 http://t.co/c", "Sunset."),
        ("see www.site.org/a_b?c=d#e now", "see now"),
        ("what a daypic.twitter.com/aB3", "what a day"),
        ("wow!http://t.co/a", "wow!"),
        ("cut off http://t.co/aB…", "cut off"),
        ("cut off https://…", "cut off"),
        ("a http://bücher.de/ä b", "a b"),
        ("“https://t.co/a”", "“ ”"),
        ("http://t.co/a😀", "😀"),
        ("看这里http://t.cn/a，很好", "看这里 ，很好"),
        ("看www.site.cn很好", "看 很好"),
        ("awww.so cute, www... me@www.org", "awww.so cute, www... me@www.org"),
        ("https and pic.twitter.com are words", "https and pic.twitter.com are words"),
    ],
)
def test_links(text, want):
    assert prepare_text(text, ["strip_links"]) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("RT @user: hello", "RT : hello"),
        (".@User_1 @2nd hello@", ". hello@"),
        ("(@a,@b)@c", "( , )"),
        ("@a@b c", "c"),
        ("@user's dog", "dog"),
        ("转发@小明：好", "转发 ：好"),
        ("＠user hello", "hello"),
        ("@हिन्दी ok", "ok"),
        ("me@mail.com first.last+tag@my-mail.co.uk", "me@mail.com first.last+tag@my-mail.co.uk"),
        ("5 @ 3, @, @-", "5 @ 3, @, @-"),
    ],
)
def test_mentions(text, want):
    assert prepare_text(text, ["strip_mentions"]) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("#TBT to #euro2016 with #my_friends!", "to with !"),
        ("#1st #2016goals #_x", ""),
        ("#love-it #dog's life", "life"),
        ("#a#b c", "c"),
        ("go#team ❤️#love❤️", "go#team ❤️ ❤️"),
        ("我爱#北京_2015 ＃全角", "我爱"),
        ("#हिन्दी #หมูป่า #cafe\u0301 ok", "ok"),
        ("we're #1, in C# and F#m, # a ## #️⃣", "we're #1, in C# and F#m, # a ## #️⃣"),
        ("it&#39;s &#x27;ok&#x27;", "it&#39;s &#x27;ok&#x27;"),
    ],
)
def test_hashtags(text, want):
    assert prepare_text(text, ["strip_hashtags"]) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("so😀happy", "so grinning face happy"),
        ("👍🏽", "thumbs up medium skin tone"),
        ("👨‍👩‍👧‍👦", "family man woman girl boy"),
        ("👩‍💻😀", "woman technologist grinning face"),
        ("1️⃣ of 2", "keycap 1 of 2"),
        ("❤ ❤️", "red heart red heart"),
        ("🇨🇮", "Côte d’Ivoire"),
        (":a_b: @user_1 :-)", ":a_b: @user_1 :-)"),
    ],
)
def test_emoji(text, want):
    assert prepare_text(text, ["emoji_to_words"]) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("cafÃ© âœ”", "café ✔"),
        ("fish &amp; chips", "fish & chips"),
        ("“don’t”", '"don\'t"'),
        ("ｆｕｌｌ", "full"),
        ("plain 😀 屏幕", "plain 😀 屏幕"),
    ],
)
def test_encoding(text, want):
    assert prepare_text(text, ["fix_encoding"]) == want


@pytest.mark.parametrize(
    ("step", "want"),
    [("characters", "屏 幕 效 果 很 好"), ("jieba", "屏幕 效果 很 好"), ("rjieba", "屏幕 效果 很 好")],
)
def test_chinese(step, want):
    assert prepare_text("屏幕效果很好", [step]) == want
    assert prepare_text("an ok 屏幕效果很好 😀", [step]) == f"an ok {want} 😀"


def test_the_cleaning_of_multisentinet():
    assert prepare_text(TWEET, STRIPS) == "RT : So happy!! 😀"


def test_order_matters():
    post = "read https://site.org/@user/post#part"
    assert prepare_text(post, ["strip_links", "strip_mentions"]) == "read"
    assert prepare_text(post, ["strip_mentions", "strip_links"]) == "read /post#part"
    assert prepare_text("it&#39;s &#64;user", ["fix_encoding", "strip_mentions"]) == "it's"
    assert prepare_text("it&#39;s &#64;user", ["strip_mentions", "fix_encoding"]) == "it's @user"


# ------------------------------------------------------------------------------------------------------- every text


def test_without_steps_a_text_is_left_alone():
    assert prepare_text(f"  {TWEET}\n\t a  b ", []) == f"  {TWEET}\n\t a  b "
    assert prepare_text(" a\n\t b\u3000c ", ["strip_links"]) == "a b c"


@pytest.mark.parametrize("steps", [[], *([step] for step in TEXT_STEPS), list(TEXT_STEPS)], ids=str)
def test_no_text_and_half_surrogates(steps):
    assert prepare_text(None, steps) == prepare_text("", steps) == ""
    assert "".join(prepare_text("a\ud83d b", steps).split()) == "a\ufffdb"
    assert prepare_text("\ud83d\ude00", []) == "😀"  # two halves, as JSON escapes them


# Signs that the strip steps look for, beside any others that there are.
pieces = [*"@#＃a1É_'-&北😀… \u0301\u200d\ufe0f\ud83d", "http://", "www.", "pic.twitter.com/"]
any_text = st.one_of(
    st.text(st.characters(exclude_categories=[])),  # half surrogates too
    st.lists(st.sampled_from(pieces)).map("".join),
)


@settings(deadline=None, max_examples=300)
@given(any_text, st.lists(st.sampled_from(sorted(TEXT_STEPS)), max_size=4))
def test_any_text_can_be_prepared(text, steps):
    prepare_text(text, steps).encode("utf-8")


@pytest.mark.parametrize("step", STRIPS)
@settings(deadline=None, max_examples=500)
@given(text=any_text)
def test_what_was_stripped_needs_no_stripping(step, text):
    once = prepare_text(text, [step])
    assert prepare_text(once, [step]) == once


@pytest.mark.parametrize("step", STRIPS)
@pytest.mark.parametrize("piece", ["@", "#", "a", "#1", "@a", "@a'", "http://", "www", "pic.twitter.com"])
def test_long_texts_take_no_longer_than_they_must(step, piece):
    TEXT_STEPS[step](piece * 100_000)  # a pattern that backtracks would take hours


# ------------------------------------------------------------------------------------------------- names and packages


def test_unknown_steps_are_named():
    message = "Text step 'shout' is unknown: choose from fix_encoding, strip_links, .*rjieba, or add yours"
    for make in (
        lambda: prepare_text("a", ["strip_links", "shout"]),
        lambda: build_word_tokenizer([], text_steps=["shout"]),
        lambda: CoMNProcessor.from_backbones("word_vectors", "small_cnn", ["a"], text_steps=["shout"]),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_one_name_is_not_a_list():
    with pytest.raises(ValueError, match=r"text_steps='strip_links': give a list of names, as in \[strip_links\]"):
        CoMNProcessor.from_backbones("word_vectors", "small_cnn", ["a"], text_steps="strip_links")


PACKAGES = {"fix_encoding": "ftfy", "emoji_to_words": "emoji", "jieba": "jieba", "rjieba": "rjieba"}


def test_a_missing_package_stops_its_step_alone(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", import_module)
    for step in TEXT_STEPS:
        if step in PACKAGES:
            with pytest.raises(ImportError, match=f"'{step}' needs the package {PACKAGES[step]}: ") as caught:
                prepare_text("a", [step])
            assert 'pip install "mmsent[text]"' in str(caught.value)
        else:
            assert prepare_text("a", [step]) == "a"


def test_no_optional_package_is_imported_by_a_statement():
    """transformers loads remote code only where every package that an import statement names is installed."""
    tree = ast.parse(Path(text_steps.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported.isdisjoint(PACKAGES.values())


# --------------------------------------------------------------------------------------------------------- processor


def test_a_saved_processor_keeps_its_steps(tmp_path):
    steps = ["fix_encoding", *STRIPS, "emoji_to_words"]
    processor = CoMNProcessor.from_backbones("word_vectors", "small_cnn", [TWEET, "It is cafÃ©"], text_steps=steps)
    batch = processor(text=TWEET, aspect="#tag cafÃ©")
    want = ["rt", ":", "so", "happy", "!", "!", "grinning", "face"]
    assert processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0]) == want
    assert processor.tokenizer.convert_ids_to_tokens(batch["aspect_input_ids"][0]) == ["café"]
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "processor_config.json").read_text())["text_steps"] == steps
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert loaded.text_steps == steps
    assert torch.equal(loaded(text=TWEET)["input_ids"], batch["input_ids"])


def test_the_words_are_those_of_the_prepared_texts():
    vocabulary = build_word_tokenizer([TWEET, None], text_steps=STRIPS).get_vocab()
    assert set(vocabulary) == {"[PAD]", "[UNK]", "rt", ":", "so", "happy", "!", "😀"}


def test_a_text_of_which_nothing_is_left_is_no_text():
    processor = CoMNProcessor.from_backbones("word_vectors", "small_cnn", ["good"], text_steps=STRIPS)
    batch = processor(text=["@user #tag https://t.co/a", "good"])
    assert batch["attention_mask"].tolist() == [[0], [1]]


def test_steps_suit_any_tokenizer(backbones):
    processor = CoMNProcessor.from_backbones(backbones["bert"], backbones["vit"], text_steps=STRIPS)
    words = " ".join(tiny.WORDS[:3])
    with_link, without = processor(text=f"{words} https://t.co/a"), processor(text=words)
    assert torch.equal(with_link["input_ids"], without["input_ids"])


def test_a_step_of_ones_own(monkeypatch):
    monkeypatch.setitem(TEXT_STEPS, "mine", lambda text: text.replace("|", " "))
    processor = CoMNProcessor.from_backbones("word_vectors", "small_cnn", ["a|b"], text_steps=["mine"])
    assert (processor(text="a|b|a")["input_ids"] > 1).all()
    assert processor(text="a|b|a")["attention_mask"].sum() == 3

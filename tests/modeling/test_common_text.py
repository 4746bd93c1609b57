"""Text steps on posts of every kind, their order, and the packages that they need."""

import json
import sys

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoProcessor
from transformers.dynamic_module_utils import get_imports

from mmsent.modeling.common_text import TEXT_STEPS, prepare_text, sentence_starts
from mmsent.modeling.common_word_vectors import build_word_tokenizer
from mmsent.modeling.comn import CoMNProcessor

STRIPS = ["strip_links", "strip_mentions", "strip_hashtags"]
TWEET = "RT @user_1: So happy!! 😀 #TeamSpirit #euro2016 pic.twitter.com/aB3 https://t.co/x?y=1&z=2"


STEPS = {
    "strip_links": [
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
    "links_to_words": [
        ('Seen <a href="http://a.org/b?rel=c" rel="nofollow">here</a>.', "Seen href rel here ."),
        ("<A rel='x' HREF = http://a.org >http://a.org</A > now", "rel href href now"),
        ("http://t.co/aB3 and www.site.org", "href and href"),
        *[(text, text) for text in ["a < b <b>bold</b> <abbr>x</abbr> the word href= stays"]],
    ],
    "strip_mentions": [
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
    "strip_hashtags": [
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
    "emoji_to_words": [
        ("so😀happy", "so grinning face happy"),
        ("👍🏽", "thumbs up medium skin tone"),
        ("👨‍👩‍👧‍👦", "family man woman girl boy"),
        ("👩‍💻😀", "woman technologist grinning face"),
        ("1️⃣ of 2", "keycap 1 of 2"),
        ("❤ ❤️", "red heart red heart"),
        ("🇨🇮", "Côte d’Ivoire"),
        (":a_b: @user_1 :-)", ":a_b: @user_1 :-)"),
    ],
    "fix_encoding": [
        ("cafÃ© âœ”", "café ✔"),
        ("fish &amp; chips", "fish & chips"),
        ("“don’t”", '"don\'t"'),
        ("ｆｕｌｌ", "full"),
        ("plain 😀 屏幕", "plain 😀 屏幕"),
    ],
    "characters": [("屏幕效果很好", "屏 幕 效 果 很 好"), ("an ok 屏幕 😀", "an ok 屏 幕 😀")],
    "jieba": [("屏幕效果很好", "屏幕 效果 很 好"), ("an ok 屏幕 😀", "an ok 屏幕 😀")],
    "rjieba": [("屏幕效果很好", "屏幕 效果 很 好"), ("an ok 屏幕 😀", "an ok 屏幕 😀")],
}


@pytest.mark.parametrize(
    ("step", "text", "expected"), [(step, *case) for step, cases in STEPS.items() for case in cases]
)
def test_each_step(step, text, expected):
    assert prepare_text(text, [step]) == expected


def test_order_matters():
    post = "read https://site.org/@user/post#part"
    assert prepare_text(post, ["strip_links", "strip_mentions"]) == "read"
    assert prepare_text(post, ["strip_mentions", "strip_links"]) == "read /post#part"
    assert prepare_text("it&#39;s &#64;user", ["fix_encoding", "strip_mentions"]) == "it's"
    assert prepare_text("it&#39;s &#64;user", ["strip_mentions", "fix_encoding"]) == "it's @user"


def test_without_steps_a_text_is_not_changed():
    assert prepare_text(f"  {TWEET}\n\t a  b ", []) == f"  {TWEET}\n\t a  b "
    assert prepare_text(" a\n\t b\u3000c ", ["strip_links"]) == "a b c"


@pytest.mark.parametrize("steps", [[], *([step] for step in TEXT_STEPS), list(TEXT_STEPS)], ids=str)
def test_no_text_and_lone_surrogates(steps):
    assert prepare_text(None, steps) == prepare_text("", steps) == ""
    assert "".join(prepare_text("a\ud83d b", steps).split()) == "a\ufffdb"
    assert prepare_text("\ud83d\ude00", []) == "😀"  # both halves, as JSON escapes them


# Pieces that the strip steps look for, in addition to arbitrary characters.
pieces = [*"@#＃a1É_'-&北😀… \u0301\u200d\ufe0f\ud83d", "http://", "www.", "pic.twitter.com/"]
any_text = st.one_of(
    st.text(st.characters(exclude_categories=[])),  # includes lone surrogates
    st.lists(st.sampled_from(pieces)).map("".join),
)


@settings(deadline=None, max_examples=300)
@given(any_text, st.lists(st.sampled_from(sorted(TEXT_STEPS)), max_size=4))
def test_any_text_can_be_prepared(text, steps):
    prepare_text(text, steps).encode("utf-8")


@pytest.mark.parametrize("step", STRIPS)
@settings(deadline=None, max_examples=500)
@given(text=any_text)
def test_stripping_twice_changes_nothing(step, text):
    once = prepare_text(text, [step])
    assert prepare_text(once, [step]) == once


@pytest.mark.parametrize("step", STRIPS)
@pytest.mark.parametrize("piece", ["@", "#", "a", "#1", "@a", "@a'", "http://", "www", "pic.twitter.com"])
def test_long_texts_take_linear_time(step, piece):
    TEXT_STEPS[step](piece * 100_000)  # a pattern that backtracks would take hours


# ------------------------------------------------------------------------------------------------- names and packages


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            ["strip_links", "shout"],
            "Text step 'shout' is unknown: choose from fix_encoding, .*rjieba, or add your own",
        ),
        ("strip_links", r"text_steps='strip_links': pass a list of names, as in \[strip_links\]"),
    ],
)
def test_bad_names_of_steps(steps, message):
    for make in (
        lambda: prepare_text("a", steps),
        lambda: build_word_tokenizer([], text_steps=steps),
        lambda: build(["a"], steps),
    ):
        with pytest.raises(ValueError, match=message):
            make()


PACKAGES = {"fix_encoding": "ftfy", "emoji_to_words": "emoji", "jieba": "jieba", "rjieba": "rjieba"}


@pytest.mark.parametrize("step", TEXT_STEPS)
def test_only_the_steps_of_a_missing_package_fail(monkeypatch, step):
    for package in PACKAGES.values():
        monkeypatch.setitem(sys.modules, package, None)  # importing it now raises ImportError
    if step in PACKAGES:
        with pytest.raises(ImportError, match=f"'{step}' needs the package {PACKAGES[step]}: .*mmsent\\[text\\]"):
            prepare_text("a", [step])
    else:
        assert prepare_text("a", [step]) == "a"


def test_transformers_loads_this_file_without_the_optional_packages():
    """transformers refuses remote code that imports a package which is not installed."""
    assert set(get_imports(tiny.ROOT / "modeling/common_text.py")).isdisjoint(PACKAGES.values())


# --------------------------------------------------------------------------------------------------------- processor


def build(texts: list[str], steps: list[str], text: str = "word_vectors", image: str = "small_cnn") -> CoMNProcessor:
    return CoMNProcessor.from_backbones(text, image, texts, text_steps=steps)


def test_a_saved_processor_keeps_its_steps(tmp_path):
    steps = ["fix_encoding", *STRIPS, "emoji_to_words"]
    processor = build([TWEET, "It is cafÃ©"], steps)
    batch = processor(text=TWEET, aspect="#tag cafÃ©")
    words = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    assert words == ["rt", ":", "so", "happy", "!", "!", "grinning", "face"]
    assert processor.tokenizer.convert_ids_to_tokens(batch["aspect_input_ids"][0]) == ["café"]
    processor.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "processor_config.json").read_text())["text_steps"] == steps
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert loaded.text_steps == steps
    assert torch.equal(loaded(text=TWEET)["input_ids"], batch["input_ids"])


def test_the_vocabulary_has_the_words_of_prepared_texts():
    vocabulary = build_word_tokenizer([TWEET, None], text_steps=STRIPS).get_vocab()
    assert set(vocabulary) == {"[PAD]", "[UNK]", "rt", ":", "so", "happy", "!", "😀"}


def test_a_text_that_is_stripped_completely_is_masked():
    batch = build(["good"], STRIPS)(text=["@user #tag https://t.co/a", "good"])
    assert batch["attention_mask"].tolist() == [[0], [1]]


def test_steps_work_with_any_tokenizer(backbones):
    processor = build([], STRIPS, backbones["bert"], backbones["vit"])
    words = " ".join(tiny.WORDS[:3])
    with_link, without_link = processor(text=f"{words} https://t.co/a"), processor(text=words)
    assert torch.equal(with_link["input_ids"], without_link["input_ids"])


def test_your_own_step(monkeypatch):
    monkeypatch.setitem(TEXT_STEPS, "mine", lambda text: text.replace("|", " "))
    batch = build(["a|b"], ["mine"])(text="a|b|a")
    assert (batch["input_ids"] > 1).all()
    assert batch["attention_mask"].sum() == 3


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Good day! Bad day.", ["Good day! ", "Bad day."]),
        ('He said "no." Then (why?) he went...\nhome ', ['He said "no." ', "Then (why?) ", "he went...\n", "home "]),
        ("3.5 stars at www.a.b", ["3.5 stars at www.a.b"]),
        ("很好。“不错！”可以", ["很好。", "“不错！”", "可以"]),
        ("one\n\n two", ["one\n\n ", "two"]),
        ("... ", ["... "]),
        ("", [""]),
    ],
)
def test_sentences(text, sentences):
    places = [0, *sentence_starts(text), len(text)]
    assert [text[begin:end] for begin, end in zip(places, places[1:], strict=False)] == sentences

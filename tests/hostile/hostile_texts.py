"""Cases of texts and aspects."""

from hostile_case import Case

NOTHING, A_TEXT = "(neither text nor|no text, which)", "(is|pass) a string"


def text(name: str, value: object, says: str | None = None, **expected) -> Case:
    return Case(name, lambda folder: value, says, **expected)


# The processor takes an empty text beside other parts; what says nothing is refused where a score would be given.
EMPTY = {"processor_text": None}
TEXTS = [
    text("empty", "", NOTHING, at=EMPTY),
    text("blank", " \t\r\n\u3000\u2028 ", NOTHING, at=EMPTY),
    text("None", None, NOTHING, at={"processor_text": "Pass text, images or both"}),
    text("one word", "good"),
    text("NUL", "\0"),
    text("NUL inside", "good\0day"),
    text("lone surrogate", "\ud83d"),
    text("surrogates of no order", "\udc00\ud800 good"),
    text("escaped byte", "caf\udce9 good"),
    text("noncharacters", "\uffff\ufffe\U0010ffff good"),
    text("private use", "\ue000\U000f0000"),
    text("replacement characters", "\ufffd" * 1000),
    text("a million words", "good " * 200_000),
    text("a word of a million letters", "x" * 1_000_000),
    text("a million combining marks", "e" + "\u0301" * 1_000_000),
    text("a million Chinese characters", "好" * 1_000_000),
    text("a million emoji", "😀" * 200_000),
    text("only combining marks", "\u0301\u0302"),
    text("right to left", "\u202eיום טוב\u202c"),
    text("unclosed direction", "\u2067good" * 99),
    text("joined emoji", "👨‍👩‍👧‍👦🏳️‍🌈"),
    text("only joiners", "\u200d\u200d\u200b\ufe0f good"),
    text("control characters", "".join(map(chr, range(1, 32))) + "good\x7f\x85"),
    text("line ends", "good\r\n\v\f\u2028\u2029\x85day"),
    text("byte order mark", "\ufeffgood"),
    text("markup", "<script>alert('x')</script><img src=x onerror=alert(1)> &amp; good"),
    text("template", "{{ 7 * 7 }} {% include 'x' %} ${7*7} %s %n {0.__class__} good"),
    text("special tokens", "[PAD] [CLS] [SEP] [MASK] <s> </s> <pad> good"),
    text("formula", '=HYPERLINK("http://127.0.0.1","x") good'),
    text("an address", "http://127.0.0.1:9/x?y=" + "z" * 100_000),
    text("digits", "9" * 100_000 + " " + "1e999999999"),
    text("zalgo", "".join(f"{letter}{chr(0x300 + i) * 50}" for i, letter in enumerate("good day"))),
    text("bytes", b"good", A_TEXT),
    text("int", 3, A_TEXT),
    text("float NaN", float("nan"), A_TEXT, at={"predict_text": NOTHING}),
    text("bool", True, A_TEXT),
    text("dictionary", {"text": "good"}, A_TEXT),
    text("list of a number", [3], A_TEXT),
    text("empty list", [], "empty|" + A_TEXT),
    text("nested list", [["good"]], A_TEXT),
]
NEEDED = "needs the key 'aspect'|give --aspect"
ASPECTS = [
    text("None", None, NEEDED, at={"processor_aspect": None}),
    text("empty", "", NEEDED, at={"processor_aspect": None}),
    text("blank", " \u3000\t", NEEDED, at={"processor_aspect": None}),
    text("one word", "coffee"),
    text("of another language", "屏幕 效果"),
    text("NUL", "\0"),
    text("lone surrogate", "\ud83d"),
    text("long", "coffee " * 100_000),
    text("one long word", "x" * 1_000_000),
    text("emoji", "👨‍👩‍👧‍👦"),
    text("combining marks", "\u0301" * 1000),
    text("markup", "<b>coffee</b>"),
    text("bytes", b"coffee", A_TEXT),
    text("int", 3, A_TEXT),
    text("float NaN", float("nan"), A_TEXT, at={"predict_aspect": NEEDED}),
    text("list", ["coffee", 3], A_TEXT),
    text("dictionary", {"a": "coffee"}, A_TEXT),
]

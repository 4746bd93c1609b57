"""The word tokenizer, and files of word vectors."""

import pytest
import tiny
import torch

from mmsent.modeling.common_word_vectors import build_word_tokenizer, read_word_vectors

GLOVE = ["good 1 2 3", "at name@domain.com 9 9 9", "day -1 0.5 2e-1", "elsewhere 5 5 5"]


@pytest.fixture
def tokenizer():
    return build_word_tokenizer(["good good good day day rain"])


@pytest.fixture
def write(tmp_path):
    """A function that writes lines to a file and returns its path."""

    def write(*lines: str):
        path = tmp_path / "vectors.txt"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def words(tokenizer, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def test_words_of_a_tweet():
    text = "RT @user_1: Don't MISS #love-it https://t.co/a?b=1 well-made 😀!"
    expected = ["rt", "@user_1", ":", "don't", "miss", "#love-it", "https://t.co/a?b=1", "well-made", "😀", "!"]
    assert words(build_word_tokenizer([text]), text) == expected


def test_words_that_are_cut_already_stay_as_they_are(write):
    """These words of Multi-ZOL have vectors in the files for Chinese, and are words of other letters by default."""
    cut = ["iPhone", "５．５", "2.0", "ＨＴＣ", "【", "^_^", "屏幕/效果"]
    path = write(*(f"{word} {index} 1 2" for index, word in enumerate(cut)))
    tokenizer = build_word_tokenizer([" ".join(cut)], pre_cut=True)
    assert words(tokenizer, "  ".join([*cut, "iphone"])) == [*cut, "[UNK]"]
    assert read_word_vectors(path, tokenizer, 3)[1] == len(cut)
    assert read_word_vectors(path, build_word_tokenizer([" ".join(cut)]), 3)[1] == 1


def test_the_vocabulary_has_the_most_frequent_words():
    texts = ["b b b a a c", "d c"]
    tokenizer = build_word_tokenizer(texts, vocab_size=5)
    assert tokenizer.get_vocab() == build_word_tokenizer(iter(texts), vocab_size=5).get_vocab()
    assert tokenizer.get_vocab() == build_word_tokenizer(texts[::-1], vocab_size=5).get_vocab()
    assert set(tokenizer.get_vocab()) == {"[PAD]", "[UNK]", "a", "b", "c"}
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert words(tokenizer, "a d e") == ["a", "[UNK]", "[UNK]"]


@pytest.mark.parametrize("header", [[], ["4 3"]], ids=["glove", "word2vec"])
def test_vectors_of_the_vocabulary(write, tokenizer, header):
    torch.manual_seed(0)
    table, count = read_word_vectors(write(*header, *GLOVE), tokenizer, 3)
    ids = tokenizer.get_vocab()
    assert count == 2
    assert table.shape == (len(tokenizer), 3)
    assert table[ids["good"]].tolist() == [1, 2, 3]
    torch.testing.assert_close(table[ids["day"]], torch.tensor([-1, 0.5, 0.2]))
    assert table[tokenizer.pad_token_id].tolist() == [0, 0, 0]
    assert table[ids["rain"]].abs().sum() > 0


def test_words_that_the_file_does_not_have_get_its_spread(write):
    names = [f"w{index}" for index in range(400)]
    tokenizer = build_word_tokenizer([" ".join(names)])
    torch.manual_seed(0)
    vectors = (3 * torch.randn(200, 10)).tolist()
    path = write(*(f"{name} {' '.join(map(str, row))}" for name, row in zip(names[:200], vectors, strict=True)))
    table, _ = read_word_vectors(path, tokenizer, 10)
    ids = tokenizer.get_vocab()
    random = torch.stack([table[ids[name]] for name in names[200:]])
    assert random.std().item() == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["4 50", *GLOVE], "line 1: 50 numbers per word, but the model expects 3"),
        (["good 1 2 3", "day 1 2"], "line 2: 2 numbers"),
        (["good 1 2 3", "day 1 2 3 4"], "line 2: 4 numbers"),
        (["good 1 2 3", "day 1 two 3"], "line 2: could not convert string to float"),
        (["good 1 2 3", "day 1 nan 3"], "line 2: a value is NaN or infinity"),
        (["good 1 1e39 3"], "line 1: a value is NaN or infinity"),
        (["other 1 2 3"], "has none of the tokenizer's 5 words"),
        ([], "line 1: 0 numbers"),
    ],
)
def test_a_broken_file_is_named_with_its_line(write, tokenizer, lines, message):
    path = write(*lines)
    with pytest.raises(ValueError, match=message) as error:
        read_word_vectors(path, tokenizer, 3)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_model_starts_from_the_file(write, backbones, freeze):
    path = write("good 1 2 3", "day 4 5 6")
    kwargs = {"word_vectors": path, "text_hidden_size": 3, "freeze_text": freeze}
    processor, model = tiny.build("comn", "own", backbones, **kwargs)
    weight = model.comn.text_encoder.backbone.weight
    ids = processor(text="good day")["input_ids"][0]
    assert weight[ids].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert weight.requires_grad != freeze


def test_word_vectors_do_not_fit_a_transformer(write, backbones):
    with pytest.raises(ValueError, match="needs the text encoder 'word_vectors'"):
        tiny.build("comn", "transformers", backbones, word_vectors=write(*GLOVE))

"""Words of training texts that are replaced by synonyms."""

import sys

import pytest
import torch

from mmsent.training.augmentation import AugmentedPosts
from mmsent.training.checks import check_model
from mmsent.training.recipes import parse_arguments
from mmsent.training.synonyms import load_synonyms, replace_words


@pytest.fixture
def groups(tmp_path):
    path = tmp_path / "synonyms.txt"
    path.write_text("good, fine, great\nfine, penalty\n\nBig, large\nlonely\nice cream, sorbet\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def no_wordnet(monkeypatch):
    """Let NLTK find nothing."""
    nltk = pytest.importorskip("nltk")
    loader = nltk.corpus.LazyCorpusLoader("wordnet", nltk.corpus.WordNetCorpusReader, None)
    monkeypatch.setattr(nltk.corpus, "wordnet", loader)  # the usual one keeps what it has found
    monkeypatch.setattr(nltk.data, "path", [])
    load_synonyms.cache_clear()
    yield
    load_synonyms.cache_clear()


@pytest.fixture
def wordnet(no_wordnet, tmp_path, monkeypatch):
    """Let NLTK find a WordNet of three synsets: {happy, glad}, {day, twenty-four hours}, {have, possess}."""
    folder = tmp_path / "nltk_data" / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    synsets = {"a": ["happy", "glad"], "n": ["day", "twenty-four_hours"], "v": ["have", "possess"]}
    for part, name in zip("nvar", ("noun", "verb", "adj", "adv"), strict=True):
        words = synsets.get(part, [])
        frames = "01 + 02 00 " if part == "v" else ""
        listed = " ".join(f"{word} 0" for word in words)
        (folder / f"data.{name}").write_text(
            f"00000000 00 {part} {len(words):02x} {listed} 000 {frames}| a synset  \n" if words else ""
        )
        (folder / f"index.{name}").write_text("".join(f"{word} {part} 1 0 1 0 00000000  \n" for word in words))
        (folder / f"{name}.exc").write_text("")
    for name in ("index.sense", "cntlist.rev"):
        (folder / name).write_text("")
    (folder / "lexnames").write_text("00\tadj.all\t3\n")
    monkeypatch.setattr("nltk.data.path", [str(tmp_path / "nltk_data")])


def test_groups_of_a_file(groups):
    synonyms = load_synonyms(groups)
    assert synonyms == {
        **{"good": ["fine", "great"], "fine": ["good", "great", "penalty"], "great": ["good", "fine"]},
        **{"penalty": ["fine"], "big": ["large"], "large": ["Big"], "sorbet": ["ice cream"]},
    }


def test_a_tenth_of_the_words_is_replaced(groups):
    torch.manual_seed(0)
    words = replace_words(" ".join(["good"] * 3000), load_synonyms(groups)).split()
    assert len(words) == 3000
    assert 230 < words.count("fine") + words.count("great") < 370
    assert min(words.count("fine"), words.count("great")) > 100


def test_only_words_change(groups, monkeypatch):
    monkeypatch.setattr("mmsent.training.synonyms.SHARE", 1.0)
    text = 'Big "big!" @big #big https://big.com/big $T$ biggest (big), a\n sorbet?'
    expected = 'Large "large!" @big #big https://big.com/big $T$ biggest (large), a\n ice cream?'
    assert replace_words(text, load_synonyms(groups)) == expected


def test_training_posts_change_anew_in_every_epoch(groups):
    rows = [{"id": "1", "text": "a good day " * 20, "images": []}, {"id": "2", "text": None, "images": []}]

    def read(seed: int) -> list[str]:
        posts = AugmentedPosts(rows, [], None, seed, groups)
        assert posts[1]["text"] is None
        texts = []
        for epoch in range(5):
            posts.set_epoch(epoch)
            texts.append(posts[0]["text"])
        return texts

    assert len(set(read(0))) == 5
    assert read(0) == read(0) != read(1)


@pytest.mark.filterwarnings("ignore:The multilingual functions")
def test_synonyms_of_wordnet(wordnet):
    """Stop words stay: WordNet also has what they mean as units or letters."""
    synonyms = {"day": ["twenty-four hours"], "possess": ["have"], "happy": ["glad"], "glad": ["happy"]}
    assert load_synonyms("wordnet") == synonyms


def check(*argv: str) -> None:
    check_model(*parse_arguments(list(argv), ""))


def test_missing_sources_are_named(no_wordnet, tmp_path, monkeypatch):
    (tmp_path / "words.txt").write_text("good\nbad\n")
    with pytest.raises(ValueError, match=r"synonyms=.*words\.txt: the file has no line with two words"):
        check("--synonyms", str(tmp_path / "words.txt"))
    with pytest.raises(ValueError, match=r"synonyms=nothing\.txt: .*No such file"):
        check("--synonyms", "nothing.txt")
    with pytest.raises(ValueError, match=r"NLTK does not find WordNet: run `python -m nltk\.downloader wordnet`"):
        check("--synonyms", "wordnet")
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    with pytest.raises(ValueError, match=r'synonyms=wordnet: NLTK reads WordNet: pip install -e "\.\[synonyms\]"'):
        check("--synonyms", "wordnet")

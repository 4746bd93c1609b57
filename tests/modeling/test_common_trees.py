"""Trees: from parses and balanced, and their layout."""

import pytest

from mmsent.modeling.common_trees import balanced_tree, lay_out, parsed_tree

PARSE = "(S (NP (DT the) (NN day)) (VP (VBD was) (ADJP (RB so) (JJ good))) (. !))"
TEXT = "the day was so good!"


def as_nested(tree, child: int | None = None):
    """Return a tree as nested pairs of tokens."""
    child = ~(len(tree) - 1) if child is None else child
    return child if child >= 0 else tuple(as_nested(tree, part) for part in tree[~child])


def words_of(text: str) -> list[tuple[int, int]]:
    """Return the offsets of words between blanks, where the last sign of a word that is not a letter stands alone."""
    offsets, end = [], 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        parts = [(start, end)] if word.isalpha() else [(start, end - 1), (end - 1, end)]
        offsets += parts
    return offsets


@pytest.mark.parametrize(
    ("count", "expected"),
    [(2, (0, 1)), (3, ((0, 1), 2)), (5, (((0, 1), (2, 3)), 4)), (6, (((0, 1), (2, 3)), (4, 5)))],
)
def test_a_balanced_tree(count, expected):
    assert as_nested(balanced_tree(count)) == expected
    assert balanced_tree(1) == balanced_tree(0) == ()


def test_a_parse_is_made_binary_from_the_right():
    assert as_nested(parsed_tree(PARSE, TEXT, words_of(TEXT))) == ((0, 1), ((2, (3, 4)), 5))
    assert as_nested(parsed_tree("((NN (X a)) (b c)) (S (d e))", "a c e", [(0, 1), (2, 3), (4, 5)])) == ((0, 1), 2)


def test_tokens_belong_to_words():
    """The tokens are [CLS], th, e, daywas (of two words), so, [SEP]; the rest of the text is cut."""
    text = "the daywas so good!"
    offsets = [(0, 0), (0, 2), (2, 3), (4, 10), (11, 13), (0, 0)]
    assert as_nested(parsed_tree(PARSE, text, offsets)) == ((((0, 1), 2), 3), (4, 5))
    assert parsed_tree(PARSE, text, [(0, 3)]) == []


def test_escaped_brackets_and_quotation_marks():
    parse, text = "(S (-LRB- -LRB-) (NN a) (-RRB- -RRB-) (`` ``) (NN b) ('' ''))", '(a) "b"'
    assert len(parsed_tree(parse, text, [(place, place + 1) for place in (0, 1, 2, 4, 5, 6)])) == 5


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        ("the day", "'the' stands outside of the brackets"),
        ("(S (DT the)", "does not close 1 of its brackets"),
        ("(S (DT the)))", "closes a bracket that was not opened"),
        (")", "begins with a closing bracket"),
        ("(S (DT the) (NN))", "a bracket has no word"),
        ("(S (DT the) (NN night))", "its word 2 is 'night', but the text goes on with 'day was so good!'"),
        ("(S (DT the) (NN day))", "it ends before 'was so good!'"),
    ],
)
def test_a_parse_of_another_text_is_refused(parse, message):
    with pytest.raises(ValueError, match=message):
        parsed_tree(parse, TEXT, words_of(TEXT))


def test_a_deep_parse_is_read_without_recursion():
    count = 3000
    parse, text = "(A a " * count + ")" * count, "a " * count
    tree = parsed_tree(parse, text, [(2 * place, 2 * place + 1) for place in range(count)])
    assert lay_out([tree])[0, -1].tolist() == [0, ~(count - 3), count - 1]


def test_the_layout_has_the_slots_of_a_level_together():
    trees = [((0, 1), (2, 3), (~0, ~1)), (), ((1, 2), (0, ~0), (~1, 3))]
    first, empty, third = lay_out(trees).tolist()
    assert first == [[0, 1, 1], [2, 3, 1], [~0, ~1, 2], [0, 0, 0]]
    assert empty == [[0, 0, 0]] * 4
    assert third == [[1, 2, 1], [0, 0, 0], [0, ~0, 2], [~2, 3, 3]]
    assert lay_out([()]).tolist() == [[[0, 0, 0]]]

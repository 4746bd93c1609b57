"""The labels of a corpus and those of a model."""

import pytest

from mmsent.evaluation.labels import match_labels, parse_label_map

MODEL = ["negative", "neutral", "positive"]


def test_case_and_blanks_do_not_matter():
    assert match_labels(["Positive ", "NEGATIVE", "neu tral"], MODEL, {}, [0, 1, 2]) == ([2, 0, 1], [])


def test_a_corpus_may_lack_labels_of_the_model():
    indices, notes = match_labels(["positive", "negative"], MODEL, {}, [0, 1])
    assert indices == [2, 0]
    assert notes == ["the corpus does not have the label neutral of the model"]


def test_several_labels_of_the_corpus_may_be_one_of_the_model():
    label_map = parse_label_map(["happy=positive", "VERY happy=Positive", "no=negative"])
    indices, notes = match_labels(["very happy", "happy", "no", "neutral"], MODEL, label_map, range(4))
    assert indices == [2, 2, 0, 1]
    assert "happy counts as positive" in notes


def test_a_label_that_no_post_has_needs_no_partner():
    assert match_labels(["positive", "mixed"], MODEL, {}, [0])[0] == [2, None]


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({}, "the model does not know the label mixed. The labels of the corpus are positive, mixed; those of the "),
        ({"mixed": "nothing"}, "mixed=nothing names no label of the model"),
        ({"nothing": "neutral"}, "nothing=neutral names no label of the corpus"),
    ],
)
def test_unknown_labels_are_an_error_that_lists_both_sides(label_map, message):
    with pytest.raises(ValueError, match="those of the model are negative, neutral, positive") as error:
        match_labels(["positive", "mixed"], MODEL, label_map, [0, 1])
    assert message in str(error.value)


def test_a_word_of_another_form_is_refused():
    with pytest.raises(ValueError, match="does not have the form CORPUS_LABEL=MODEL_LABEL"):
        parse_label_map(["positive"])

"""Columns are found by usual names, or chosen; a doubt is an error."""

import pytest

from mmsent.dataset_scripts.common_columns import FIELDS, find_columns, missing_columns

COMMON = {"id": "id", "text": "post", "group": "group", "split": "fold", "label": "class"}


def found(available: str, **chosen) -> dict:
    columns = find_columns(available.split(","), chosen, FIELDS, "posts.csv")
    return {field: names for field, names in columns.items() if names}


@pytest.mark.parametrize(
    ("available", "chosen", "expected"),
    [
        ("tweet,photo,sentiment", {}, {"text": "tweet", "images": ["photo"], "label": "sentiment"}),
        ("Tweet, Image Path ,POLARITY", {}, {"text": "Tweet", "images": [" Image Path "], "label": "POLARITY"}),
        ("text,title,image", {}, {"text": "text", "images": ["image"]}),
        ("image_2,image_1,image10", {}, {"images": ["image_1", "image_2", "image10"]}),
        ("image,image2,images_dir", {}, {"images": ["image", "image2"]}),
        ("target,words", {"text": "words", "label": "target"}, {"text": "words", "label": "target"}),
        ("a,b,text", {"images": ["a", "b"]}, {"text": "text", "images": ["a", "b"]}),
        ("text,target", {"aspect": "none"}, {"text": "text"}),
        ("Title,Caption,Sentiment,Emotion", {}, {"text": "Title", "caption": "Caption", "label": "Sentiment"}),
        ("id,post,group,fold,class", {}, COMMON),
    ],
)
def test_columns(available, chosen, expected):
    assert found(available, **chosen) == expected


@pytest.mark.parametrize(
    ("available", "chosen", "message"),
    [
        ("tweet,post", {}, "posts.csv: tweet, post may each be the text; choose with --text_column"),
        ("Photo,photo", {}, "Photo, photo may each be the images; choose with --image_columns"),
        ("tweet,mood", {"label": "Moood"}, r"no column Moood; its columns are tweet, mood \(did you mean mood\?\)"),
    ],
)
def test_doubts(available, chosen, message):
    with pytest.raises(ValueError, match=message):
        found(available, **chosen)


def test_a_missing_column_names_the_nearest():
    error = missing_columns(("text", "images"), ["nr", "txet"], "posts.csv")
    assert str(error) == (
        "posts.csv has no column text, images or image; its columns are nr, txet (did you mean txet?). Choose one "
        "with --text_column or --image_columns."
    )

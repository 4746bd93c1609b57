"""Any bytes and any damaged text: a reader gives what the file holds, or an error that a user can correct."""

import csv
import io
import json

import pytest
import tiny
from hostile_corpora import FILES, RELEASES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsent.dataset_scripts import load_corpus
from mmsent.dataset_scripts.common_arguments import USER_ERRORS
from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.dataset_scripts.common_posts import open_posts
from mmsent.modeling.common_images import BadImageError, load_image

READERS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
FEW = settings(READERS, max_examples=12)
CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def says(error: Exception, *names: str) -> None:
    """Check that an error has a message, which holds one of the names."""
    assert str(error)
    assert not names or any(name in str(error) for name in names), error


def rows_of(path) -> list:
    try:
        posts = open_posts(path)
        rows = [row for _, row in posts]
        for row in rows:
            posts.id_of(row)
            try:
                posts.post(row)
            except ValueError as error:
                says(error)
    except USER_ERRORS as error:
        says(error)
        return []
    return rows


@pytest.mark.parametrize("name", ["posts.csv", "posts.tsv", "posts.jsonl", "posts.parquet"])
@given(content=st.binary(max_size=300), header=st.booleans())
@READERS
def test_any_bytes_as_a_table(name, content, header, tmp_path):
    (tmp_path / name).write_bytes((b"text,id\n" if header else b"") + content)
    rows_of(tmp_path / name)


@given(
    cells=st.lists(CELLS, min_size=1, max_size=8), damage=st.text('",\n\r; [', max_size=30), place=st.integers(0, 8)
)
@READERS
def test_rows_beside_a_damaged_line(cells, damage, place, tmp_path):
    """A line of delimiters and quotes leaves the rows before it as they are."""
    lines = []
    for cell in cells:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow([cell, "x"])
        lines.append(buffer.getvalue())
    place = min(place, len(lines))
    (tmp_path / "posts.csv").write_text("text,id\n" + "".join(lines[:place]) + damage, encoding="utf-8", newline="")
    rows = rows_of(tmp_path / "posts.csv")
    assert [row["text"] for row in rows[:place]] == cells[:place]


@given(
    values=st.lists(st.dictionaries(CELLS, CELLS | st.none() | st.integers(), min_size=1), max_size=6), damage=CELLS
)
@READERS
def test_objects_beside_a_damaged_line(values, damage, tmp_path):
    objects = [value | {"text": "good day"} for value in values]
    lines = [json.dumps(value) for value in objects]
    damage = damage.replace("\n", "").replace("\r", "")
    (tmp_path / "posts.jsonl").write_text("\n".join([lines[0] if lines else "{}", "]" + damage, *lines[1:]]))
    rows = rows_of(tmp_path / "posts.jsonl")
    if objects:
        assert [row for row in rows if not isinstance(row, ValueError)] == objects


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@given(content=st.binary(max_size=200), share=st.floats(0, 1))
@READERS
def test_any_bytes_after_a_valid_beginning(kind, content, share):
    buffer = io.BytesIO()
    tiny.picture(0).save(buffer, kind)
    valid = buffer.getvalue()
    try:
        assert load_image({"bytes": valid[: int(len(valid) * share)] + content}).mode == "RGB"
    except BadImageError as error:
        says(error)


@pytest.mark.parametrize(("corpus", "file"), FILES)
@given(place=st.floats(0, 1), piece=st.binary(max_size=8), cut=st.integers(0, 8))
@FEW
def test_a_damaged_file_of_a_corpus(corpus, file, place, piece, cut, tmp_path_factory):
    """Posts, or an error that names the file."""
    folder = RELEASES[corpus](tmp_path_factory.mktemp("release") / corpus)
    content = (folder / file).read_bytes()
    at = int(len(content) * place)
    (folder / file).write_bytes(content[:at] + piece + content[at + cut :])
    try:
        for posts in load_corpus(corpus, data_dir=folder, streaming=True).values():
            assert all(post["id"] for post in undecoded({"x": posts})["x"])
    except USER_ERRORS as error:
        says(error, file.rpartition("/")[2], str(folder))

"""Thumbnails and the history of a session, as HTML."""

import tiny

from mmsent.demo import parts


def test_thumbnails_have_names_and_a_bad_file_says_so(tmp_path):
    tiny.picture(0, 400, 300).save(tmp_path / "<b>.png")
    (tmp_path / "notes.jpg").write_text("no image")
    pictures = parts.make_thumbnails([tmp_path / "<b>.png", tmp_path / "notes.jpg"])
    page = parts.render("thumbnails", pictures, 3)
    assert 'alt="&lt;b&gt;.png"' in page
    assert "notes.jpg: this is not an image" in page
    assert "3 more" in page
    assert len(pictures[0][1]) < 10_000
    assert parts.render("thumbnails", [], 0).strip() == ""


def test_the_history_is_newest_first_escaped_and_bounded():
    entries = []
    for number in range(parts.MAX_HISTORY + 5):
        before = list(entries)
        text = f"<i>post {number}</i>" + "x" * 10_000
        new, page = parts.remember(entries, text, "coffee", [("a.png", "QUJD")] * 5, f"positive {number}%")
        assert entries == before  # The state of another request of the session must not change.
        entries = new
    assert len(entries) == page.count('class="pictures"') == parts.MAX_HISTORY
    assert page.index(f"positive {number}%") < page.index(f"positive {number - 1}%")
    assert f"&lt;i&gt;post {number}" in page
    assert "positive 4%" not in page
    assert len(page) < 1000 * parts.MAX_HISTORY
    assert page.count("<img") == 2 * parts.MAX_HISTORY


def test_sessions_have_histories_of_their_own():
    one, _ = parts.remember([], "mine", None, [], "positive 90%")
    _, page = parts.remember([], None, None, [], "negative 80%")
    assert "mine" in one[0]["text"]
    assert "mine" not in page
    assert "(no text)" in page


def test_a_table_shows_the_first_rows():
    rows = [[number, f"<b>{number}", "positive", "", 0.25] for number in range(1, 151)]
    columns = ["row", "text", "prediction", "error", "score_a"]
    page = parts.render("predictions", columns, rows, [[("a.png", "Q")]] * 100)
    assert "The first 100 of 150 rows" in page
    assert page.count("<tr>") == 101
    assert "&lt;b&gt;100" in page
    assert "&lt;b&gt;101" not in page
    assert page.count('alt="a.png"') == 100

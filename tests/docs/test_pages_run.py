"""Every command and snippet of the pages runs as it stands, in a fresh folder."""

import shutil

import pages
import pytest
from tiny import ROOT

RUN = [page for page in pages.PAGES[1:] if any(block.not_run is None for block in pages.blocks(page))]


@pytest.mark.slow
def test_the_readme_leaves_what_it_says(after_readme):
    for name in ("runs/sample_posts-comn/model.safetensors", "runs/posts-comn/run.json", "predictions.csv"):
        assert (after_readme / name).stat().st_size > 100, name
    for name in ("explanation.html", "my_predictions.csv", "my_explanation.html", "my_upload/README.md"):
        assert (after_readme / name).stat().st_size > 100, name


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_runs(page, request, tmp_path):
    continues = pages.CONTINUES in page.read_text(encoding="utf-8")
    start = request.getfixturevalue("after_readme" if continues else "checkout")
    shutil.copytree(start, tmp_path / "folder")
    pages.run_page(page, tmp_path / "folder")


def test_pages_that_need_the_readme_say_so():
    assert {"predict", "explain", "publish", "serve", "train"} <= {page.stem for page in RUN}
    for page in RUN:
        uses = any("runs/sample_posts-comn" in block.text for block in pages.blocks(page) if not block.not_run)
        assert uses <= (pages.CONTINUES in page.read_text(encoding="utf-8")), page.name


def test_a_failing_block_fails(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```bash\npip install nothing && touch made\nfalse\n```\n")
    with pytest.raises(AssertionError, match="false"):
        pages.run_page(page, tmp_path)
    assert (tmp_path / "made").exists()


def test_blocks_know_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs a GPU -->\n```bash\na \\\n  b\n```\n\n<!-- background: http://127.0.0.1:1 -->\n"
        "```bash\npip install x && c\n```\n```python\nd\n```\n"
    )
    gpu, server, code = pages.blocks(page)
    assert (gpu.not_run, pages.commands(gpu)) == ("needs a GPU", ["a    b"])
    assert (server.not_run, server.background, pages.commands(server)) == (None, "http://127.0.0.1:1", ["c"])
    assert (code.language, code.text) == ("python", "d\n")


def test_install_words_alone_are_left_out():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.endswith("accelerate launch train.py")]
    assert pages.INSTALLS.sub("", line) == "accelerate launch train.py"

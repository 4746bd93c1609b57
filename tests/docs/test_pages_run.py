"""Every command and snippet of the pages runs as it stands, in a fresh folder."""

import itertools
import json
import shutil

import pages
import pandas as pd
import pytest
from datasets import load_dataset
from tiny import ROOT

RUN = [page for page in pages.PAGES[1:] if any(block.not_run is None for block in pages.blocks(page))]


@pytest.mark.slow
def test_the_readme_leaves_what_it_says(after_readme):
    for name in ("runs/sample_posts-comn/model.safetensors", "runs/posts-comn/run.json", "predictions.csv"):
        assert (after_readme / name).stat().st_size > 100, name
    check_outputs(pages.PAGES[0], (after_readme / "printed.log").read_text(encoding="utf-8"))
    for name in ("explanation.html", "my_predictions.csv", "my_explanation.html", "my_upload/README.md"):
        assert (after_readme / name).stat().st_size > 100, name


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_runs(page, request, tmp_path):
    continues = pages.CONTINUES in page.read_text(encoding="utf-8")
    start = request.getfixturevalue("after_readme" if continues else "checkout")
    shutil.copytree(start, tmp_path / "folder")
    if page.stem == "own_posts":
        write_own_posts(tmp_path / "folder")
    printed = pages.run_page(page, tmp_path / "folder")
    check_outputs(page, printed)


def check_outputs(page, printed):
    """Check that a page shows what its commands print, apart from the numbers."""
    printed = {pages.without_numbers(line) for line in printed.splitlines()}
    assert [line for line in pages.outputs(page) if line not in printed] == []


def write_own_posts(folder):
    """Write what the page asks of its reader: a table of 200 posts with pictures, and a table of new posts."""
    posts, pictures = load_dataset("sample_posts"), itertools.count(1)
    (folder / "pictures").mkdir()
    for name, few in (("posts", posts["train"].shuffle(seed=0).select(range(200))), ("new", posts["test"].take(20))):
        rows = []
        for post in few:
            picture = f"pictures/{next(pictures)}.jpg" if post["images"] else ""
            for image in post["images"]:
                image.convert("RGB").save(folder / picture)
            label = few.features["label"].int2str(post["label"])
            rows.append({"tweet": post["text"], "photo": picture, "sentiment": label})
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


@pytest.mark.slow
def test_own_posts_take_seven_commands_from_a_table_to_a_demo(checkout, tmp_path):
    """The first blocks of the page about one's own posts, in a folder that has the table and nothing else."""
    folder = tmp_path / "folder"
    shutil.copytree(checkout, folder)
    write_own_posts(folder)
    first, demo = pages.blocks(pages.ROOT / "docs" / "own_posts.md")[:2]
    assert demo.background is not None
    assert len(pages.commands(first)) + len(pages.commands(demo)) <= 7
    page = folder / "page.md"
    page.write_text(f"```bash\n{first.text}```\n<!-- background: {demo.background} -->\n```bash\n{demo.text}```\n")
    pages.run_page(page, folder)
    run = json.loads((folder / "runs/posts-comn/run.json").read_text())
    assert sum(run["posts"].values()) == 200
    assert len(pd.read_csv(folder / "predictions.csv")) == 20
    for name in ("runs/posts-comn/report.html", "why.html", "upload/README.md", "upload/model.safetensors"):
        assert (folder / name).stat().st_size > 1000, name


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


def test_outputs_are_compared_without_numbers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\na\n```\n\n```\n{'score': 0.25, 'x': 3e-05}\n\n```\n"
        "<!-- example -->\n```\nb\n```\n```{image} c\nd\n```\n"
    )
    assert pages.outputs(page) == ["{'score': #, 'x': #}", ""]
    check_outputs(page, "{'score': 1,   'x': 0.5}\n\n")
    with pytest.raises(AssertionError):
        check_outputs(page, "{'value': 1, 'x': 0.5}\n\n")


def test_install_words_alone_are_left_out():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.endswith("accelerate launch train.py")]
    assert pages.INSTALLS.sub("", line) == "accelerate launch train.py"

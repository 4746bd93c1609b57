"""Test the demo as a person uses it: in a real browser on the running page."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import pytest
import tiny
from accessibility import cut_off, findings, needs_chromium
from local_hub import Hub, Repository, environment, push

pytestmark = [pytest.mark.slow, needs_chromium, pytest.mark.xdist_group("demo")]


@contextmanager
def serving(command: list[str], folder: Path, env: dict[str, str] | None = None) -> Iterator[str]:
    """Run a command that shows the demo in a folder, write its output to `log` there, and yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *command, "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(360):
            try:
                urlopen(url, timeout=20).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module", params=["comn", "mimn"])
def demo(request, backbones, tmp_path_factory):
    """Run the demo of a model that reads posts, and of one that also reads an aspect and several images."""
    folder = tmp_path_factory.mktemp("demo")
    model = save(folder / "model", request.param, backbones)
    with serving(["-m", "mmsent", "demo", "--model", str(model)], folder) as url:
        yield SimpleNamespace(url=url, architecture=request.param)


def save(folder: Path, architecture: str, backbones: dict[str, str]) -> Path:
    for part in tiny.build(architecture, "own", backbones, aspects=["coffee", "the cafe"]):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def page(browser, demo):
    page = browser.new_page(viewport={"width": 1200, "height": 1400})
    page.set_default_timeout(60_000)
    page.requested = []
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(demo.url)
    page.locator("#text textarea").wait_for()
    yield page
    page.close()


def images(folder: Path, count: int) -> list[str]:
    paths = [folder / f"image {number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        tiny.picture(number).save(path)
    return [str(path) for path in paths]


def upload(page, box: str, paths: list[str]) -> None:
    page.locator(f"{box} input[type=file]").set_input_files(paths)
    for path in paths:  # The box lists the uploaded files and splits long names.
        page.locator(box).get_by_text(Path(path).stem[:6]).first.wait_for()


def test_a_post_is_predicted_and_explained(page, demo, tmp_path):
    aspects = demo.architecture == "mimn"
    page.locator("#text textarea").fill("the coffee was <b>good</b> 😀 咖啡")
    upload(page, "#images", images(tmp_path, 2 if aspects else 1))
    if aspects:
        page.locator("#aspect input").fill("cof")
        page.get_by_role("option", name="coffee").click()
    else:
        assert page.locator("#aspect").count() == 0
    page.locator("#analyse").click()
    reasons = page.locator("#reasons")
    reasons.get_by_text("without images", exact=True).wait_for()
    assert re.search(r"(negative|neutral|positive)\s+\d+%", page.locator("#scores").inner_text())
    assert reasons.get_by_text("without text", exact=True).is_visible()
    assert reasons.get_by_text("without image 2", exact=True).count() == aspects
    assert "coffee was <b>good</b> 😀 咖啡" in reasons.inner_text()
    assert reasons.locator("img").count() >= 2
    assert all(box["width"] > 50 for box in (image.bounding_box() for image in reasons.locator("img").all()))
    assert len(page.screenshot(path=tmp_path / "page.png", full_page=True)) > 20_000
    elsewhere = [url for url in page.requested if not url.startswith((demo.url, "data:", "blob:"))]
    assert not elsewhere


def test_the_keyboard_is_sufficient(page, demo):
    page.locator("#text textarea").focus()
    page.keyboard.type("so good")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "analyse":
            break
    page.keyboard.press("Enter")
    page.locator("#reasons").get_by_text("without text", exact=True).wait_for()
    page.locator("#text textarea").fill("so bad")
    page.keyboard.press("Shift+Enter")
    page.locator("#reasons .words").get_by_text("bad").first.wait_for()


def analyse_and_check(page, tmp_path, check) -> None:
    """Upload, analyse, take an example and analyse a table, and check the page after each."""
    check(page)
    page.locator("#text textarea").fill("a good day at the cafe " * 10)
    upload(page, "#images", images(tmp_path, 3))
    page.locator("#images_thumbnails img").nth(2).wait_for()
    page.locator("#analyse").click()
    page.locator("#reasons").get_by_text("without text", exact=True).wait_for()
    check(page)
    rows = "a good day,image 0.png;image 1.png,coffee\nbad,9.png,coffee\n"
    (tmp_path / "posts.csv").write_text(f"text,images,aspect\n{rows}")
    page.get_by_role("tab", name="A table of posts").click()
    upload(page, "#table", [str(tmp_path / "posts.csv")])
    upload(page, "#table_images", images(tmp_path, 2))
    page.locator("#table_images_thumbnails img").nth(1).wait_for()
    page.locator("#analyse_table").click()
    page.locator("#rows table").wait_for()
    page.locator("#download a[download]").first.wait_for()
    check(page)


# At a zoom of 200 %, a window of 1280 x 800 has 640 x 400 CSS pixels.
@pytest.mark.parametrize(("width", "height", "scale"), [(380, 800, 1), (640, 400, 2)], ids=["phone", "zoom"])
def test_the_page_fits_a_phone_and_a_zoom_of_200_percent(browser, demo, tmp_path, width, height, scale):
    page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
    page.set_default_timeout(60_000)
    page.goto(demo.url)
    page.locator("#text textarea").wait_for()

    def check(page) -> None:
        assert cut_off(page) == []

    analyse_and_check(page, tmp_path, check)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, demo, tmp_path, scheme):
    page = browser.new_page(color_scheme=scheme)
    page.set_default_timeout(60_000)
    page.goto(demo.url)
    page.locator("#text textarea").wait_for()

    def check(page) -> None:
        page.wait_for_timeout(500)  # Colours fade in.
        assert findings(page) == []

    analyse_and_check(page, tmp_path, check)
    page.close()


def test_uploads_have_thumbnails(page, demo, tmp_path):
    (tmp_path / "photo.jpg").write_text("<html>not found</html>")
    upload(page, "#images", [*images(tmp_path, 2), str(tmp_path / "photo.jpg")])
    shown = page.locator("#images_thumbnails")
    shown.get_by_text("photo.jpg: this is not an image").wait_for()
    assert [image.get_attribute("alt") for image in shown.locator("img").all()] == ["image 0.png", "image 1.png"]
    assert all(image.evaluate("image => image.naturalWidth") > 10 for image in shown.locator("img").all())


def test_an_example_is_taken_and_analysed(page, demo):
    page.locator("#example_2").click()
    page.locator("#images_thumbnails img").wait_for()
    assert (
        page.locator("#text textarea").input_value() == page.locator(".example").nth(1).locator("p").first.inner_text()
    )
    page.locator("#analyse").click()
    page.locator("#reasons").get_by_text("without text", exact=True).wait_for()


def test_a_session_has_a_history_that_no_other_sees(browser, page, demo):
    for text in ("so good", "so bad"):
        page.locator("#text textarea").fill(text)
        page.locator("#analyse").click()
        page.locator("#history").get_by_text(text).wait_for()
        page.locator("#reasons .words").get_by_text(text.split()[1]).first.wait_for()
    entries = [entry.inner_text() for entry in page.locator("#history .past > li").all()]
    assert len(entries) == 2
    assert "so bad" in entries[0]
    assert re.search(r"(negative|neutral|positive) \d+%", entries[0])
    other = browser.new_page()
    other.goto(demo.url)
    other.locator("#text textarea").fill("my own")
    other.locator("#analyse").click()
    other.locator("#history").get_by_text("my own").wait_for()
    assert other.locator("#history .past > li").count() == 1
    other.close()
    page.locator("#clear").click()
    page.locator("#history .past").wait_for(state="detached")


def test_a_file_that_is_not_an_image(page, demo, tmp_path):
    (tmp_path / "photo.jpg").write_text("<html>not found</html>")
    upload(page, "#images", [str(tmp_path / "photo.jpg")])
    page.locator("#analyse").click()
    message = page.get_by_text("photo.jpg: cannot identify an image")
    message.wait_for()
    assert "/" not in message.inner_text().replace("</", "")  # The message must not show folders of the server.


def test_a_table(page, demo, tmp_path):
    table = tmp_path / "posts.csv"
    table.write_text(
        "text,images,aspect\nthe coffee was good,image 0.png,coffee\na bad day,,coffee\nbroken,row,so,here\n"
        ",image 9.png,coffee\na secret,/etc/passwd,coffee\n",
        encoding="utf-8",
    )
    page.get_by_role("tab", name="A table of posts").click()
    upload(page, "#table", [str(table)])
    upload(page, "#table_images", images(tmp_path, 1))
    with page.expect_response(re.compile("queue/data")):
        page.locator("#analyse_table").click()
    link = page.locator("#download a[download]").first
    link.wait_for()
    with page.expect_download() as download:
        link.click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "row,text,prediction,error,score_negative,score_neutral,score_positive"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    assert re.fullmatch(r"1,the coffee was good,(negative|neutral|positive),(,[\d.e-]+){3}", lines[1])
    assert "4 columns where the header names 3" in lines[3]
    assert re.match(r'4,,,"?.*image 9.png', lines[4])
    assert "/tmp" not in lines[4]  # The message must not show folders of the server.
    assert "/etc/passwd is absolute" in lines[5]
    assert "root:" not in "".join(lines)
    assert page.locator("#rows").get_by_text("a bad day").is_visible()
    assert [image.get_attribute("alt") for image in page.locator("#rows img").all()] == ["image 0.png"]
    assert "posts.csv" in page.locator("#history").inner_text()


def test_a_space_runs_from_its_files(browser, backbones, tmp_path):
    """Push a Space, download its files and run them, with the model from the same Hub."""
    model = save(tmp_path / "model", "comn", backbones)
    with Hub() as hub:
        files = {path.name: path.read_bytes() for path in model.iterdir()}
        hub.repositories["model", "tester/model"] = Repository(False, files)
        push(hub, tmp_path / "home", "space", "tester/model", "--repo_id", "tester/demo")
        space = tmp_path / "space"
        space.mkdir()
        for name, content in hub.repositories["space", "tester/demo"].files.items():
            (space / name).write_bytes(content)
        env = environment(hub, tmp_path / "home", PYTHONPATH="")
        with serving(["app.py"], space, env) as url:
            page = browser.new_page()
            page.goto(url)
            page.locator("#text textarea").fill("so good")
            page.locator("#analyse").click()
            page.locator("#reasons").get_by_text("without text", exact=True).wait_for()
            page.close()

"""Print an HTML page to a PNG file with the browser of this machine."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from mmsent.modeling.common_images import open_image

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
WIDTH = 960  # of the page, in CSS pixels
SCALE = 1.5  # pixels of the PNG file per CSS pixel
TIMEOUT = 120  # seconds

# Some browsers take --window-size as the size of the page, others as that of a window with a frame.
MEASURE = """<script>addEventListener("load", () => {
  const height = Math.ceil(document.body.getBoundingClientRect().height);
  document.documentElement.dataset.size = `${height} ${innerHeight}`;
})</script>"""
WINDOW_HEIGHT = 1000  # in CSS pixels, while the page is measured


def find_browser() -> str:
    """Return the path of a browser that can print pages.

    Raises:
        FileNotFoundError: If there is no such browser.
    """
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise FileNotFoundError(
        "A .png file needs a browser, and Chromium, Google Chrome or Microsoft Edge is not installed. Install one (on "
        "Debian: apt-get install chromium fonts-noto-cjk fonts-noto-color-emoji), or write an .html file instead."
    )


def write_png(html: str, path: Path) -> None:
    """Print a page as it looks on a wide screen.

    Raises:
        FileNotFoundError: If there is no browser.
        OSError: If the browser fails.
    """
    browser = find_browser()
    # The folder is beside the output because a browser that is installed as a Snap cannot read /tmp.
    with tempfile.TemporaryDirectory(dir=path.parent.resolve(), prefix="tmp-") as name:
        folder = Path(name)
        page, screenshot = folder / "page.html", folder / "page.png"
        page.write_text(html + MEASURE, encoding="utf-8")
        sizes = re.search(r'data-size="(\d+) (\d+)"', _run(browser, page, WINDOW_HEIGHT, "--dump-dom"))
        if sizes is None:
            raise OSError(f"{browser} could not lay out the page: write an .html file instead.")
        height, inner_height = map(int, sizes.groups())
        page.write_text(html, encoding="utf-8")
        _run(browser, page, height + WINDOW_HEIGHT - inner_height, f"--screenshot={screenshot}")
        with open_image(screenshot) as image:
            image.crop((0, 0, round(WIDTH * SCALE), round(height * SCALE))).save(path)


def _run(browser: str, page: Path, height: int, action: str) -> str:
    command = [browser, "--headless", f"--window-size={WIDTH},{height}", f"--force-device-scale-factor={SCALE}"]
    command += ["--hide-scrollbars", "--disable-gpu", "--no-first-run", f"--user-data-dir={page.parent / 'profile'}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # The sandbox refuses to run as root.
    # In a session of its own, since the browser starts processes that would outlive it and keep its pipes open.
    process = subprocess.Popen(
        [*command, action, page.as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise OSError(
            f"{browser} did not print the page within {TIMEOUT} seconds: write an .html file instead."
        ) from error
    finally:
        _end(process)
    if process.returncode:
        raise OSError(f"{browser} could not print the page: {errors[-1000:]}")
    return output


def _end(process: subprocess.Popen) -> None:
    """End a process and those that it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()

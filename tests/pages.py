"""The pages of the documentation and their blocks of code, which the tests run.

A comment before a block says what is special about it:

    <!-- not run: REASON -->          The block needs what is not here, for example a GPU.
    <!-- background: ADDRESS -->      The command runs until the end of the page; the next block waits for ADDRESS.

A block without a language is what commands print, or lines of a file that they write, unless `<!-- example -->` stands
before it. Its numbers may differ.

A Python block that begins with a comment such as `# serve.py` is the content of this file. Words that install packages
are left out: the environment of the tests has all of them, and no network.
"""

import os
import re
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tiny import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONTINUES = "This page continues where the README ends"
BLOCK = re.compile(r"((?:^<!--[^\n]*-->\n)*)^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"(^<!-- example -->\n)?^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALLS = re.compile(r"^(?:(?:python3 -m venv|\. \.venv/bin/activate|pip install)[^&\n]*(?: && |\n))+", re.MULTILINE)
SECONDS_TO_START = 60


@dataclass(frozen=True)
class Block:
    """A block of code of a page; `not_run` is the reason, and `background` the address that answers."""

    page: Path
    language: str
    text: str
    not_run: str | None
    background: str | None


def blocks(page: Path) -> list[Block]:
    """Return the Python and shell blocks of a page in order."""
    found = []
    for comments, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        marks = dict(re.findall(r"<!-- ([a-z ]+): (.*?) -->", comments))
        found.append(Block(page, language, text, marks.get("not run"), marks.get("background")))
    return found


def commands(block: Block) -> list[str]:
    """Return the commands of a shell block, each in one line."""
    return INSTALLS.sub("", block.text.replace("\\\n", " ")).splitlines()


def outputs(page: Path) -> list[str]:
    """Return the lines that a page says its commands print or write, without their numbers."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    texts = [text for is_example, language, text in found if not language and not is_example]
    return [without_numbers(line) for text in texts for line in text.splitlines()]


def without_numbers(line: str) -> str:
    """Return a line with `#` for each number and one blank for several."""
    return " ".join(re.sub(r"\d+(\.\d+)?(e-?\d+)?", "#", line).split())


def run_page(page: Path, folder: Path) -> str:
    """Run the blocks of a page, as they stand and in their order, in a folder.

    Returns:
        What the blocks printed, and the tables that are in the folder afterwards.

    Raises:
        AssertionError: If a block fails, with its output.
    """
    servers, printed = [], ""
    try:
        run = [block for block in blocks(page) if block.not_run is None]
        for (language, background), group in groupby(run, lambda block: (block.language, block.background)):
            texts = [block.text for block in group]
            if language == "python":
                code = "\n".join(text for text in texts if not _save(text, folder))
                printed += _run([sys.executable, "-c", code], folder)
            elif background is None:
                printed += _run(["bash", "-euo", "pipefail", "-c", INSTALLS.sub("", "".join(texts))], folder)
            else:
                servers.append(_start(INSTALLS.sub("", texts[0]), background, folder))
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    tables = [path for pattern in ("*.jsonl", "*.csv", "server.log") for path in sorted(folder.glob(pattern))]
    return printed + "".join(path.read_text(encoding="utf-8") for path in tables)


def _save(text: str, folder: Path) -> bool:
    """Save a Python block that is a file of the page; return whether it is one."""
    name = re.match(r"# (\w+\.py)\n", text)
    if name:
        (folder / name[1]).write_text(text, encoding="utf-8")
    return name is not None


def _environment() -> dict[str, str]:
    """Return the environment of a user who has activated `.venv`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}


def _run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True)
    assert result.returncode == 0, f"{command[-1]}\n{result.stdout[-3000:]}\n{result.stderr[-5000:]}"
    return f"{result.stdout}\n"


def _start(command: str, address: str, folder: Path) -> subprocess.Popen:
    """Start a server and wait until it answers."""
    with (folder / "server.log").open("a") as log:
        server = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=folder, env=_environment(), stdout=log)
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return server
        except OSError:
            assert server.poll() is None, f"{command} ended with exit code {server.returncode}"
            assert time.monotonic() < deadline, f"{command} does not answer at {address}"
            time.sleep(0.2)

"""Use the demo with many users at once, some of whom send bad input, and check every answer.

    python benchmarks/demo_load.py [--users 50] [--seconds 120] [--output benchmarks/demo_load.json]

The demo runs as a process on a loopback address. Each user sends posts and tables of his own, whose scores were
computed before with the pipeline, and waits for each answer. One request in five is bad: a broken image, an EPS file
named as a PNG, a table that is none, a file that was not uploaded, or no JSON. The load comes in two rounds of the
same users. Memory must be flat: in the second round, and after it, the process may have at most 5 % more than at the
highest of the first. The first must therefore be long enough to fill what the demo keeps of its latest sessions, or
the demo must keep few (`--sessions`). Uploaded files must be gone when their time, which is shortened here, is over.
"""

import asyncio
import html
import io
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from common_commands import prepare
from common_report import parser_of, write_report
from PIL import Image

from mmsent.demo.app import MAX_SESSIONS
from mmsent.inference.predict import load_pipeline

START = "import sys; from mmsent.demo import app; sys.argv[0] = 'mmsent demo'; "
START += "app.KEEP_FILES, app.MAX_SESSIONS = {}, {}; app.main()"
TOLERANCE, ROUNDED = 1e-5, 6e-4  # of a score, and of one that the page shows
MAX_GROWTH = 1.05  # of the memory
ROUNDS = ("first round", "second round")
POSTS_PER_USER = 4
HUGE = 200_000  # characters of the longest text


@dataclass
class Tally:
    """What came of the requests.

    Attributes:
        seconds: The time that each good post took, its upload included.
        counts: The number of right and wrong answers by kind of request.
        wrong: Descriptions of the first wrong answers.
    """

    seconds: list[float] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, problem: str | None) -> None:
        self.counts[f"{kind}: {'right' if problem is None else 'wrong'}"] += 1
        if problem is not None and len(self.wrong) < 10:
            self.wrong.append(f"{kind}: {problem[:300]}")


class User:
    """A user with posts and a table of his own, and the scores that he must get."""

    def __init__(self, number: int, pipe):
        rng, words = random.Random(number), "a good bad day the so me my what great awful coffee".split()  # noqa: SIM905
        self.rng, self.name, self.posts = rng, f"user{number}", []
        for index in range(POSTS_PER_USER):
            text = " ".join([f"user{number}post{index}", *rng.choices(words, k=rng.randint(2, 12))])
            text = text.ljust(HUGE, "a") if index == POSTS_PER_USER - 1 and number % 10 == 0 else text
            self.posts.append((text, self.picture()))
        images = [Image.open(io.BytesIO(image)) for _, image in self.posts]
        self.expected = [
            scores_of(pipe({"text": text, "image": image}))
            for (text, _), image in zip(self.posts, images, strict=True)
        ]
        self.table = [scores_of(pipe({"text": "a good day", "image": image})) for image in images]

    def picture(self) -> bytes:
        file = io.BytesIO()
        Image.frombytes("RGB", (64, 48), self.rng.randbytes(64 * 48 * 3)).save(file, "PNG")
        return file.getvalue()

    async def ask(self, client: httpx.AsyncClient, tally: Tally) -> None:
        """Send one request, and add what came of it."""
        if self.rng.random() < 0.2:
            kind = self.rng.choice(list(BAD))
            return tally.add(kind, await BAD[kind](self, client))
        if self.rng.random() < 0.15:
            return tally.add("good table", await self.ask_table(client))
        started = time.perf_counter()
        problem = await self.ask_post(client, self.rng.randrange(POSTS_PER_USER))
        tally.seconds.append(time.perf_counter() - started)
        return tally.add("good post", problem)

    async def ask_post(self, client: httpx.AsyncClient, index: int) -> str | None:
        text, image = self.posts[index]
        files = await upload(client, {"photo.png": image})
        event, data = await call(client, "analyse", [text, files, None])
        if event != "complete":
            return f"{event}: {data}"
        scores = {entry["label"]: entry["confidence"] for entry in data[0]["confidences"]}
        if not close(scores, self.expected[index]):
            return f"{scores} instead of {self.expected[index]}"
        shown = html.unescape(re.sub(r"<[^>]*>", "", data[1]))
        return None if f"{self.name}post{index}" in shown else "the explanation is of another post"

    async def ask_table(self, client: httpx.AsyncClient) -> str | None:
        # All users send the same table, with other images of the same names.
        names = [f"{index}.png" for index in range(POSTS_PER_USER)]
        table = "text,images\n" + "".join(f"a good day,{name}\n" for name in names)
        images = await upload(client, {name: image for name, (_, image) in zip(names, self.posts, strict=True)})
        tables = await upload(client, {"predictions.csv": table.encode()})
        event, data = await call(client, "analyse_table", [tables[0], images])
        if event != "complete":
            return f"{event}: {data}"
        file = (await client.get(f"/gradio_api/file={data[1]['path']}")).text
        rows = [line.split(",")[4:] for line in file.splitlines()[1:]]
        shown = [re.findall(r"<td>(\d\.\d+)</td>", row) for row in data[0].split("<tr>")[2:]]
        for answers, tolerance in ((rows, TOLERANCE), (shown, ROUNDED)):
            pairs = zip(answers, self.table, strict=True)
            scores = [dict(zip(expected, map(float, row), strict=True)) for row, expected in pairs]
            if not all(close(*pair, tolerance) for pair in zip(scores, self.table, strict=True)):
                return f"{scores} instead of {self.table}"
        return None


def scores_of(ranked: list[dict]) -> dict[str, float]:
    """Return the scores in the order of the labels in the columns of a table, which is that of their classes."""
    scores = {entry["label"]: entry["score"] for entry in ranked}
    return {label: scores[label] for label in sorted(scores)}


def close(scores: dict[str, float], expected: dict[str, float], tolerance: float = TOLERANCE) -> bool:
    return scores.keys() == expected.keys() and all(abs(scores[name] - expected[name]) < tolerance for name in scores)


async def upload(client: httpx.AsyncClient, files: dict[str, bytes]) -> list[dict]:
    """Upload files, and return how a request names them."""
    answer = await client.post("/gradio_api/upload", files=[("files", item) for item in files.items()])
    answer.raise_for_status()
    names = zip(answer.json(), files, strict=True)
    return [{"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}} for path, name in names]


async def call(client: httpx.AsyncClient, function: str, data: list) -> tuple[str, object]:
    """Call a function of the page, and return "complete" with its result, or "error" with the message."""
    answer = await client.post(f"/gradio_api/call/{function}", json={"data": data})
    if answer.status_code != 200:
        return "refused", answer.text
    event = None
    async with client.stream("GET", f"/gradio_api/call/{function}/{answer.json()['event_id']}") as lines:
        async for line in lines.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event in ("complete", "error"):
                return event, json.loads(value)
    return "cut off", None


def bad(files: dict[str, bytes], message: str, table: bytes | None = None):
    """Return a function that sends bad files and returns `None` if the answer has the message, or what it was."""

    async def send(user: User, client: httpx.AsyncClient) -> str | None:
        uploaded = await upload(client, files) if files else []
        if table is None:
            event, data = await call(client, "analyse", [f"bad {user.name}", uploaded, None])
        else:
            (file,) = await upload(client, {"posts.csv": table})
            event, data = await call(client, "analyse_table", [file, uploaded])
        is_right = event == "error" and message in (data or {}).get("error", "")
        return None if is_right else f"{event}: {data}"

    return send


async def absent_file(user: User, client: httpx.AsyncClient) -> str | None:
    file = {"path": "/etc/passwd", "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
    event, data = await call(client, "analyse", ["a", [file], None])
    return None if event in ("error", "refused") and "root:" not in str(data) else f"{event}: {data}"


async def no_json(user: User, client: httpx.AsyncClient) -> str | None:
    answer = await client.post("/gradio_api/call/analyse", content=b'{"data": [', headers={"content-type": JSON})
    return None if answer.status_code == 422 else f"{answer.status_code}: {answer.text}"


JSON = "application/json"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
BAD = {
    "bad: broken image": bad({"photo.jpg": b"<html>not found</html>"}, "photo.jpg: cannot identify"),
    "bad: EPS": bad({"photo.png": EPS}, "photo.png: "),
    "bad: table without posts": bad({}, "has no column text, images or image", table=b"a,b\n1,2\n"),
    "bad: no table at all": bad({}, "posts.csv", table=b"\0\1\2"),
    "bad: file that was not uploaded": absent_file,
    "bad: no JSON": no_json,
}


async def use(url: str, users: list[User], seconds: float) -> Tally:
    """Let all users send requests one after the other for some time."""
    tally, end = Tally(), time.time() + seconds
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:

        async def session(user: User) -> None:
            while time.time() < end:
                await user.ask(client, tally)

        await asyncio.gather(*map(session, users))
    return tally


async def watch(process: psutil.Process, samples: list[tuple[float, float]]) -> None:
    """Note the time and the memory of a process and its children in MiB every half second."""
    while True:
        processes = [process, *process.children(recursive=True)]
        samples.append((time.time(), sum(part.memory_info().rss for part in processes) / 2**20))
        await asyncio.sleep(0.5)


def stored(folder: Path) -> dict[str, int]:
    """Return the number and the size of the files in a folder."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"files": len(sizes), "KiB": sum(sizes) // 1024}


def memory(samples: list[tuple[float, float]], started: float, seconds: float) -> dict[str, int]:
    """Return the memory in MiB at each quarter of a round, and its maximum."""
    values = [value for moment, value in samples if started <= moment <= started + seconds]
    quarters = [samples[bisect(samples, (started + part * seconds / 4, 0)) - 1][1] for part in range(1, 5)]
    at = {f"after {round(part * seconds / 4)} s": round(value) for part, value in enumerate(quarters, 1)}
    return at | {"highest": round(max(values))}


async def measure(url: str, server: psutil.Process, users: list[User], seconds: float, keep: int, tmp: Path) -> dict:
    """Return the figures of a single user, of two rounds of all users, and of the time afterwards."""
    samples: list[tuple[float, float]] = []
    watching = asyncio.create_task(watch(server, samples))
    files, single_seconds = {"before": stored(tmp)}, max(4, seconds / 10)
    single = await use(url, users[:1], single_seconds)
    used, tallies = {"before": round(samples[-1][1])}, []
    for name in ROUNDS:
        started = time.time()
        tallies.append(await use(url, users, seconds))
        used[name] = memory(samples, started, time.time() - started)
    ended, length = time.time(), time.time() - started
    files["under load"] = stored(tmp)
    is_left = True
    while is_left and time.time() < ended + 1.5 * keep + 5:
        await asyncio.sleep(5)
        is_left = stored(tmp)["files"] > files["before"]["files"]
    watching.cancel()
    files["afterwards"], used["afterwards"] = stored(tmp), round(samples[-1][1])
    limit = MAX_GROWTH * used[ROUNDS[0]]["highest"]
    good = [taken for tally in tallies for taken in tally.seconds]
    answers, alone = tallies[-1].counts.total() / length, single.counts.total() / single_seconds
    return {
        "answers": dict(sorted(sum((tally.counts for tally in tallies), single.counts).items())),
        "wrong": sum((tally.wrong for tally in tallies), single.wrong),
        "good_posts_seconds": {f"p{share}": round(np.percentile(good, share), 2) for share in (50, 95, 99)},
        "good_posts_seconds_of_a_single_user": {"p50": round(np.percentile(single.seconds, 50), 2)},
        "answers_per_second": round(answers, 2),
        "throughput_relative_to_a_single_user": round(answers / alone, 2),
        "memory_MiB": used,
        "memory_is_flat": max(used[ROUNDS[1]]["highest"], used["afterwards"]) <= limit,
        "temporary_files": files,
        "temporary_files_are_removed": files["afterwards"]["files"] <= files["before"]["files"],
    }


def load(count: int, seconds: float, keep: int, sessions: int, folder: Path) -> dict:
    """Start the demo of a trained model, use it, and return the figures."""
    prepare(folder / "base")
    model, tmp = folder / "base" / "model" / "run", folder / "tmp"
    tmp.mkdir()
    pipe = load_pipeline(str(model))
    users = [User(number, pipe) for number in range(count)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", START.format(keep, sessions), "--model", str(model), "--port", port]
    environment = os.environ | {"TMPDIR": str(tmp), "GRADIO_TEMP_DIR": str(tmp / "uploads")}
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=tmp, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(240):
            try:
                httpx.get(url, timeout=20)
                break
            except httpx.TransportError:
                if server.poll() is not None:
                    raise RuntimeError((folder / "log").read_text()) from None
                time.sleep(0.5)
        figures = asyncio.run(measure(url, psutil.Process(server.pid), users, seconds, keep, tmp))
    finally:
        server.terminate()
        server.wait(30)
    text = (folder / "log").read_text()
    # Gradio writes one for each file that was not uploaded.
    figures["tracebacks"] = text.count("Traceback") - text.count("InvalidPathError: Cannot move")
    print(text[-3000:] if figures["tracebacks"] else "", flush=True)
    return figures


def failed(figures: dict) -> bool:
    """Return whether an answer was wrong, memory grew, or files remained."""
    is_bounded = figures["memory_is_flat"] and figures["temporary_files_are_removed"]
    return bool(figures["wrong"] or figures["tracebacks"] or not is_bounded)


def main() -> None:
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120, help="of each of the two rounds")
    parser.add_argument("--keep", type=int, default=60, help="seconds for which the demo keeps uploaded files")
    parser.add_argument("--sessions", type=int, default=MAX_SESSIONS, help="number that the demo keeps")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = load(args.users, args.seconds, args.keep, args.sessions, Path(folder))
    write_report(args, figures)
    if failed(figures):
        sys.exit("The demo gave a wrong answer, or its memory or files grew.")


if __name__ == "__main__":
    main()

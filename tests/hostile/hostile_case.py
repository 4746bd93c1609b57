"""What a hostile case is, and how something is run on it: its time, memory, messages and files are watched here."""

import contextlib
import io
import re
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 10  # a case that takes longer hangs
HARD_LIMIT = 4 * 1024**3  # bytes that can be allocated in a case at all
MEBIBYTES = 400  # by which the memory of the process may grow in a case


@dataclass(frozen=True)
class Case:
    """An input and what must happen to it.

    Args:
        name: The name, which begins with the name of the file if the case is one.
        make: Makes the input. Files go into the folder that it gets.
        says: Pattern of the error. The input is accepted if it is None.
        at: The pattern at entry points that see the input in another way, by their names.
        bad: Tables and folders: the numbers of the bad rows, with the patterns of their errors.
        good: Tables and folders: the number of rows with the text "good day", which get the
            scores that they get alone.
        empty: Tables and folders: the number of rows that say nothing, which get no prediction but a reason.
        shows: Images: what must be read from the file.
        upload: Whether a browser can send it. A pipe or a folder cannot be uploaded.
    """

    name: str
    make: Callable[[Path], Any]
    says: str | None = None
    at: dict[str, str | None] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)
    good: int = 0
    empty: int = 0
    shows: Any = None
    upload: bool = True


class Outcome(NamedTuple):
    """What an entry point made of a case: an error, or a result."""

    error: str | None
    result: Any = None


class Hang(BaseException):
    """Raised when a case takes too long. No handler of errors catches it."""


@contextlib.contextmanager
def bounded(seconds: float = SECONDS, mebibytes: int = MEBIBYTES) -> Iterator[None]:
    """Check that what happens inside takes little time and memory."""

    def stop(*_):
        raise Hang(f"more than {seconds} seconds")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limits = resource.getrlimit(resource.RLIMIT_AS)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + HARD_LIMIT, limits[1]))  # an endless file would fill the machine
    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert growth < mebibytes, f"the memory grew by {growth} MiB"


@contextlib.contextmanager
def writes_only(root: Path, output: Path, monkeypatch) -> Iterator[None]:
    """Check that the files below `root` are unchanged but for those in `output`.

    The home, the working and the temporary folder are below `root`, so that a file that is written there is found.
    """
    for name in ("home", "cwd", "tmp"):
        (root / name).mkdir(exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(root / "home"))
        patch.setattr(tempfile, "tempdir", str(root / "tmp"))
        patch.chdir(root / "cwd")
        before = listing(root, output)
        yield
        assert listing(root, output) == before


def listing(root: Path, output: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file below a folder, except for those in `output`."""
    paths = (path for path in root.rglob("*") if output not in (path, *path.parents))
    stats = {str(path): path.lstat() for path in paths}
    return {name: (stat.st_size, 0 if Path(name).is_dir() else stat.st_mtime_ns) for name, stat in stats.items()}


def call(function: Callable, *args, **kwargs) -> Outcome:
    """Call a function of the library. What it refuses is a ValueError, a TypeError or an OSError; all else escapes."""
    try:
        return Outcome(None, function(*args, **kwargs))
    except (ValueError, TypeError, OSError) as error:
        return Outcome(f"{type(error).__name__}: {error}")


def command(main: Callable, prog: str, *argv: str) -> Outcome:
    """Run a command in this process, and check how it ends.

    Returns:
        The line of the error if the exit code is 2; otherwise the exit code and what was printed.
    """
    out, err = io.StringIO(), io.StringIO()
    old_argv, sys.argv = sys.argv, [prog, *map(str, argv)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main() or 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = old_argv
    assert "Traceback" not in err.getvalue(), err.getvalue()
    assert code in (0, 1, 2), code
    if code < 2:
        return Outcome(None, (code, out.getvalue()))
    line = err.getvalue().rstrip("\n").replace("\r", "\n").rpartition("\n")[2]
    assert re.match(rf"{re.escape(prog)}[\w ]*: error: \S", line), err.getvalue()
    return Outcome(line.partition(": error: ")[2])


def judge(case: Case, entry: str, outcome: Outcome) -> None:
    """Check the outcome of a case at an entry point."""
    says = case.at.get(entry, case.says)
    if says is None:
        assert outcome.error is None, f"refused: {outcome.error}"
    else:
        assert outcome.error is not None, f"accepted, where {says!r} was expected: {outcome.result}"
        assert re.search(says, outcome.error, re.DOTALL), f"{says!r} is not in: {outcome.error}"

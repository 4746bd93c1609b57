"""Runs modules and scripts in processes that are forked from this one, which has imported them once.

Each line of the standard input is a JSON object: the words of `sys.argv`, of which the first is a module or a script,
the folder of the case, and the time limit. The answer is a line with the exit status and the peak of the memory.
"""

import json
import os
import resource
import runpy
import signal
import sys
import tempfile
import traceback
from pathlib import Path

LIMIT = 8 * 1024**3  # bytes that a process can allocate


def limit(seconds: int) -> None:
    """Limit the time and the memory of this process."""
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


def environment(folder: Path) -> dict[str, str]:
    """Return variables that put all files that a process may write by itself into the folder of the case."""
    return {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}


def child(argv: list[str], folder: Path, seconds: int) -> None:
    """Run a command as `python -m MODULE ...` or `python SCRIPT ...` does."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment(folder))
    tempfile.tempdir = str(folder / "tmp")
    os.chdir(folder / "cwd")
    sys.argv = argv
    limit(seconds)
    code = 1
    try:
        if argv[0].endswith(".py"):
            runpy.run_path(argv[0], run_name="__main__")
        else:
            runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for name in sys.argv[1:]:
        __import__(name)
    for line in sys.stdin:
        job = json.loads(line)
        process = os.fork()
        if process == 0:
            child(job["argv"], Path(job["folder"]), job["seconds"])
        _, status, usage = os.wait4(process, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "kibibytes": usage.ru_maxrss}), flush=True)


if __name__ == "__main__":
    main()

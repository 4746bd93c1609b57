"""Share work on many posts among the cores."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Any

from datasets.utils import tqdm

AHEAD = 1_000  # Items that are read before their results are wanted.
FEW = 2_000  # So many items are done in one process before others have started.


def process_map(function: Callable[[Any], Any], items: Iterable, total: int, desc: str) -> Iterator:
    """Yield the results of a function, in the order of the items. Many items are shared among processes.

    Threads gain little, because decoding and hashing an image hold Python's lock for much of their time. The processes
    are forks, which scripts without `if __name__ == "__main__"` can start too. Where forks are not safe, as on macOS,
    or not allowed, as in a worker of a DataLoader, this process does all the work.

    Args:
        total: Number of items, or of what they are taken from.
        desc: What the progress bar says.
    """
    items = iter(items)
    with tqdm(total=total, desc=desc, leave=False) as progress:
        if total < FEW or sys.platform != "linux" or multiprocessing.current_process().daemon:
            for item in items:
                yield function(item)
                progress.update()
            return
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(os.cpu_count(), context, _end_with_parent, (os.getpid(),)) as pool:
            while batch := list(islice(items, AHEAD)):
                for result in pool.map(function, batch, chunksize=16):
                    yield result
                    progress.update()


def _end_with_parent(parent: int) -> None:
    """End this process when its parent was killed. It would wait for ever, and hold the locks of the parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

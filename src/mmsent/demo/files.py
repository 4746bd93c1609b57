"""Delete the files that users upload, and those that are made for them."""

import atexit
import threading
import time
from contextlib import suppress
from pathlib import Path

import gradio as gr


def delete_files_after(page: gr.Blocks, seconds: float) -> None:
    """Delete each file of a page when it is older than this, and all of them at the end.

    Gradio has a task for it, `delete_cache`, which ends for good if a file arrives while it looks at the others.
    """

    def watch() -> None:
        while True:
            time.sleep(seconds / 10)
            delete_old_files(page, seconds)

    threading.Thread(target=watch, daemon=True).start()
    atexit.register(delete_old_files, page, -1)


def delete_old_files(page: gr.Blocks, seconds: float) -> None:
    """Delete the files of a page that are older than this, and forget their names."""
    for files in page.temp_file_sets:
        for name in list(files):
            with suppress(FileNotFoundError):  # Two components may know the same file.
                if time.time() - Path(name).lstat().st_ctime <= seconds:
                    continue
                Path(name).unlink()
            files.discard(name)

"""Read files as the authors of corpora ship them: folders, texts of unknown encoding, JSON, image file names."""

import hashlib
import json
import os
import platform
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


def decode_text(raw: bytes) -> str:
    """Decode bytes by `text_encoding`. Releases mix encodings from file to file and do not name them."""
    return raw.decode(text_encoding(raw))


def text_encoding(raw: bytes) -> str:
    """Return the first of "utf-8-sig", "gb18030" and "latin-1" that can decode the bytes; the last fits any bytes."""
    for encoding in ("utf-8-sig", "gb18030"):
        with suppress(UnicodeDecodeError):
            raw.decode(encoding)
            return encoding
    return "latin-1"


def join_names(names: Sequence[str]) -> str:
    """Join the first ten names by commas; "..." stands for the others."""
    return ", ".join([*names[:10], *["..."] * (len(names) > 10)])


def release_folder(name: str, data_dir: str | None, index: Iterable[str], complete: bool = True) -> Path:
    """Return the folder of an unpacked release, after a check of its content.

    Args:
        name: Name of the corpus.
        index: Files and folders that the release holds.
        complete: Whether all of them are required, or only one.
    """
    index = list(index)
    expected = f"the folder of the unpacked release, which holds {(' and ' if complete else ' or ').join(index)}"
    if data_dir is None:
        raise ValueError(f"{name} cannot be downloaded: pass data_dir, {expected}")
    folder = Path(data_dir)
    if folder.is_file():
        raise NotADirectoryError(f"data_dir {folder} is a file: unpack the archive and pass {expected}")
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir {folder} does not exist: pass {expected}")
    missing = [entry for entry in index if not (folder / entry).exists()]
    if missing and (complete or len(missing) == len(index)):
        raise FileNotFoundError(f"data_dir {folder} has no {missing[0]}: pass {expected}")
    return folder


def list_files(folder: Path) -> set[str]:
    """Return the names of the files in a folder, with one listing, because a check of each file would take seconds.

    It is an error if a symbolic link leads out of the folder, or if two names differ only in case.
    """
    root, names = folder.resolve(), set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not Path(entry).resolve().is_relative_to(root):
                raise ValueError(
                    f"{entry.path} is a symbolic link to {Path(entry).readlink()}, out of its folder; replace the "
                    "link by the file, or remove it"
                )
            names.add(entry.name)
    count = Counter(map(str.casefold, names))
    if len(count) < len(names):
        first, second, *_ = sorted(name for name in names if count[name.casefold()] > 1)
        raise ValueError(f"{folder} has two files of one name, {first} and {second}; remove one of them")
    return names


def check_file_name(name: str, where: str) -> str:
    """Return an image's name from an index file, or raise an error if it is a path.

    Args:
        where: File and line of the name, for the error message.
    """
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0:"):
        raise ValueError(f"{where}: {name!r} is not a bare file name and could lead out of its folder; correct it")
    return name


def find_images(folder: Path, names: Iterable[str]) -> tuple[str | None, list[str]]:
    """Look for the images that an index file names.

    A single absent image stays in its post, and reading it is an error that names it until the user chooses what
    happens (`screen_images`, `train.py --on_bad_image`). Without the whole folder, as in copies that hold only texts,
    posts have no images.

    Returns:
        The folder, or None if it does not exist; and notes about absent images.
    """
    names = set(names)
    if not folder.is_dir():
        return None, [f"no folder {folder}: all posts are without their images, {len(names)} in number"]
    absent = sorted(names - list_files(folder))
    note = f"{len(absent)} of {len(names)} images are not in {folder}: {join_names(absent)}"
    return str(folder), [note] if absent else []


def image_paths(folder: str | None, names: Iterable[str]) -> list[str]:
    """Return the paths of images in a folder; none if the folder is None."""
    return [f"{folder}/{name}" for name in names] if folder else []


def option_path(option: str, path: str) -> Path:
    """Return the file or folder that an option of a corpus names, or raise an error that names the option."""
    expanded = Path(path).expanduser()
    if not expanded.exists():
        raise FileNotFoundError(f"{option}={path} does not exist")
    return expanded


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move what was written there to `path` at the end.

    `path` is therefore either complete or as it was before. After an error the temporary file is deleted; after a kill
    a file named `tmp-*` remains.
    """
    temporary = path.with_name(f"tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Refuse a second process that would write to the same file or folder at the same time.

    The lock is a file `.<name>.lock` in an existing folder, or beside a file. The system releases it when the process
    ends, also after a kill.

    Raises:
        ValueError: If another process holds the lock. The message names the path and that process.
    """
    path = path.resolve()
    file = (path if path.is_dir() else path.parent) / f".{path.name}.lock"
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        holder = file.read_text(encoding="utf-8") or "another process"
        raise ValueError(f"{holder} writes to {path}: wait until it has ended, or write elsewhere.") from error
    try:
        file.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)  # before the release: afterwards the file may be another process's lock
        lock.release()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. A key that occurs twice in an object is an error."""

    def unique_keys(pairs: list[tuple[str, Any]]) -> dict:
        twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        if twice:
            raise ValueError(f"{path}: two entries for {join_names(twice)}; remove one of them")
        return dict(pairs)

    try:
        return json.loads(decode_text(path.read_bytes()), object_pairs_hook=unique_keys)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: this is not JSON: {error}; get the file again") from error

"""Read files as the authors of corpora ship them: folders, texts of unknown encoding, JSON, image file names."""

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import stat
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

MIN_FREE = 1 << 16  # bytes; a disk with less space left is full


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


def open_file(path: Path) -> BinaryIO:
    """Open a file for reading. Anything else, such as a named pipe or a device, may never end and is refused."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is not a regular file; replace it by one")
    return path.open("rb")


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file that is not UTF-16."""
    refuse_utf16(path)
    with open_file(path) as file:
        return file.read()


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Yield number and text of the lines of a UTF-8 file, which end in \n or \r\n only."""
    for number, line in enumerate(read_bytes(path).removesuffix(b"\n").split(b"\n"), start=1):
        try:
            yield number, line.removesuffix(b"\r").decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: not UTF-8; convert the file, for example with "
                "`iconv -f LATIN1 -t UTF-8 OLD > NEW`"
            ) from error


def refuse_utf16(path: Path) -> None:
    """Raise a ValueError for a file in UTF-16 or UTF-32: it begins with a byte order mark, or has a zero byte."""
    with open_file(path) as file:
        start = file.read(4)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or (b"\0" in start):
        raise ValueError(
            f"{path}, line 1: the file is UTF-16 or UTF-32; convert it to UTF-8, for example with "
            "`iconv -f UTF-16 -t UTF-8 OLD > NEW`"
        )


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
    if not os.access(folder, os.R_OK | os.X_OK):  # every file would seem to be missing
        raise PermissionError(f"You may not read data_dir {folder}: get the permission, or pass another folder.")
    missing = [entry for entry in index if not os.path.lexists(folder / entry)]
    if missing and (complete or len(missing) == len(index)):
        raise FileNotFoundError(f"data_dir {folder} has no {missing[0]}: pass {expected}")
    return folder


def list_files(folder: Path) -> set[str]:
    """Return the names of the files in a folder, with one listing, because a check of each file would take seconds.

    It is an error if a symbolic link leads out of the folder, if an entry is neither a file nor a folder, or if two
    names differ only in case.
    """
    root, names = folder.resolve(), set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not Path(os.path.realpath(entry)).is_relative_to(root):
                raise ValueError(
                    f"{entry.path} is a symbolic link to {Path(entry).readlink()}, out of its folder; replace the "
                    "link by the file, or remove it"
                )
            plain = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
            if not plain and not (Path(entry).is_file() or Path(entry).is_dir()):
                raise ValueError(
                    f"{entry.path} is neither a file nor a folder, but a pipe, a socket, a device or a link that "
                    "leads nowhere; remove it"
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
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_output(path: Path) -> None:
    """Check before the work that a file can be written. Folders that do not exist are created later.

    Raises:
        OSError: If `path` is a folder, or lies in a file or in a folder that must not be written to.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: {path} cannot be written into it.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"You may not write into {folder}: choose another folder for {path.name}.")


class DiskFullError(OSError):
    """The disk is full. The message names the file or folder that could not be written."""


@contextmanager
def name_full_disk(path: Path) -> Iterator[None]:
    """Replace the various errors of a full disk, most of which name no file, by a `DiskFullError`."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not is_disk_full(error, path):
            raise
        raise DiskFullError(
            f"the disk is full: {path} could not be written. Free some space, then run the same command again."
        ) from error


def is_disk_full(error: BaseException, path: Path) -> bool:
    """Return whether an error, or one that caused it, is that of a full disk.

    Args:
        path: What could not be written. NumPy does not say why a write failed: the space left there tells.
    """
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number is None and has_no_space(path):
        return True
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        return True
    cause = error.__cause__ or error.__context__
    return isinstance(error, DiskFullError) or (cause is not None and is_disk_full(cause, path))


def has_no_space(path: Path) -> bool:
    """Return whether the disk of a file or folder, which need not exist, is full."""
    folder = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(folder).free < MIN_FREE


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move the file or folder that was written there to `path` at the end.

    `path` is therefore either complete or as it was before. After an error what is temporary is deleted; after a kill
    something named `tmp-*` remains, which `remove_leftovers` deletes.

    Raises:
        DiskFullError: If the disk is full.
    """
    temporary = path.with_name(f"tmp-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        with name_full_disk(path):
            yield temporary
            temporary.replace(path)
    finally:
        _remove(temporary)


def remove_leftovers(path: Path) -> None:
    """Delete what killed processes left of `atomic_write(path)`. No other process may write to `path` meanwhile."""
    for leftover in path.parent.glob(f"tmp-{'[0-9a-f]' * 8}-{glob.escape(path.name)}"):
        _remove(leftover)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, wait: bool = False) -> Iterator[None]:
    """Refuse a second process that would write to the same file or folder at the same time.

    The lock is a file `.<name>.lock` in an existing folder, or beside a file. The system releases it when the process
    ends, also after a kill.

    Args:
        wait: Wait until the other process has released the lock, instead of refusing.

    Raises:
        ValueError: If another process holds the lock. The message names the path and that process.
    """
    path = Path(os.path.realpath(path))  # `resolve` raises a RuntimeError for a link to itself
    file = lock_file(path)
    lock = FileLock(file, blocking=wait)
    try:
        with name_full_disk(file):
            lock.acquire()
    except Timeout as error:
        holder = file.read_text(encoding="utf-8") or "another process"
        raise ValueError(f"{holder} writes to {path}: wait until it has ended, or write elsewhere.") from error
    try:
        with name_full_disk(file):
            file.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)  # before the release: afterwards the file may be another process's lock
        lock.release()


def lock_file(path: Path) -> Path:
    """Return the file that `locked` locks."""
    path = Path(os.path.realpath(path))
    return (path if path.is_dir() else path.parent) / f".{path.name}.lock"


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. A key that occurs twice in an object is an error."""
    twice: set[str] = set()

    def unique_keys(pairs: list[tuple[str, Any]]) -> dict:
        twice.update(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return dict(pairs)

    text = decode_text(read_bytes(path))
    try:
        content = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:  # also for numbers of thousands of digits, and for deep nesting
        raise ValueError(f"{path}: this is not JSON that can be read: {error}; get the file again") from error
    if twice:
        raise ValueError(f"{path}: two entries for {join_names(sorted(twice))}; remove one of them")
    return content

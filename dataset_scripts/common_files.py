"""Reading what the authors of a corpus ship: folders, texts of unknown encoding, tables, names of pictures."""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNPACK = "unpack the archive and give"


def decode_text(raw: bytes) -> str:
    """UTF-8 where the bytes are UTF-8, else GB18030, else Latin-1, which fits any bytes; a byte order mark is
    dropped. Releases mix encodings from file to file and say nowhere which one a file has."""
    return raw.decode(text_encoding(raw))


def text_encoding(raw: bytes) -> str:
    """The encoding that `decode_text` reads: "utf-8-sig", "gb18030" or "latin-1"."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


def release_folder(name: str, data_dir: str | None, index: Iterable[str], complete: bool = True) -> Path:
    """The folder of an unpacked release, checked to hold the entries of `index`, or, not `complete`, one of them.

    Raises:
        ValueError: no `data_dir` was given.
        NotADirectoryError: it is a file, such as the archive of the release.
        FileNotFoundError: there is no such folder, or an entry of `index` is not in it.
    """
    index = list(index)
    wanted = f"the folder of the unpacked release, which holds {(' and ' if complete else ' or ').join(index)}"
    if data_dir is None:
        raise ValueError(f'{name} is not downloaded: give load_dataset("{name}", data_dir=...) {wanted}')
    folder = Path(data_dir)
    if folder.is_file():
        raise NotADirectoryError(f"data_dir {folder} is a file; {UNPACK} {wanted}")
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir {folder} does not exist; give {wanted}")
    missing = [entry for entry in index if not (folder / entry).exists()]
    if missing and (complete or len(missing) == len(index)):
        raise FileNotFoundError(f"data_dir {folder} has no {missing[0]}; give {wanted}")
    return folder


def list_files(folder: Path) -> set[str]:
    """The names of the files in a folder; one listing, since a stat for every file would take seconds.

    Raises:
        ValueError: a symbolic link leads out of the folder, or two names differ in case alone.
    """
    inside, names = folder.resolve(), set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not Path(entry).resolve().is_relative_to(inside):
                target = Path(entry).readlink()
                raise ValueError(
                    f"{entry.path} is a symbolic link to {target}, out of its folder: a release has no such links; "
                    "put the file itself there, or remove the link"
                )
            names.add(entry.name)
    if len({name.casefold() for name in names}) < len(names):
        count = Counter(name.casefold() for name in names)
        twins = sorted(name for name in names if count[name.casefold()] > 1)
        raise ValueError(f"{folder} has two files of one name, {twins[0]} and {twins[1]}: remove one of the two")
    return names


def check_file_name(name: str, where: str) -> str:
    """A name that an index gives a picture, if it is the bare name of a file.

    Raises:
        ValueError: it is a path, which might lead out of the folder of pictures; names `where`.
    """
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0:"):
        raise ValueError(f"{where}: {name!r} is no bare file name, so it might lead out of its folder; correct it")
    return name


def find_pictures(folder: Path, named: Iterable[str]) -> tuple[str | None, list[str]]:
    """Look for the pictures that an index names: the folder, or None where there is none, and what to note.

    A single picture that is absent keeps its place in the post, so that reading it is an error that names it, until
    the user says what to do (`screen_images`, `train.py --on_bad_image`). Where the whole folder is absent, as in
    copies that hold texts alone, posts have no pictures.
    """
    named = set(named)
    if not folder.is_dir():
        return None, [f"no folder {folder}: all posts are without their pictures, {len(named)} in number"]
    absent = sorted(named - list_files(folder))
    if not absent:
        return str(folder), []
    some = ", ".join(absent[:10]) + ", ..." * (len(absent) > 10)
    return str(folder), [f"{len(absent)} of {len(named)} pictures are not in {folder}: {some}"]


def picture_paths(folder: str | None, names: Iterable[str]) -> list[str]:
    return [f"{folder}/{name}" for name in names] if folder else []


def given_file(option: str, path: str) -> Path:
    """The file or folder that an option names.

    Raises:
        FileNotFoundError: it does not exist; names the option.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise FileNotFoundError(f"{option}={path} does not exist")
    return found


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
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


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is no JSON, or an object has a key twice; names the file.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict:
        twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"{path}: two entries for {', '.join(sorted(twice)[:10])}; remove one of the two")
        return dict(pairs)

    try:
        return json.loads(decode_text(path.read_bytes()), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: no JSON: {error}; get it again") from error

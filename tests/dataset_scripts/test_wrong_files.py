"""Files of a release that are empty, in another encoding, or not files at all: an error names them."""

import os
import signal
import socket
from pathlib import Path

import pytest
from datasets.exceptions import DatasetsError
from standins import WRITERS

import mmsent
from mmsent.dataset_scripts.common_corpus import rows_hash
from mmsent.dataset_scripts.common_screening import screen_images

# Corpus: files that list its posts, each with a part of one of its last lines and the number of that line, or None.
INDEX = {
    "msed": {"train/train.csv": (b"happiness", 10), "test/test.csv": (b"family", 6)},
    "multi_zol": {"zol_Train_jieba.txt": ("手机".encode(), 1), "zol_Test_jieba.txt": ("手机".encode(), 1)},
    "mvsa_single": {"labelResultAll.txt": (b"positive", 2)},
    "mvso": {"english.csv": (b"long_race", 6), "posts.csv": (b"Photo 69", 71)},
    "twitter2015": {"train.tsv": (b"Paris", 5), "test.tsv": (b"Oslo", 2)},
    "vso": {"3244ANPs.txt": (b"plain_wall", 9), "posts/drab_city/1.json": (None, 1)},
}
# Corpus: its other files, by a pattern.
OTHERS = {
    "msed": ["train/images/1.jpg"],
    "multi_zol": ["img/Train_1_0.jpg"],
    "mvsa_single": ["data/*.txt", "data/*.jpg"],
    "mvso": ["images/p7.jpg"],
    "twitter2015": ["images/3.jpg"],
    "vso": ["posts/drab_city/1.jpg"],
}
FILES = [(name, file) for name, files in INDEX.items() for file in files]


@pytest.fixture
def write(request, tmp_path):
    """Write the tiny release of a corpus, and return its folder."""

    def write(name: str) -> Path:
        if name == "mvsa_single":
            return request.getfixturevalue("release")
        folder = WRITERS[name](tmp_path / name)
        if name == "vso":
            (folder / "posts" / "Drab_City").rename(folder / "posts" / "drab_city")
            for end in ("json", "jpg"):
                (folder / "posts" / "drab_city" / f"p16.{end}").rename(folder / "posts" / "drab_city" / f"1.{end}")
        return folder

    return write


def refusal(name: str, folder: Path, **options) -> str:
    """Load a corpus and decode its images; return the message of the error that this must end with."""
    try:
        corpus = mmsent.load_corpus(name, data_dir=folder, cache_dir=folder.parent / "cache", **options)
        screen_images(corpus, "error")
    except (ValueError, OSError, DatasetsError) as error:
        return str(error.__cause__ if isinstance(error, DatasetsError) else error)
    pytest.fail("nothing was refused")


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # The name of a socket has at most 107 characters.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


KINDS = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "socket": make_socket,
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "link to nowhere": lambda path: path.symlink_to("no such file"),
}


@pytest.fixture
def no_hanging():
    def stop(*_):
        raise TimeoutError("reading does not end")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INDEX)
def test_what_is_not_a_file_is_refused(name, kind, write, no_hanging):
    folder = write(name)
    for pattern in [*INDEX[name], *OTHERS[name]]:
        path = sorted(folder.glob(pattern))[0]
        content = path.read_bytes()
        path.unlink()
        KINDS[kind](path)
        assert str(path) in refusal(name, folder), path
        path.rmdir() if kind == "folder" else path.unlink()
        path.write_bytes(content)
    screen_images(mmsent.load_corpus(name, data_dir=folder, cache_dir=folder.parent / "cache"), "error")


@pytest.mark.parametrize(("name", "option"), [("mvsa_single", "translations"), ("twitter2015", "captions")])
def test_an_option_that_is_a_pipe_is_refused(name, option, write, tmp_path, no_hanging):
    os.mkfifo(tmp_path / "pipe.json")
    path = str(tmp_path / "pipe.json")
    message = refusal(name, write(name), **{option: [path] if option == "translations" else path})
    assert message == f"{path} is not a regular file; replace it by one"


def test_data_dir_is_a_loop(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    assert "loop" in refusal("msed", tmp_path / "loop")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(("name", "file"), [*FILES, ("mvsa_single", "data/*.txt")])
def test_utf16_is_refused(name, file, encoding, write):
    folder = write(name)
    path = sorted(folder.glob(file))[0]
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    message = refusal(name, folder)
    assert message.startswith(f"{path}, line 1: the file is UTF-16 or UTF-32; convert it to UTF-8, for example with")


@pytest.mark.parametrize(("name", "file"), [entry for entry in FILES if INDEX[entry[0]][entry[1]][0]])
def test_latin1_is_refused_with_its_line(name, file, write):
    folder = write(name)
    part, line = INDEX[name][file]
    path = folder / file
    before, after = path.read_bytes().rsplit(part, 1) if line > 2 else path.read_bytes().split(part, 1)
    path.write_bytes(before + "café ".encode("latin-1") + after)
    message = refusal(name, folder)
    assert message.startswith(f"{path}, ")
    assert f"line {line}" in message
    assert "UTF-8" in message


@pytest.mark.parametrize(("name", "files"), [("msed", "*/*.csv"), ("multi_zol", "*.txt")])
def test_releases_of_chinese_authors_may_be_in_gb18030(name, files, write, load):
    folder = write(name)
    for path in folder.glob(files):
        path.write_text(path.read_text(encoding="utf-8").replace("A caption", "好看的"), encoding="utf-8")
    expected = rows_hash(load(name, data_dir=str(folder)))
    for path in folder.glob(files):
        path.write_bytes(path.read_text(encoding="utf-8").encode("gb18030"))
    assert rows_hash(load(name, data_dir=str(folder))) == expected


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize(("name", "file"), FILES)
def test_an_empty_file_or_header_is_refused(name, file, kept, write):
    folder = write(name)
    path = folder / file
    has_header = file.endswith(("posts.csv", "tsv", "train.csv", "test.csv", "labelResultAll.txt", "3244ANPs.txt"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: kept * has_header]))
    assert refusal(name, folder).startswith(f"{path}")

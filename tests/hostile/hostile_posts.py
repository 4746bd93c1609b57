"""Cases of tables of posts and of folders of posts."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import tiny
from hostile_case import Case

GOOD = "good day"


def table(name: str, content: bytes | str, says: str | None = None, **expected) -> Case:
    """Return the case of a table with this content, of which `name` is the name of the file."""

    def make(folder: Path) -> Path:
        path = folder / name.partition(" ")[0]
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    return Case(name, make, says, **expected)


def parquet(name: str, columns: dict | pa.Table, damage: Callable[[bytes], bytes] = bytes, **expected) -> Case:
    """Return the case of a Parquet file with these columns, whose bytes are damaged."""

    def make(folder: Path) -> Path:
        path = folder / f"{name}.parquet"
        pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, row_group_size=2)
        path.write_bytes(damage(path.read_bytes()))
        return path

    return Case(f"{name}.parquet", make, **expected)


def special(name: str, make: Callable[[Path], object], says: str, **expected) -> Case:
    def make_and_return(folder: Path) -> Path:
        make(folder / name)
        return folder / name

    return Case(name, make_and_return, says, upload=False, **expected)


def lines(*rows: object) -> str:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def corrupt_page(content: bytes) -> bytes:
    """Damage the first page, and leave the footer as it is."""
    return content[:4] + b"\xff" * 60 + content[64:]


DAYS = {"text": [GOOD] * 4}
JSON_DAY, BRACKETS = {"text": GOOD}, "[" * 60_000
UTF16, REPEATED = "the file is UTF-16 or UTF-32; convert it", "two columns have the name 'text'"
TABLES = [
    table("plain.csv", f"text\n{GOOD}\n{GOOD}\n", good=2),
    table("mark.csv", f"\ufefftext\n{GOOD}\n", good=1),
    table("mark.tsv", f"\ufefftext\tid\n{GOOD}\t1\n", good=1),
    table("line_ends.csv", f"text\r\n{GOOD}\r\n\r\n{GOOD}", good=2),
    table("old_mac.csv", f"text\r{GOOD}\r{GOOD}\r", good=2),
    table("utf16.csv", f"text\n{GOOD}\n".encode("utf-16"), f"utf16.csv, line 1: {UTF16}"),
    table("utf16be.tsv", f"text\n{GOOD}\n".encode("utf-16-be"), f"utf16be.tsv, line 1: {UTF16}"),
    table("utf32.jsonl", f'{{"text": "{GOOD}"}}\n'.encode("utf-32"), f"utf32.jsonl, line 1: {UTF16}"),
    table("latin1.csv", f"text\n{GOOD}\nschöner\n{GOOD}\n".encode("latin-1"), bad={2: "line 3: not UTF-8"}, good=2),
    table("latin1.jsonl", lines(JSON_DAY).encode() + b'{"text": "sch\xf6n"}\n', bad={2: "line 2"}, good=1),
    table("latin1_header.csv", "tëxt\ngood\n".encode("latin-1"), "latin1_header.csv, line 1: not UTF-8"),
    table("quote.csv", f'text\n{GOOD}\n"never closed\n{GOOD}\n', bad={2: "line 3: "}, good=2),
    table("quote_header.csv", f'"text\n{GOOD}\n', "quote_header.csv, line 1: "),
    table("quote_inside.csv", f'text\n"a"b\n{GOOD}\n', bad={1: "line 2: .*expected after"}, good=1),
    table(
        "ragged.csv",
        f"text,id\n{GOOD},1\n{GOOD}\n{GOOD},1,2\n{GOOD},4\n",
        bad={2: "line 3: 1 col", 3: "line 4"},
        good=2,
    ),
    table("twice.csv", "text,text\na,b\n", f"twice.csv, line 1: {REPEATED}"),
    table("twice.tsv", "text\ttext \na\tb\n", f"twice.tsv, line 1: {REPEATED}"),
    table("empty.csv", b"", "empty.csv.* columns are none|empty.csv, line 1|empty.csv"),
    table("empty.jsonl", b"", "empty.jsonl"),
    table("empty.parquet", b"", "empty.parquet"),
    table("blank.csv", "\n\n\n", "blank.csv"),
    table("header.csv", "text\n"),
    table("header.tsv", "text\tid"),
    table("no_column.csv", "tekst\ngood\n", "no_column.csv has no column text, .*tekst"),
    table("no_name.csv", ",\na,b\n", "no_name.csv has no column text"),
    table("binary.csv", bytes(range(256)) * 9, "binary.csv, line 1"),
    table("nul.csv", f"text\n{GOOD}\n\0\0\n{GOOD}\n", good=2),
    table("zip.csv", b"PK\x03\x04\x14\0\0\0", "zip.csv"),
    table("parquet.csv", b"PAR1\x15\x04\x15", "parquet.csv"),
    table("excel.tsv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100, "excel.tsv, line 1"),
    table("brackets.csv", f'text,images\n{GOOD},\n{GOOD},"{BRACKETS}"\n', bad={2: "not a JSON list"}, good=1),
    table(
        "images.csv",
        f'text,images\n{GOOD},"[1]"\n{GOOD},"[null]"\n{GOOD},"[{{}}]"\n{GOOD},\n',
        bad=dict.fromkeys((1, 2, 3), "an image is a path"),
        good=1,
    ),
    table(
        "paths.csv",
        f"text,images\n{GOOD},/etc/passwd\n{GOOD},../x.png\n{GOOD},~/x.png\n",
        bad={1: "absolute or outside", 2: "absolute or outside", 3: "No such file"},
    ),
    table(
        "address.csv", f"text,images\n{GOOD},https://127.0.0.1/a.png\n{GOOD},\n", bad={1: "is a URL: download"}, good=1
    ),
    table(
        "self.csv", f"text,images\n{GOOD},self.csv\n{GOOD},.\n", bad={1: "cannot identify|No such", 2: "not a regular"}
    ),
    table("long_path.csv", f"text,images\n{GOOD},{'x' * 400}a.png\n{GOOD},\n", bad={1: "too long"}, good=1),
    table(
        "cell.csv",
        "text\n" + "x" * 10_000_001 + f"\n{GOOD}\n",
        bad={1: r"line 2: field larger than field limit"},
        good=1,
    ),
    table(
        "many_columns.csv",
        ",".join(["text", *(f"c{n}" for n in range(20_000))]) + f"\n{GOOD}" + "," * 20_000 + "\n",
        good=1,
    ),
    table("many_lines.csv", "text\n" + '"a\n' * 3001 + f"{GOOD}\n", bad={1: "line 2"}, good=1),
    table("json.csv", lines(JSON_DAY), "json.csv has no column text"),
    table("plain.jsonl", lines(JSON_DAY, "", JSON_DAY), good=2),
    table("mark.jsonl", "\ufeff" + lines(JSON_DAY, JSON_DAY), good=2),
    table(
        "brackets.jsonl",
        lines(JSON_DAY, BRACKETS, f'{{"text": {BRACKETS}', JSON_DAY),
        bad={2: "line 2", 3: "line 3"},
        good=2,
    ),
    table("array.jsonl", json.dumps([JSON_DAY] * 3), "array.jsonl is one JSON array.*jq -c"),
    table("array_lines.jsonl", json.dumps([JSON_DAY] * 3, indent=1), "array_lines.jsonl is one JSON array"),
    table("pretty.jsonl", json.dumps(JSON_DAY, indent=2), "pretty.jsonl has JSON objects of several lines.*jq -c"),
    table(
        "nan.jsonl",
        lines('{"text": NaN}', '{"text": Infinity}', JSON_DAY),
        bad={2: "string"},
        empty=1,
        good=1,
    ),
    table(
        "types.jsonl",
        lines({"text": 3}, {"text": [GOOD]}, {"text": {"a": 1}}, {"text": True}, JSON_DAY),
        bad=dict.fromkeys((1, 2, 3, 4), "string or None"),
        good=1,
    ),
    table(
        "other_rows.jsonl",
        lines(JSON_DAY, "3", "null", '"text"', "[]", {}, {"a": 1}),
        bad={2: "line 2 is a int", 3: "NoneType", 4: "str", 5: "list", 6: "it has nothing", 7: "it has a"},
        good=1,
    ),
    table("keys.jsonl", lines('{"text": "a", "text": "b"}', JSON_DAY), bad={1: "the key 'text' occurs twice"}, good=1),
    table(
        "nested_keys.jsonl",
        lines('{"text": "good day", "x": {"a": 1, "a": 2}}', JSON_DAY),
        bad={1: "occurs twice"},
        good=1,
    ),
    table("nul.jsonl", lines(JSON_DAY, '{"text": "a\0"}', JSON_DAY), bad={2: "line 2"}, good=2),
    table("digits.jsonl", lines('{"text": ' + "9" * 10_000 + "}", JSON_DAY), bad={1: "line 1|string or None"}, good=1),
    table("floats.jsonl", lines('{"text": "good day", "id": 1e400}', '{"text": "good day", "id": [1]}'), good=2),
    table("cut.jsonl", lines(JSON_DAY) + '{"text": "good', bad={2: "line 2"}, good=1),
    table(
        "images.jsonl",
        lines(*({"text": GOOD, "images": value} for value in (3, [3], {}, [{}], True, "", []))),
        bad=dict.fromkeys((1, 2, 3, 4, 5), "an image is a path|image"),
        good=2,
    ),
    table(
        "bytes.jsonl",
        lines({"text": GOOD, "images": [{"bytes": "x"}]}, {"text": GOOD, "images": [{"bytes": 3}]}, JSON_DAY),
        bad=dict.fromkeys((1, 2), "image"),
        good=1,
    ),
    table(
        "id.jsonl",
        lines({"text": GOOD, "id": "\ud800"}, {"text": GOOD, "id": "x" * 100_000}, {"text": GOOD, "id": {"a": []}}),
        good=3,
    ),
    table("csv.jsonl", f"text\n{GOOD}\n", "csv.jsonl"),
    table("csv.parquet", f"text\n{GOOD}\n", "csv.parquet"),
    table("magic.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", "magic.parquet"),
    table("table.xlsx", b"PK\x03\x04", "table.xlsx is neither a folder nor one of"),
    table("table", f"text\n{GOOD}\n", "table is neither a folder nor one of"),
    table("table.csv.gz", b"\x1f\x8b\x08", "table.csv.gz is neither a folder nor one of"),
    table("CAPITAL.CSV", f"text\n{GOOD}\n", good=1),
    parquet("plain", DAYS, good=4),
    parquet("empty_rows", {"text": pa.array([], pa.string())}),
    parquet("half", DAYS, lambda content: content[: len(content) // 2], says="half.parquet"),
    parquet("page", DAYS, corrupt_page, says="page.parquet is damaged"),
    parquet("footer", DAYS, lambda content: content[:-60] + b"\xff" * 52 + content[-8:], says="footer.parquet"),
    parquet("dictionary", {"text": pa.array([GOOD] * 4).dictionary_encode()}, good=4),
    parquet("large_strings", {"text": pa.array([GOOD] * 4, pa.large_string())}, good=4),
    parquet("views", {"text": pa.array([GOOD] * 4, pa.string_view())}, good=4),
    parquet("null_column", {"text": pa.nulls(2)}, empty=2),
    parquet("nulls", {"text": [GOOD, None, GOOD]}, empty=1, good=2),
    parquet("numbers", {"text": [1, 2]}, bad=dict.fromkeys((1, 2), "string or None")),
    parquet("binary", {"text": [b"good day", b"\xff"]}, bad=dict.fromkeys((1, 2), "string or None")),
    parquet("nested", {"text": [{"a": [1]}, {"a": None}]}, bad=dict.fromkeys((1, 2), "string or None")),
    parquet("lists", {"text": [["good"], None]}, bad={1: "string or None"}, empty=1),
    parquet(
        "not_utf8",
        pa.table({"text": pa.array([b"good day", b"\xff", b"good day"]).view(pa.string())}),
        bad={2: "UTF-8|utf-8"},
        good=2,
    ),
    parquet(
        "images",
        {
            "text": [GOOD] * 3,
            "images": [[{"bytes": b"x", "path": None}], [{"bytes": None, "path": "../../etc/passwd"}], []],
        },
        bad={1: "cannot identify", 2: "outside"},
        good=1,
    ),
    parquet(
        "repeated",
        pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"]),
        says=f"repeated.parquet: {REPEATED}",
    ),
    parquet("no_column", {"tekst": ["a"]}, says="no_column.parquet has no column text"),
    parquet("no_columns", pa.table({}), says="no_columns.parquet has no column text"),
    special("fifo.csv", os.mkfifo, "fifo.csv is not a regular file"),
    special("fifo.parquet", os.mkfifo, "fifo.parquet is not a regular file"),
    special("device.csv", lambda path: path.symlink_to("/dev/zero"), "device.csv is not a regular file"),
    special("loop.csv", lambda path: path.symlink_to(path), "loop.csv"),
    special("missing.csv", lambda path: None, "There is no file .*missing.csv"),
    special("folder.csv", Path.mkdir, "folder.csv has no posts"),
    special("line\nend.csv", lambda path: path.write_text("tekst\n"), "has no column"),
    special("x" * 300 + ".csv", lambda path: None, "too long|no file"),
]


def folder(name: str, fill: Callable[[Path], None], says: str | None = None, **expected) -> Case:
    """Return the case of a folder of posts that has the good post `0.txt`, and what `fill` puts beside it."""

    def make(parent: Path) -> Path:
        path = parent / "posts"
        path.mkdir()
        if says is None:
            (path / "0.txt").write_text(GOOD)
        fill(path)
        return path

    return Case(name, make, says, **({"good": 1 if says is None else 0} | expected))


def files(**contents: bytes) -> Callable[[Path], None]:
    def fill(path: Path) -> None:
        for name, content in contents.items():
            (path / name.replace("_", ".", 1)).write_bytes(content)

    return fill


def link_out(path: Path) -> None:
    (path.parent / "secret.txt").write_text("secret")
    (path / "1.txt").symlink_to(path.parent / "secret.txt")


def two_images(path: Path) -> None:
    for suffix in ("png", "jpg", "JPG"):
        tiny.picture(0).save(path / f"1.{suffix}")


FOLDERS = [
    folder("alone", lambda path: None),
    folder("empty", lambda path: None, "posts has no posts"),
    folder("hidden files", files(**{"._0_txt": b"x", "_DS_Store": b"x", "_hidden_png": b"x"})),
    folder("other files", files(Thumbs_db=b"x", notes_md=b"x", x_csv=b"text\nx\n")),
    folder("nested folders", lambda path: (path / "inner").mkdir() or (path / "inner" / "1.txt").write_text("x")),
    folder("a folder named as a text", lambda path: (path / "1.txt").mkdir()),
    folder("a pipe", lambda path: os.mkfifo(path / "1.txt")),
    folder("a pipe as image", lambda path: os.mkfifo(path / "0.png")),
    folder("a device", lambda path: (path / "1.txt").symlink_to("/dev/zero")),
    folder("a link out", link_out),
    folder("a link to itself", lambda path: (path / "1.txt").symlink_to(path / "1.txt")),
    folder("a link inside", lambda path: (path / "1.txt").symlink_to(path / "0.txt"), good=2),
    folder("a dangling link", lambda path: (path / "1.txt").symlink_to(path / "none.txt")),
    folder("only a link out", link_out, "posts has no posts"),
    folder("images of one stem", two_images),
    folder("texts of one stem", files(**{"1_txt": b"a", "1_TXT": b"b"}), bad={2: "the post has also the text"}),
    folder("an image that is none", files(**{"1_png": b"x"}), bad={2: "1.png: cannot identify"}),
    folder("an empty text", files(**{"1_txt": b""}), empty=1),
    folder("Latin-1", files(**{"1_txt": "schön".encode("latin-1")}), bad={2: "1.txt: "}),
    folder("UTF-16", files(**{"1_txt": "good".encode("utf-16")}), bad={2: "1.txt: "}),
    folder("with a mark", files(**{"1_txt": b"\xef\xbb\xbfgood day"}), good=2),
    folder(
        "a large text",
        lambda path: os.truncate((path / "1.txt").write_text("") or path / "1.txt", 10_000_001),
        bad={2: "1.txt: .*more than 10,000,000 bytes"},
    ),
    folder("a name that is not UTF-8", files(**{"1\udcff_txt": b"good day"}), good=2),
    folder("a name with a line end", files(**{"1\n2_txt": b"good day"}), good=2),
    folder("a name of markup", files(**{"<b>_txt": b"good day"}), good=2),
    folder("a long name", files(**{"x" * 240 + "_txt": b"good day"}), good=2),
    folder("many files", files(**{f"{number:04}_txt": b"good day" for number in range(1, 500)}), good=500),
]

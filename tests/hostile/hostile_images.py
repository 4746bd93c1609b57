"""Cases of images: files, and objects in memory."""

import os
import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import tiny
import torch
from hostile_case import Case
from PIL import Image, ImageCms, PngImagePlugin

PICTURE = tiny.picture(0)
RED = Image.new("RGB", (40, 30), (200, 30, 30))
UNKNOWN = "cannot identify an image in one of the formats"
OUTSIDE = {"predict": "outside", "train_image": "outside"}
OUTSIDE |= dict.fromkeys(("audit_image", "export_image"), "symbolic link")


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def image_file(name: str, content: bytes | Callable[[], bytes], says: str | None = None, **expected) -> Case:
    """Return the case of a file with this content."""

    def make(folder: Path) -> Path:
        (folder / name.split(" ")[0]).write_bytes(content() if callable(content) else content)
        return folder / name.split(" ")[0]

    return Case(name, make, says, **expected)


def entry(name: str, make: Callable[[Path], None], says: str | None, **expected) -> Case:
    """Return the case of a file that is not regular."""

    def make_and_return(folder: Path) -> Path:
        make(folder / name.split(" ")[0])
        return folder / name.split(" ")[0]

    # The folder of a corpus is checked as a whole, and an audit counts what is absent apart.
    in_corpus = f"({says})|neither a file nor a folder|symbolic link|test-1: /.*({re.escape(name[:9])}|1.jpg)"
    at = dict.fromkeys(("audit_image", "export_image"), in_corpus) | expected.pop("at", {})
    return Case(name, make_and_return, says, at, upload=False, **expected)


def png(width: int, height: int, *chunks: tuple[bytes, bytes], pixels: bytes = b"") -> bytes:
    """Return a PNG that claims a size and holds these pixels."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in (header, *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")):
        parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def tiff_of(width: int, height: int) -> bytes:
    """Return a TIFF that claims a size."""
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 16) + b"\0" * 8 + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def turned() -> bytes:
    """Return a JPEG that a camera turned by 90 degrees says of itself."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(two_halves().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95, subsampling=0)


def two_halves() -> Image.Image:
    image = RED.copy()
    image.paste((20, 20, 220), (20, 0, 40, 30))
    return image


def transparent_palette() -> bytes:
    image = Image.new("P", (40, 30), 0)
    image.putpalette([200, 30, 30, 0, 0, 0])
    return encoded(image, "PNG", transparency=0)


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 100_000_000, zip=True)
    return encoded(RED, "PNG", pnginfo=info)


def damaged(content: bytes, where: float, value: bytes) -> bytes:
    position = int(len(content) * where)
    return content[:position] + value + content[position + len(value) :]


JPEG, PNG = encoded(PICTURE, "JPEG"), encoded(PICTURE, "PNG")
GREY = Image.new("L", (40, 30), 100)
IMAGE_FILES = [
    image_file("truncated.jpg", JPEG[: len(JPEG) // 2], "truncated.jpg: .*truncated"),
    image_file("truncated.png", PNG[: len(PNG) // 2], "truncated.png: .*(truncated|broken)"),
    image_file("truncated.webp", encoded(PICTURE, "WEBP")[:200], r"truncated.webp: "),
    image_file("truncated.tif", encoded(PICTURE, "TIFF")[:200], "truncated.tif: "),
    image_file("truncated.bmp", encoded(PICTURE, "BMP")[:200], "truncated.bmp: "),
    image_file("header_only.jpg", JPEG[:4], "header_only.jpg: "),
    image_file("progressive_cut.jpg", encoded(PICTURE, "JPEG", progressive=True)[:700], "truncated"),
    image_file("crc.png", damaged(PNG, 0.5, b"\0\0\0\0"), "crc.png: "),
    image_file("few_pixels.png", png(40, 30, pixels=b"\0" * 100), "few_pixels.png: "),
    image_file("zero.jpg", b"", f"zero.jpg: {UNKNOWN}"),
    image_file("one_byte.png", b"\x89", f"one_byte.png: {UNKNOWN}"),
    image_file("zeros.png", b"\0" * 1000, UNKNOWN),
    image_file("text.jpg", b"good day", UNKNOWN),
    image_file("eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", UNKNOWN),
    image_file("real_eps.jpg", lambda: encoded(RED, "EPS"), UNKNOWN),
    image_file("pdf.jpg", lambda: encoded(RED, "PDF"), UNKNOWN),
    image_file("svg.png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UNKNOWN),
    image_file("html.jpg", b"<!doctype html><html><script>alert(1)</script></html>", UNKNOWN),
    image_file("ppm.png", lambda: encoded(RED, "PPM"), UNKNOWN),
    image_file("ico.png", lambda: encoded(RED, "ICO"), UNKNOWN),
    image_file("tga.png", lambda: encoded(RED, "TGA"), UNKNOWN),
    image_file("zip.png", b"PK\x03\x04" + b"\0" * 100, UNKNOWN),
    image_file("jpeg_inside.png", encoded(RED, "JPEG", quality=95), shows=RED),
    image_file("bomb.png", png(60_000, 60_000), "bomb.png: .*pixels"),
    image_file("over_the_limit.png", png(8000, 8000), "8000 x 8000 pixels, over the limit of 50,000,000"),
    image_file(
        "bomb.gif", b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 6 + b",\0\0\0\0\xff\xff\xff\xff\0\x02", "pixels"
    ),
    image_file(
        "bomb.bmp", b"BM" + struct.pack("<IHHIIiiHH", 99, 0, 0, 54, 40, 60_000, 60_000, 1, 24) + b"\0" * 24, "pixels"
    ),
    image_file("bomb.tif", tiff_of(60_000, 60_000), "pixels"),
    image_file("bomb.jpg", damaged(JPEG, 0, JPEG).replace(b"\x00\x1e\x00\x28\x03", b"\xff\xdc\xff\xdc\x03"), "pixels"),
    image_file("bomb_of_text.png", text_bomb, "bomb_of_text.png: .*too large"),
    image_file("one_pixel.png", encoded(Image.new("RGB", (1, 1), (200, 30, 30)), "PNG"), shows=RED),
    image_file("tall.png", encoded(Image.new("RGB", (1, 60_000), (200, 30, 30)), "PNG"), shows=RED),
    image_file("wide.png", encoded(Image.new("RGB", (60_000, 1), (200, 30, 30)), "PNG"), shows=RED),
    image_file("no_width.png", png(0, 30), "no_width.png: "),
    image_file("grey.png", encoded(GREY, "PNG"), shows=GREY),
    image_file("grey_jpeg.jpg", encoded(GREY, "JPEG"), shows=GREY),
    image_file("bits_16.png", encoded(Image.fromarray(np.full((30, 40), 25_700, np.uint16)), "PNG"), shows=GREY),
    image_file("bits_16.tif", encoded(Image.fromarray(np.full((30, 40), 25_700, np.uint16)), "TIFF"), shows=GREY),
    image_file("integers_32.tif", encoded(Image.new("I", (40, 30), 70_000), "TIFF"), "integers_32.tif: .*int32"),
    image_file("floats.tif", encoded(Image.new("F", (40, 30), 100 / 255), "TIFF"), shows=GREY),
    image_file("floats_of_255.tif", encoded(Image.new("F", (40, 30), 100), "TIFF"), "scale floats to 0..1"),
    image_file("floats_nan.tif", encoded(Image.new("F", (40, 30), float("nan")), "TIFF"), "nan to nan"),
    image_file("la.png", encoded(Image.new("LA", (40, 30), (0, 0)), "PNG"), shows=Image.new("L", (40, 30), 255)),
    image_file(
        "rgba.png", encoded(Image.new("RGBA", (40, 30), (9, 9, 9, 0)), "PNG"), shows=Image.new("L", (9, 9), 255)
    ),
    image_file("palette.png", transparent_palette, shows=Image.new("L", (40, 30), 255)),
    image_file("one_bit.png", encoded(Image.new("1", (40, 30), 1), "PNG"), shows=Image.new("L", (40, 30), 255)),
    image_file("cmyk.jpg", encoded(Image.new("CMYK", (40, 30), (0, 0, 0, 155)), "JPEG"), shows=GREY),
    image_file("cmyk.tif", encoded(Image.new("CMYK", (40, 30), (0, 0, 0, 155)), "TIFF"), shows=GREY),
    image_file("lab.tif", encoded(Image.new("LAB", (40, 30)), "TIFF"), None),
    image_file(
        "moving.gif", encoded(GREY, "GIF", save_all=True, append_images=[Image.new("L", (40, 30))]), shows=GREY
    ),
    image_file("pages.tif", encoded(RED, "TIFF", save_all=True, append_images=[GREY]), shows=RED),
    image_file("moving.webp", encoded(RED, "WEBP", save_all=True, append_images=[GREY], quality=95), shows=RED),
    image_file("turned.jpg", turned, shows=two_halves()),
    image_file("exif_broken.jpg", turned().replace(b"Exif\0\0", b"Exif\0\0\xff\xff", 1), None),
    image_file("icc_broken.jpg", encoded(RED, "JPEG", icc_profile=b"broken" * 50, quality=95), shows=RED),
    image_file(
        "icc.jpg",
        encoded(
            RED, "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), quality=95
        ),
        shows=RED,
    ),
    image_file("bytes_after.jpg", encoded(RED, "JPEG", quality=95) + b"<?php ?>" * 999, shows=RED),
    image_file("bytes_after.png", encoded(RED, "PNG") + b"\0" * 9999, shows=RED),
    image_file("zwei wörter 😀.png", encoded(RED, "PNG")),
    entry("fifo.jpg", os.mkfifo, "fifo.jpg: not a regular file"),
    entry("device.jpg", lambda path: path.symlink_to("/dev/zero"), "device.jpg: not a regular file", at=OUTSIDE),
    entry("folder.jpg", Path.mkdir, "folder.jpg: not a regular file"),
    entry("loop.jpg", lambda path: path.symlink_to(path), "loop.jpg: .*(Too many levels|Symlink loop)"),
    entry("missing.jpg", lambda path: None, "missing.jpg: .*No such file"),
    entry("dangling.jpg", lambda path: path.symlink_to(path.parent / "nothing.jpg"), "dangling.jpg: .*No such file"),
    entry("outside.jpg", lambda path: path.symlink_to(outside(path)), None, at=OUTSIDE),
    entry(
        "large.jpg", lambda path: os.truncate(path.write_bytes(JPEG) and path, 20_000_001), "20,000,001 bytes, over"
    ),
    entry("line\nend.jpg", lambda path: path.write_bytes(JPEG[:500]), "[Tt]runcated"),
    entry(
        "not_utf8_\udcff.jpg",
        lambda path: path.write_bytes(JPEG[:500]),
        "[Tt]runcated",
        at={"train_image": "surrogates not allowed"},
    ),
    entry("x" * 300 + ".jpg", lambda path: None, "File name too long"),
]


def outside(path: Path) -> Path:
    """Return an image that is not in the folder of the inputs."""
    target = path.parents[1] / "outside.png"
    RED.save(target)
    return target


def value(name: str, make: Callable[[], object], says: str | None = None, **expected) -> Case:
    return Case(name, lambda folder: make(), says, **expected)


class Liar:
    """Claims to be an array."""

    def __array__(self, *_, **__):
        raise RuntimeError("no array")


def closed() -> Image.Image:
    image = Image.open(BytesIO(PNG))
    image.close()
    return image


ARRAY = np.asarray(RED)
FLOATS = ARRAY / 255
SHAPE, KIND = "an array of shape .* is not an image", "values of type {} are not an image"
IMAGE_OBJECTS = [
    value("array", lambda: ARRAY, shows=RED),
    value("floats", lambda: FLOATS, shows=RED),
    value("float16", lambda: FLOATS.astype(np.float16), shows=RED),
    value("floats slightly above 1", lambda: np.where(FLOATS > 0.5, 1.001, 0.0)),
    value("floats above 1", lambda: FLOATS + 0.5, "scale floats to 0..1"),
    value("floats of 255", lambda: ARRAY.astype(float), "scale floats"),
    value("NaN", lambda: np.full((9, 9, 3), np.nan), "nan to nan: scale floats"),
    value("infinity", lambda: np.full((9, 9, 3), np.inf), "inf to inf"),
    value("negative", lambda: -FLOATS, "scale floats"),
    value("uint16", lambda: ARRAY.astype(np.uint16) * 257, shows=RED),
    value("uint16 big-endian", lambda: (ARRAY.astype(np.uint16) * 257).astype(">u2"), shows=RED),
    value("int64", lambda: ARRAY.astype(np.int64), KIND.format("int64")),
    value("int8", lambda: ARRAY.astype(np.int8), KIND.format("int8")),
    value("uint32", lambda: ARRAY.astype(np.uint32), KIND.format("uint32")),
    value("complex", lambda: FLOATS.astype(complex), KIND.format("complex128")),
    value("strings", lambda: np.full((9, 9, 3), "x"), "values of type <U1"),
    value("objects", lambda: np.full((9, 9, 3), None), KIND.format("object")),
    value("dates", lambda: np.zeros((9, 9, 3), "datetime64[s]"), "values of type datetime64"),
    value("bool", lambda: np.ones((30, 40), bool), shows=Image.new("L", (9, 9), 255)),
    value("0-D", lambda: np.uint8(3), SHAPE),
    value("1-D", lambda: np.zeros(9, np.uint8), SHAPE),
    value("2-D", lambda: np.full((30, 40), 100, np.uint8), shows=GREY),
    value("4-D", lambda: ARRAY[None], SHAPE),
    value("2 channels", lambda: ARRAY[..., :2], SHAPE),
    value("5 channels", lambda: np.zeros((9, 9, 5), np.uint8), SHAPE),
    value("0 pixels", lambda: np.zeros((0, 9, 3), np.uint8), SHAPE),
    value("channels first", lambda: ARRAY.transpose(2, 0, 1), shows=RED),
    value("a view with steps", lambda: ARRAY[::-2, ::-2], shows=RED),
    value("tensor", lambda: torch.tensor(ARRAY).permute(2, 0, 1), shows=RED),
    value("tensor of floats", lambda: torch.tensor(FLOATS).permute(2, 0, 1), shows=RED),
    value("tensor of bfloat16", lambda: torch.zeros(3, 9, 9, dtype=torch.bfloat16), "BFloat16"),
    value("tensor with gradient", lambda: torch.zeros(3, 9, 9, requires_grad=True), "requires grad"),
    value("tensor of int64", lambda: torch.zeros(3, 9, 9, dtype=torch.int64), KIND.format("int64")),
    value("sparse tensor", lambda: torch.zeros(3, 9, 9).to_sparse(), "<image>: "),
    value("meta tensor", lambda: torch.zeros(3, 9, 9, device="meta"), "<image>: "),
    value("an array that is none", Liar, "no array"),
    value("lists of numbers", lambda: [[[0, 0, 0]]], "list is not an image|int is not an image"),
    value("int", lambda: 3, "int is not an image"),
    value("float NaN", lambda: float("nan"), "float is not an image"),
    value("set", lambda: {1}, "set is not an image"),
    value("bytes", lambda: PNG, "bytes is not an image"),
    value("bytesIO", lambda: BytesIO(PNG), "BytesIO is not an image"),
    value("empty dictionary", dict, "a dictionary is an image only if it has 'bytes' or a 'path'"),
    value("dictionary of None", lambda: {"bytes": None, "path": None}, "a dictionary is an image only if"),
    value("dictionary without bytes", lambda: {"bytes": b"", "path": "x.png"}, f"x.png: {UNKNOWN}"),
    value("dictionary of text", lambda: {"bytes": 3}, "a dictionary is an image only if"),
    value("dictionary", lambda: {"bytes": PNG, "path": "../../etc/passwd"}, shows=PICTURE),
    value("empty text", lambda: "", "not a regular file|No such file"),
    value("text with NUL", lambda: "a\0.png", "null"),
    value("http", lambda: "http://127.0.0.1:9/a.png", "is a URL: download|No such file"),
    value("https", lambda: "https://localhost/a.png", "is a URL: download|No such file"),
    value("ftp", lambda: "ftp://127.0.0.1/a.png", "No such file"),
    value("file address", lambda: "file:///etc/passwd", "No such file"),
    value("data address", lambda: "data:image/png;base64,AAAA", "No such file"),
    value("passwd", lambda: Path("/etc/passwd"), UNKNOWN),
    value("own folder", lambda: Path(), "not a regular file"),
    value("procfs", lambda: Path("/proc/self/mem"), "/proc/self/mem: "),
    value("closed image", closed, "<image>: |closed"),
    value("large image", lambda: Image.new("1", (8000, 8000)), "64|pixels, over the limit"),
    value("image of integers", lambda: Image.new("I", (9, 9), 3), KIND.format("int32")),
    value("image of HSV", lambda: Image.new("HSV", (9, 9)), shows=Image.new("L", (9, 9))),
]
ADDRESSES = [
    value(address, lambda address=address: address, says)
    for address, says in {
        "http://example.org/a.png": "is not an https URL",
        "https://127.0.0.1/a.png": "not public",
        "https://localhost/a.png": "not public|Name or service|Temporary failure",
        "https://[::1]/a.png": "not public",
        "https://10.1.2.3/a.png": "not public",
        "https://169.254.169.254/latest/meta-data": "not public",
        "https://2130706433/a.png": "not public|not known",
        "https://0x7f.1/a.png": "not public|not known",
        "https://[::ffff:127.0.0.1]/a.png": "not public",
        "https://[64:ff9b::7f00:1]/a.png": "not public",
        "https://0.0.0.0/a.png": "not public",
        "https://224.0.0.1/a.png": "not public",
        "https:///a.png": "https URL",
        "https://:99999/a.png": "https URL|[Pp]ort",
        "https://127.0.0.1:port/a.png": "[Pp]ort",
        "https://[bad/a.png": "Invalid IPv6",
        "https://user:secret@127.0.0.1/a.png": "not public",
        "HTTPS://127.0.0.1/\r\nHost: x": "not public|control characters",
        "https://" + "a" * 300 + ".example/a.png": "label too long|encod|not known|failure",
    }.items()
]

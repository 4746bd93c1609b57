"""Images from every kind of source, damaged files, and the limits on size."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from mmsent.modeling import common_images
from mmsent.modeling.common_images import BadImageError, load_image


def saved(image: Image.Image, file_format: str, **kwargs) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **kwargs)
    return file.getvalue()


def reopened(image: Image.Image, file_format: str, **kwargs) -> Image.Image:
    return Image.open(io.BytesIO(saved(image, file_format, **kwargs)))


def pixel(source) -> tuple[int, int, int]:
    image = load_image(source)
    assert image.mode == "RGB"
    return image.getpixel((0, 0))


def test_modes_become_rgb():
    assert pixel(Image.new("L", (3, 2), 200)) == (200, 200, 200)
    assert pixel(Image.new("1", (3, 2), 1)) == (255, 255, 255)
    assert pixel(Image.new("RGB", (3, 2), (1, 2, 3)).quantize()) == (1, 2, 3)
    assert pixel(reopened(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[0] > 200
    assert pixel(Image.new("I;16", (3, 2), 32768)) in [(127,) * 3, (128,) * 3]
    assert pixel(reopened(Image.new("I;16", (3, 2), 65535), "PNG")) == (255, 255, 255)
    assert pixel(Image.new("I;16", (3, 2), 255)) == (1, 1, 1), "16 bit, although the values would fit into 8"
    assert pixel(Image.new("F", (3, 2), 0.5)) in [(127,) * 3, (128,) * 3]
    with pytest.raises(BadImageError, match="values of type int32"):
        load_image(Image.new("I", (3, 2), 65535))
    with pytest.raises(BadImageError, match="values of type float32 are 200 to 200"):
        load_image(Image.new("F", (3, 2), 200))


def test_transparency_becomes_white():
    assert pixel(Image.new("RGBA", (3, 2), (9, 9, 9, 0))) == (255, 255, 255)
    assert pixel(Image.new("LA", (3, 2), (9, 0))) == (255, 255, 255)
    assert pixel(Image.new("RGBA", (3, 2), (9, 9, 9, 255))) == (9, 9, 9)
    palette = Image.new("P", (3, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert pixel(reopened(palette, "PNG", transparency=0)) == (255, 255, 255)
    assert pixel(reopened(palette, "PNG")) == (10, 20, 30)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_become_upright(orientation):
    upright = Image.new("RGB", (6, 4), "white")
    upright.putpixel((0, 0), (255, 0, 0))
    transposition = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera stores the image
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(transposition[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(reopened(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(upright))


def test_an_animation_becomes_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    red, _, blue = pixel(reopened(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert red > 200 > blue


def test_arrays_of_every_layout():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = array[..., 0]
    for source in (
        array,
        array.transpose(2, 0, 1),
        torch.from_numpy(array),
        (array / 255).astype(np.float32),
        array / 255 + 0.001,
        torch.from_numpy(array / np.float32(255)),
        array.astype(np.uint16) * 257,
        np.concatenate([array, np.full((5, 7, 1), 255, np.uint8)], 2),
    ):
        assert load_image(source).tobytes() == array.tobytes()
    for source in (grey, grey[..., None]):
        assert load_image(source).tobytes() == np.stack([grey] * 3, 2).tobytes()
    assert pixel(np.ones((2, 2), bool)) == (255, 255, 255)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_the_type_alone_tells_the_range(make):
    for value, dtype, grey in (
        *((1, np.uint8, 1), (1, np.uint16, 0), (255, np.uint16, 1), (65535, np.uint16, 255), (1, np.bool_, 255)),
        *((1, np.float32, 255), (1 / 255, np.float16, 1), (1.0019, np.float64, 255), (-0.0019, np.float32, 0)),
    ):
        assert pixel(make(np.full((2, 2), value, dtype))) == (grey,) * 3
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64, np.complex64):
        with pytest.raises(BadImageError, match=f"values of type {np.dtype(dtype)} are not an image"):
            load_image(make(np.ones((2, 2), dtype)))
    for value in (1.01, -0.01, 255, np.nan, np.inf):
        with pytest.raises(BadImageError, match="scale floats to 0..1"):
            load_image(make(np.array([[0.0, value]])))


def test_path_image_and_array_are_the_same(tmp_path):
    image, path = tiny.picture(0), tmp_path / "a.png"
    image.save(path)
    rows = [{"path": str(path), "bytes": None}, {"path": None, "bytes": path.read_bytes()}]
    for source in (image, str(path), path, np.asarray(image), *rows):
        assert load_image(source).tobytes() == image.tobytes()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG file of 60 bytes that claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD_FILES = {
    "truncated": (saved(tiny.picture(0, 200, 200), "JPEG")[:2000], "truncated"),
    "noise": (b"\xff\xd8\xff\xe0 this is not an image", ""),
    "empty": (b"", ""),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>', ""),
    "another format": (saved(Image.new("RGB", (8, 8)), "EPS"), "JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF"),
    "html": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", ""),
    # These two hold no pixels: an error about the limit shows that nothing was decoded before the check.
    "over the limit": (png_header(8_000, 6_251), "50,000,000"),
    "bomb": (png_header(60_000, 60_000), str(60_000**2)),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path, name):
    settings_of_pil = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)
    path = tmp_path / "picture.jpg"
    content, reason = BAD_FILES[name]
    path.write_bytes(content)
    for source in (path, str(path), {"path": str(path), "bytes": None}, {"path": str(path), "bytes": content}):
        with pytest.raises(BadImageError, match=f"picture.jpg: .*{reason}"):
            load_image(source)
    assert settings_of_pil == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)


@pytest.mark.parametrize(
    "source",
    [
        *("nowhere.jpg", 7, np.full((2, 2), np.nan), -np.ones((2, 2))),
        *({}, {"bytes": None}, {"path": None}, {"bytes": 7}, ["a.png"], b"noise"),
        *(np.zeros((2, 2, 2, 3)), np.zeros((5, 4, 2)), np.zeros((0, 4, 3))),
    ],
    ids=str,
)
def test_sources_that_are_not_images(source):
    with pytest.raises(BadImageError):
        load_image(source)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "MPO"])
def test_formats(file_format):
    if file_format in ("WebP", "AVIF") and not features.check(file_format.lower()):
        pytest.skip(f"Pillow was built without {file_format}")
    assert load_image({"bytes": saved(tiny.picture(0), file_format)}).size == (40, 30)


def test_only_regular_files_are_read(tmp_path):
    pipe, device = tmp_path / "pipe.jpg", tmp_path / "device.jpg"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for source in (pipe, str(device), {"path": str(tmp_path)}):
        with pytest.raises(BadImageError, match="not a regular file"):
            load_image(source)


def test_one_function_opens_all_images():
    files = [tiny.ROOT / "train.py", tiny.ROOT / "push_to_hub.py"]
    for room in ("modeling", "dataset_scripts", "src"):
        files += (tiny.ROOT / room).rglob("*.py")
    calls = {file.name: file.read_text(encoding="utf-8").count("Image.open(") for file in files}
    assert {name: count for name, count in calls.items() if count} == {"common_images.py": 1}


def test_limits_apply_to_every_source(tmp_path, monkeypatch):
    assert (common_images.MAX_IMAGE_PIXELS, common_images.MAX_IMAGE_BYTES) == (50_000_000, 20_000_000)
    path = tmp_path / "a.bmp"
    tiny.picture(0, 40, 30).save(path)
    size = path.stat().st_size
    sources = [str(path), {"bytes": path.read_bytes(), "path": None}]
    monkeypatch.setattr(common_images, "MAX_IMAGE_BYTES", size)
    monkeypatch.setattr(common_images, "MAX_IMAGE_PIXELS", 40 * 30)
    assert [load_image(source).size for source in sources] == [(40, 30)] * 2
    monkeypatch.setattr(common_images, "MAX_IMAGE_PIXELS", 40 * 30 - 1)
    for source in (*sources, tiny.picture(0, 40, 30)):
        with pytest.raises(BadImageError, match="40 x 30 pixels, over the limit"):
            load_image(source)
    monkeypatch.setattr(common_images, "MAX_IMAGE_BYTES", size - 1)
    for source in sources:
        with pytest.raises(BadImageError, match=f"{size:,} bytes, over the limit"):
            load_image(source)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]), st.data())
def test_damaged_files_decode_or_are_bad_images(file_format, data):
    content = bytearray(saved(tiny.picture(0, 16, 16), file_format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(BadImageError):
        assert load_image({"path": "x", "bytes": bytes(content)}).mode == "RGB"


LOAD_BY_PATH = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("alone", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(*{name.split(".")[0] for name in sys.modules} & {"mmsent", "torch", "transformers"})
"""


@pytest.mark.parametrize("name", ["common_images", "common_text"])
def test_a_file_that_corpora_read_imports_neither_torch_nor_the_project(name):
    command = [sys.executable, "-c", LOAD_BY_PATH, str(tiny.ROOT / f"modeling/{name}.py")]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == ""

"""Find the images of a corpus that cannot be decoded, before they stop a training run."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import PIL
from datasets import Dataset, DatasetDict
from huggingface_hub import cached_assets_path
from PIL import features

from mmsent.modeling import common_images
from mmsent.modeling.common_images import MAX_IMAGE_BYTES, BadImageError, load_image

from .common_corpus import undecoded
from .common_files import atomic_write, content_hash, open_file
from .common_processes import process_map

logger = logging.getLogger(__name__)

DIGEST = 32  # bytes of a SHA-256


def screen_images(
    corpus: DatasetDict,
    on_bad_image: Literal["error", "skip", "missing"],
    file_hashes: dict[str, str] | None = None,
) -> tuple[DatasetDict, dict[str, list[str]]]:
    """Decode every image of a corpus once, and handle the images that cannot be decoded.

    Images are decoded on all cores. The SHA-256 of each image that could be decoded is remembered in the cache
    of assets (`HF_ASSETS_CACHE`): later, its file is read, but not decoded. Another decoder is another cache.

    Args:
        on_bad_image: "error" raises an error, "skip" drops the post of the image, and "missing" keeps the post without
            the image.
        file_hashes: A dictionary that gets the SHA-256 of each image file by its path.

    Returns:
        The corpus with undecoded images, and the file name and the reason of each bad image by split.
    """
    report: dict[str, list[str]] = {}
    screened = DatasetDict()
    known = _read_known()
    before = len(known)
    for split, posts in undecoded(corpus).items():
        bad = _bad_images(posts, split, known, {} if file_hashes is None else file_hashes)
        report |= {split: list(bad.values())} if bad else {}
        if bad and on_bad_image == "skip":
            bad_rows = {row for row, _ in bad}
            posts = posts.select([row for row in range(len(posts)) if row not in bad_rows])
        elif bad and on_bad_image == "missing":
            posts = posts.map(
                _without_images, with_indices=True, fn_kwargs={"bad": set(bad)}, desc=f"{split}: removing images"
            )
        screened[split] = posts
    if len(known) > before:
        _remember(known)
    if report and on_bad_image == "error":
        lines = [line for split_lines in report.values() for line in split_lines]
        lines[10:] = [f"... and {len(lines) - 10} more"] * (len(lines) > 10)
        count = sum(map(len, report.values()))
        raise BadImageError(
            f"{count} images cannot be decoded:\n" + "\n".join(lines) + "\nRepair the files, or drop the posts "
            "(on_bad_image='skip') or only the images (on_bad_image='missing')."
        )
    return screened, report


def _bad_images(posts: Dataset, split: str, known: set[bytes], file_hashes: dict[str, str]) -> dict:
    """Map (row, index of the image in the row) to file name and reason, for each image that cannot be decoded."""
    digests: list[bytes | None] = []
    chosen = set(known)

    def unknown() -> Iterator[dict]:
        for _, _, _, image in _images(posts):
            content = _read(image)
            digest = None if content is None else hashlib.sha256(content).digest()
            digests.append(digest)
            if digest and image["bytes"] is None:
                file_hashes[image["path"]] = digest.hex()
            if digest and digest not in chosen:
                chosen.add(digest)
                yield image

    checks = process_map(_check, unknown(), len(posts), f"{split}: checking images")
    known.update(digest for digest, reason in checks if digest and not reason)
    bad = {}
    if not known.issuperset(digests):
        for (row, post_id, index, image), digest in zip(_images(posts), digests, strict=True):
            if digest not in known and (reason := _check(image)[1]):
                bad[row, index] = f"post {post_id}: {reason}"
    return bad


def _images(posts: Dataset) -> Iterator[tuple[int, str, int, dict]]:
    """Yield row, id of the post, index in the row, and undecoded image."""
    row = 0
    for batch in posts.select_columns(["id", "images"]).iter(1000):
        for post_id, images in zip(batch["id"], batch["images"], strict=True):
            yield from ((row, post_id, index, image) for index, image in enumerate(images))
            row += 1


def _read(image: dict) -> bytes | None:
    """Return the content of an image, or None if it cannot be read; `load_image` says why."""
    content = image and image["bytes"]
    with suppress(OSError, ValueError, TypeError):
        if content is None and Path(image["path"]).stat().st_size <= MAX_IMAGE_BYTES:
            with open_file(Path(image["path"])) as file:
                content = file.read()
    return content


def _check(image: dict) -> tuple[bytes | None, str]:
    """Return the SHA-256 of an image, if it can be read, and why the image cannot be decoded, or ""."""
    content = _read(image)
    digest = None if content is None else hashlib.sha256(content).digest()
    try:
        load_image(image if content is None else image | {"bytes": content})
    except BadImageError as error:
        return digest, str(error)
    return digest, ""


def decode_errors(post: dict) -> dict[str, list[str]]:
    """Return `{"reasons": [...]}`: for each image of a post, why it cannot be decoded, or "" if it can."""
    reasons = (reason for _, reason in (_check(image) for image in post["images"]))
    return {"reasons": [reason and f"post {post['id']}: {reason}" for reason in reasons]}


def _known_file() -> Path:
    """Return the file of the remembered images. Its name has all that decides whether an image can be decoded."""
    versions = [features.version(name) for name in ("jpg", "zlib", "webp", "libtiff", "avif")]
    rule = f"{content_hash(Path(common_images.__file__))} {PIL.__version__} {versions}"
    return cached_assets_path("mmsent", "decodable_images") / f"{hashlib.sha256(rule.encode()).hexdigest()[:16]}.bin"


def _read_known() -> set[bytes]:
    with suppress(OSError, ValueError):  # There is no such file yet, or the folder cannot be made.
        content = _known_file().read_bytes()
        return {content[start : start + DIGEST] for start in range(0, len(content) - DIGEST + 1, DIGEST)}
    return set()


def _remember(known: set[bytes]) -> None:
    try:
        with atomic_write(_known_file()) as temporary:
            temporary.write_bytes(b"".join(sorted(known | _read_known())))
    except (OSError, ValueError) as error:
        logger.warning("The images are decoded again in the next run, because they cannot be remembered: %s", error)


def _without_images(post: dict, row: int, bad: set[tuple[int, int]]) -> dict:
    return {"images": [image for index, image in enumerate(post["images"]) if (row, index) not in bad]}

"""Find the images of a corpus that cannot be decoded, before they stop a training run."""

from typing import Literal

from datasets import Dataset, DatasetDict

from mmsent.modeling.common_images import BadImageError, load_image

from .common_corpus import undecoded


def screen_images(
    corpus: DatasetDict, on_bad_image: Literal["error", "skip", "missing"]
) -> tuple[DatasetDict, dict[str, list[str]]]:
    """Decode every image of a corpus once, and handle the images that cannot be decoded.

    Args:
        on_bad_image: "error" raises an error, "skip" drops the post of the image, and "missing" keeps the post without
            the image.

    Returns:
        The corpus with undecoded images, and the file name and the reason of each bad image by split.
    """
    report: dict[str, list[str]] = {}
    screened = DatasetDict()
    for split, posts in undecoded(corpus).items():
        bad = _bad_images(posts, split)
        report |= {split: list(bad.values())} if bad else {}
        if bad and on_bad_image == "skip":
            bad_rows = {row for row, _ in bad}
            posts = posts.select([row for row in range(len(posts)) if row not in bad_rows])
        elif bad and on_bad_image == "missing":
            posts = posts.map(
                _without_images, with_indices=True, fn_kwargs={"bad": set(bad)}, desc=f"{split}: removing images"
            )
        screened[split] = posts
    if report and on_bad_image == "error":
        lines = [line for split_lines in report.values() for line in split_lines]
        lines[10:] = [f"... and {len(lines) - 10} more"] * (len(lines) > 10)
        count = sum(map(len, report.values()))
        raise BadImageError(
            f"{count} images cannot be decoded:\n" + "\n".join(lines) + "\nRepair the files, or drop the posts "
            "(on_bad_image='skip') or only the images (on_bad_image='missing')."
        )
    return screened, report


def _bad_images(posts: Dataset, split: str) -> dict[tuple[int, int], str]:
    """Map (row, index of the image in the row) to file name and reason, for each image that cannot be decoded."""
    # The result is not cached, because the key of the cache does not change when a file is repaired.
    checked = posts.select_columns(["id", "images"]).map(
        decode_errors,
        desc=f"{split}: checking images",
        remove_columns=["id", "images"],
        load_from_cache_file=False,
        keep_in_memory=True,
    )
    return {
        (row, index): reason
        for row, reasons in enumerate(checked["reasons"])
        for index, reason in enumerate(reasons)
        if reason
    }


def decode_errors(post: dict) -> dict[str, list[str]]:
    """Return `{"reasons": [...]}`: for each image of a post, why it cannot be decoded, or "" if it can."""
    reasons = []
    for image in post["images"]:
        try:
            load_image(image)
            reasons.append("")
        except BadImageError as error:
            reasons.append(f"post {post['id']}: {error}")
    return {"reasons": reasons}


def _without_images(post: dict, row: int, bad: set[tuple[int, int]]) -> dict:
    return {"images": [image for index, image in enumerate(post["images"]) if (row, index) not in bad]}

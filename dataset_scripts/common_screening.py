"""Finding the images of a corpus that cannot be decoded, before they stop a training run."""

from typing import Literal

from datasets import Dataset, DatasetDict, Image, List

from mmsent.modeling.common_images import BadImageError, load_image


def screen_images(
    corpus: DatasetDict, on_bad_image: Literal["error", "skip", "missing"]
) -> tuple[DatasetDict, dict[str, list[str]]]:
    """Decode every image of the corpus once and deal with those that fail.

    Args:
        corpus: any corpus of this project's schema.
        on_bad_image: `"error"` stops; `"skip"` leaves the image's post out; `"missing"` keeps the post without the
            image.

    Returns:
        the corpus, its images left as `{"bytes", "path"}` for `modeling.load_image` to decode, and by split the
        file names and reasons of those that failed.

    Raises:
        BadImageError: `on_bad_image` is `"error"` and at least one image failed; names the first ten.
    """
    report: dict[str, list[str]] = {}
    screened = DatasetDict()
    for split, posts in corpus.items():
        posts = posts.cast_column("images", List(Image(decode=False)))
        bad = _find_bad(posts, split)
        report |= {split: list(bad.values())} if bad else {}
        if bad and on_bad_image == "skip":
            rows = {row for row, _ in bad}
            posts = posts.select([row for row in range(len(posts)) if row not in rows])
        elif bad and on_bad_image == "missing":
            posts = posts.map(_without, with_indices=True, fn_kwargs={"bad": set(bad)}, desc=f"{split}: leaving out")
        screened[split] = posts
    if report and on_bad_image == "error":
        lines = [line for split_lines in report.values() for line in split_lines]
        more = f"\n... and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise BadImageError(
            f"{len(lines)} images cannot be decoded:\n" + "\n".join(lines[:10]) + more + "\nMend the files, or leave "
            "out the posts (on_bad_image='skip') or only the images (on_bad_image='missing')."
        )
    return screened, report


def _find_bad(posts: Dataset, split: str) -> dict[tuple[int, int], str]:
    """(row, image of the row) -> file name and reason, of every image that cannot be decoded."""
    # Never from datasets' cache: its key does not change when a file is mended.
    found = posts.select_columns(["id", "images"]).map(
        decode_errors,
        desc=f"{split}: checking images",
        remove_columns=["id", "images"],
        load_from_cache_file=False,
        keep_in_memory=True,
    )
    return {
        (row, index): reason
        for row, reasons in enumerate(found["reasons"])
        for index, reason in enumerate(reasons)
        if reason
    }


def decode_errors(post: dict) -> dict[str, list[str]]:
    """`reasons`: of each image of a post, why it cannot be decoded, "" where it can."""
    reasons = []
    for image in post["images"]:
        try:
            load_image(image)
            reasons.append("")
        except BadImageError as error:
            reasons.append(f"post {post['id']}: {error}")
    return {"reasons": reasons}


def _without(post: dict, row: int, bad: set[tuple[int, int]]) -> dict:
    return {"images": [image for index, image in enumerate(post["images"]) if (row, index) not in bad]}

"""Measure how the time of finding duplicates between the splits of a corpus grows with its posts.

    python benchmarks/near_duplicates.py [--data_dir MVSA_Single] [--output benchmarks/near_duplicates.json]

Posts are generated: texts of frequent and rare words with the lengths of tweets, and random perceptual hashes with
thumbnails. Some are near-duplicates of others. An audit compares the three pairs of splits of 80, 10 and 10 %. The
earlier way, which is kept here, compared each image of a split with all images of the other, found candidates among
texts by MinHash (datasketch, which needs `pip install datasketch`), and compared train with the other splits twice.
Reading, decoding and hashing an image are measured apart, and so is screening: at first, and when the images are
remembered. This is done with drawn JPEG files, and with those of MVSA-Single if --data_dir names it. The passing time
depends on what else the machine does (`load_at_the_end`): without that, all cores share the time of the processors.
"""

import os
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
from common_report import parser_of, write_report
from datasets import Dataset, DatasetDict, List
from datasets import Image as ImageFeature
from PIL import Image

from mmsent.dataset_scripts import common_screening
from mmsent.dataset_scripts.common_leaks import ImageHashes, Traces, find_leaks, hash_image, normalise
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.dataset_scripts.common_similarity import NEAR_COLOUR, NEAR_IMAGE, NEAR_TEXT, shingles
from mmsent.modeling.common_images import load_image

SIZES = (5_000, 20_000, 60_000, 200_000)
EARLIER_SIZES = (5_000, 20_000)
TARGET_SIZE = 600_000
VOCABULARY = 50_000
DUPLICATES = 0.05  # share of posts that are made from an earlier post by a small change
DRAWN_IMAGES, DRAWN_SIZE = 2_000, (640, 480)


def generate_posts(count: int, seed: int = 0) -> Traces:
    """Return posts whose words follow Zipf's law and whose lengths have a median of 16 words."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwygpbvkxqjz"))
    weights = 1 / np.arange(1, 27) ** 0.7
    words = [
        "".join(rng.choice(letters, size, p=weights / weights.sum()))
        for size in rng.integers(2, 11, VOCABULARY)
    ]  # fmt: skip
    frequencies = 1 / np.arange(1, VOCABULARY + 1)
    ranks = rng.choice(VOCABULARY, 40 * count, p=frequencies / frequencies.sum())
    lengths = np.clip(rng.lognormal(np.log(16), 0.5, count), 2, 40).astype(int)
    phashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    thumbnails = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.int16)
    texts = []
    for post in range(count):
        chosen = ranks[40 * post : 40 * post + lengths[post]]
        texts.append(" ".join(words[rank] for rank in chosen))
        if post and rng.random() < DUPLICATES:
            earlier = rng.integers(post)
            texts[post] = f"{texts[earlier]} {words[chosen[0]]}"
            phashes[post] = phashes[earlier] ^ np.uint64(1 << int(rng.integers(64)))
            thumbnails[post] = thumbnails[earlier] // 2 * 2
    images = [
        [ImageHashes(post.to_bytes(8), phash, thumbnail)]
        for post, (phash, thumbnail) in enumerate(zip(phashes.tolist(), thumbnails, strict=True))
    ]
    ids = list(map(str, range(count)))
    return Traces(ids, [None] * count, texts, [normalise(text) for text in texts], images)


def split_posts(posts: Traces) -> list[Traces]:
    count = len(posts.ids)
    edges = [0, count * 8 // 10, count * 9 // 10, count]
    return [
        Traces(*(column[start:end] for column in vars(posts).values()))
        for start, end in zip(edges, edges[1:], strict=False)
    ]  # fmt: skip


def earlier_near_texts(one: list[str], other: list[str]) -> set[tuple[int, int]]:
    from datasketch import MinHash, MinHashLSH

    def signature(text: str) -> MinHash:
        minhash = MinHash(num_perm=128)
        minhash.update_batch([shingle.encode() for shingle in shingles(text)])
        return minhash

    index, rows_of, pairs, near = MinHashLSH(threshold=NEAR_TEXT - 0.2, num_perm=128), defaultdict(list), set(), {}
    for row, text in enumerate(other):
        if text not in rows_of:
            index.insert(text, signature(text), check_duplication=False)
        rows_of[text].append(row)
    for row, text in enumerate(one):
        if text not in near:
            own = shingles(text)
            candidates = [(candidate, shingles(candidate)) for candidate in index.query(signature(text))]
            near[text] = [text for text, found in candidates if len(own & found) >= NEAR_TEXT * len(own | found)]
        pairs |= {(row, second) for candidate in near[text] for second in rows_of[candidate]}
    return pairs


def earlier_near_images(one: list[list[ImageHashes]], other: list[list[ImageHashes]]) -> set[tuple[int, int]]:
    second = [(row, image) for row, images in enumerate(other) for image in images]
    hashes, near = np.array([image.phash for _, image in second], dtype=np.uint64), set()
    for row, image in ((row, image) for row, images in enumerate(one) for image in images):
        for index in np.flatnonzero(np.bitwise_count(hashes ^ np.uint64(image.phash)) <= NEAR_IMAGE):
            other_row, candidate = second[index]
            if np.abs(image.thumbnail - candidate.thumbnail).mean() <= NEAR_COLOUR:
                near.add((row, other_row))
    return near


def seconds_of(way: Callable[[], object]) -> tuple[float, object]:
    started = time.perf_counter()
    result = way()
    return round(time.perf_counter() - started, 2), result


def measure_size(count: int) -> dict:
    """Return the seconds of an audit's comparisons, and how many posts the earlier way finds besides."""
    splits = split_posts(generate_posts(count))
    pairs = list(combinations(splits, 2))
    seconds, leaks = seconds_of(lambda: [find_leaks(*pair) for pair in pairs])
    figures = {
        "seconds": seconds,
        "near_texts": sum(len(leak["near_text"].first) for leak in leaks),
        "near_images": sum(len(leak["near_image"].first) for leak in leaks),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if count in EARLIER_SIZES:
        twice = [*pairs, *pairs[:2]]
        texts, text_pairs = seconds_of(lambda: [earlier_near_texts(a.normalised, b.normalised) for a, b in twice])
        images, image_pairs = seconds_of(lambda: [earlier_near_images(a.images, b.images) for a, b in twice])
        figures |= {"earlier_seconds": round(texts + images, 2), "earlier_seconds_of_texts": texts}
        figures |= {"earlier_seconds_of_images": images, "ratio": round((texts + images) / seconds, 1)}
        figures["earlier_near_texts"] = sum(
            len({row for row, second in pairs if a.normalised[row] != b.normalised[second]})
            for pairs, (a, b) in zip(text_pairs[:3], twice, strict=False)
        )
        figures["earlier_near_images"] = sum(len({row for row, _ in pairs}) for pairs in image_pairs[:3])
    return figures


def draw_images(folder: Path) -> list[str]:
    """Draw JPEG files with as much detail as photos: sums of smooth noise."""
    rng, paths = np.random.default_rng(0), []
    for number in range(DRAWN_IMAGES):
        layers = [
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (size * 3 // 4, size, 3), dtype=np.uint8)).resize(DRAWN_SIZE)
            )
            for size in (8, 64, 320)
        ]
        picture = np.average(layers, axis=0, weights=[6, 3, 1]).astype(np.uint8)
        paths.append(str(folder / f"{number}.jpg"))
        Image.fromarray(picture).save(paths[-1], quality=85)
    return paths


def milliseconds_per_image(way: Callable[[], object], count: int) -> dict[str, float]:
    """Return the milliseconds that pass for an image, and those that the processors work, children included."""
    before = os.times()
    seconds, _ = seconds_of(way)
    busy = sum(os.times()[:4]) - sum(before[:4])
    return {"passing": round(1000 * seconds / count, 3), "of_processors": round(1000 * busy / count, 3)}


def measure_reading(paths: list[str]) -> dict:
    """Return what reading, decoding and hashing an image costs, and what screening costs at first and later."""
    posts = [{"id": path, "text": "", "images": [path], "aspect": None} for path in paths]
    corpus = DatasetDict(train=Dataset.from_list(posts).cast_column("images", List(ImageFeature())))
    hash_image(paths[0])

    def in_threads() -> None:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(hash_image, paths))

    hashing = milliseconds_per_image(lambda: Traces.of(posts, len(posts), "images"), len(paths))
    with tempfile.TemporaryDirectory() as cache:
        common_screening.cached_assets_path = lambda *_: Path(cache)
        ways = {
            "hashing_in_one_thread": lambda: list(map(hash_image, paths)),
            "hashing_in_threads": in_threads,
            "decoding_in_one_thread": lambda: list(map(load_image, paths)),
            "screening_at_first": lambda: screen_images(corpus, "error"),
            "screening_later": lambda: screen_images(corpus, "error"),
        }
        costs = {name: milliseconds_per_image(way, len(paths)) for name, way in ways.items()}
    return {
        "images": len(paths),
        "mean_kilobytes": round(sum(Path(path).stat().st_size for path in paths) / len(paths) / 1000, 1),
        "milliseconds_per_image": {"hashing": hashing, **costs},
        f"minutes_for_{TARGET_SIZE}": round(hashing["passing"] * TARGET_SIZE / 60_000, 1),
    }


def main() -> None:
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--data_dir", type=Path, help="MVSA-Single, whose images are then hashed too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        reading = {"drawn_640_x_480": measure_reading(draw_images(Path(folder)))}
    if args.data_dir:
        reading["mvsa_single"] = measure_reading(sorted(map(str, args.data_dir.glob("data/*.jpg"))))
    sizes = {str(size): measure_size(size) for size in SIZES}
    exponent, offset = np.polyfit(np.log(SIZES), np.log([row["seconds"] for row in sizes.values()]), 1)
    minutes = float(np.exp(offset + exponent * np.log(TARGET_SIZE)) / 60)
    totals = {name: round(minutes + row[f"minutes_for_{TARGET_SIZE}"], 1) for name, row in reading.items()}
    figures = {
        "comparing": sizes,
        "fitted_exponent": round(float(exponent), 2),
        f"extrapolated_minutes_for_{TARGET_SIZE}": round(minutes, 1),
        "reading_and_hashing": reading,
        f"minutes_for_{TARGET_SIZE}_in_all": totals,
    }
    write_report(args, figures, duplicates=DUPLICATES, load_at_the_end=round(os.getloadavg()[0], 1))


if __name__ == "__main__":
    main()

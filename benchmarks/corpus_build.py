"""Measure how time and memory of building a corpus grow with its posts, and how long a built corpus takes to open.

    python benchmarks/corpus_build.py [--output benchmarks/corpus_build.json]

Every figure is a ratio: 50,000 generated posts against 5,000. Each build runs in a process of its own with an empty
cache. Memory is the peak of the resident set, beside that of the same process after its imports.
"""

import csv
import statistics
import tempfile
from pathlib import Path

from common_report import parser_of, run_child, write_report

SIZES = (5_000, 50_000)
REPEATS = 3
WORDS = "屏幕 很 好 ， 电池 一般 拍照 清楚 价格 便宜 手感 不错".split()  # noqa: SIM905

CHILD = """
import json, os, resource, sys, time
name, folder, cache, num_proc = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]) or None
import mmsent
from datasets import load_dataset, disable_progress_bars
disable_progress_bars()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.perf_counter()
corpus = load_dataset(name, data_dir=folder, cache_dir=cache, num_proc=num_proc)
seconds = time.perf_counter() - start
posts = sum(corpus.num_rows.values())
print(json.dumps({"seconds": seconds, "peak_mib": peak(), "imports_mib": before, "posts": posts}))
"""


def write_multi_zol(folder: Path, posts: int) -> None:
    """Write lines of about 100 words with up to four image names, as in the release. The images are empty files."""
    (folder / "img").mkdir(parents=True)
    shares = {"Train": 0.8, "Dev": 0.1, "Test": 0.1}
    for split, share in shares.items():
        with (folder / f"zol_{split}_jieba.txt").open("w", encoding="utf-8") as file:
            for post in range(int(posts * share)):
                text = " ".join([split, str(post), *(WORDS[(post * i) % len(WORDS)] for i in range(1, 98))])
                names = [f"{split}_{post}_{slot}.jpg" for slot in range(post % 5)]
                file.write(f"{text}\n{names}\n电池续航\n{[10.0, 8.0, 6.0][post % 3]}\n")
                for name in names[:1]:
                    (folder / "img" / name).touch()


def write_vso(folder: Path, posts: int) -> None:
    """Write a table of posts with 60 words each, a list of two ANPs, and empty image files."""
    (folder / "images").mkdir(parents=True)
    (folder / "3244ANPs.txt").write_text(
        "1. big [sentiment: 1.00] [#images: 9]\n"
        "\tbig_dog [sentiment: 1.10] [#imgs: 9]\n"
        "\tsad_dog [sentiment: -1.10] [#imgs: 9]\n"
    )
    with (folder / "posts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "description", "tags", "anp", "image"])
        for post in range(posts):
            words = " ".join(f"word{(post * i) % 997}" for i in range(60))
            writer.writerow([post, f"photo {post}", words, "dog", ["big_dog", "sad_dog"][post % 2], f"{post}.jpg"])
            (folder / "images" / f"{post}.jpg").touch()


WRITERS = {"multi_zol": write_multi_zol, "vso": write_vso}


def measure_size(name: str, folder: Path, posts: int) -> dict:
    """Return the medians over all repeats for a corpus of one size."""
    WRITERS[name](folder, posts)
    builds = [run_child(CHILD, name, folder, folder / f"cache{run}", 0) for run in range(REPEATS)]
    opened = [run_child(CHILD, name, folder, folder / "cache0", 0) for _ in range(REPEATS)]
    two = [run_child(CHILD, name, folder, folder / f"two{run}", 2) for run in range(REPEATS)]
    assert {run["posts"] for run in builds + opened + two} == {builds[0]["posts"]}

    def median(runs: list[dict], key: str) -> float:
        return round(statistics.median(run[key] for run in runs), 3)

    return {
        "posts": builds[0]["posts"],
        "build_seconds": median(builds, "seconds"),
        "build_seconds_two_processes": median(two, "seconds"),
        "open_seconds": median(opened, "seconds"),
        "peak_mib": median(builds, "peak_mib"),
        "imports_mib": median(builds, "imports_mib"),
    }


def main() -> None:
    args = parser_of(__file__, __doc__).parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in WRITERS:
            rows = {str(size): measure_size(name, Path(temporary, f"{name}-{size}"), size) for size in SIZES}
            small, large = rows.values()
            figures[name] = rows | {
                "ratio_of_time": round(large["build_seconds"] / small["build_seconds"], 2),
                "ratio_of_peak_memory": round(large["peak_mib"] / small["peak_mib"], 3),
                "ratio_of_one_process_to_two": round(large["build_seconds"] / large["build_seconds_two_processes"], 2),
                "ratio_of_open_to_build": round(large["open_seconds"] / large["build_seconds"], 4),
            }
    write_report(args, figures, repeats=REPEATS)


if __name__ == "__main__":
    main()

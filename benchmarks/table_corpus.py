"""Measure time and memory of the corpus of a table with many rows, and whether the length of its cells matters.

    python benchmarks/table_corpus.py [--rows 1000000] [--output benchmarks/table_corpus.json]

Each row has a text of ten words without images. A tenth of the rows is read twice, with texts of ten and of a hundred
words: the memory of the two should be the same. Each table is read in a
process of its own: once to plan the corpus, with its splits, and then post by post. Memory is the peak of the resident
set above that of the same process after its imports. The figures of ten million rows are extrapolated.
"""

import csv
import random
import tempfile
from pathlib import Path

from common_report import parser_of, run_child, write_report

CHILD = """
import json, resource, sys, time
import mmsent
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.perf_counter()
corpus = mmsent.load_corpus("posts", data_files=sys.argv[1], streaming=True)
planned = time.perf_counter() - start
memory = peak() - before
posts = sum(1 for split in corpus.values() for _ in split)
print(json.dumps({"rows": posts, "seconds_to_plan": round(planned, 1), "megabytes_to_plan": round(memory),
    "seconds_to_read": round(time.perf_counter() - start - planned, 1), "megabytes_in_all": round(peak() - before)}))
"""


def write_table(path: Path, rows: int, words: int) -> None:
    """Write a table of random texts with three labels."""
    draw = random.Random(0)
    vocabulary = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(20_000)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tweet", "sentiment"])
        for _ in range(rows):
            writer.writerow([" ".join(draw.choices(vocabulary, k=words)), draw.choice(["bad", "plain", "good"])])


def main() -> None:
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        tables = {"short_texts": (1, 10), "a_tenth_of_short_texts": (10, 10), "a_tenth_of_long_texts": (10, 100)}
        for name, (divisor, words) in tables.items():
            path = Path(folder, f"{name}.csv")
            write_table(path, args.rows // divisor, words)
            figures[name] = {"megabytes_of_table": round(path.stat().st_size / 2**20)} | run_child(CHILD, path)
            path.unlink()
    short = figures["short_texts"]
    figures["ten_million_rows"] = {
        name: round(short[name] * 10_000_000 / short["rows"])
        for name in ("seconds_to_plan", "megabytes_to_plan", "megabytes_in_all")
    }
    write_report(args, figures, rows=args.rows)


if __name__ == "__main__":
    main()

"""Leave doubtful posts to a person, and choose the posts whose labels would teach a model most.

The margin of a post is its highest score minus the second highest. The posts with the lowest margins are those between
whose labels the model can decide least (margin sampling; Scheffer, Decomain, Wrobel: Active Hidden Markov Models for
Information Extraction, IDA 2001; Settles: Active Learning Literature Survey, 2009). The predicted labels take turns,
so that a frequent label does not fill the table (Ertekin et al.: Learning on the Border, CIKM 2007).
"""

from collections.abc import Iterable
from itertools import chain, islice, zip_longest
from pathlib import Path

from mmsent.dataset_scripts.common_files import atomic_write
from mmsent.dataset_scripts.common_posts import PostFile

from .writers import write_table


def abstain(record: dict, threshold: float) -> dict:
    """Return the record of a post whose highest score is too low, with a reason instead of its prediction."""
    highest = max(record["scores"].values())
    reason = f"the highest score {highest:.4g} is below --abstain_below {threshold:g}"
    return record | {"prediction": None, "reason": reason}


def choose_unsure(records: Iterable[dict], count: int, labels: list[str]) -> list[dict]:
    """Return the `count` records of posts whose labels would teach most, each with its "margin".

    Each of the predicted labels gives its post with the lowest margin in turn. Of two posts with the same margin, the
    earlier row comes first. Only about `count` records per label are in memory.
    """
    best: dict[str, list[dict]] = {label: [] for label in labels}
    for record in records:
        if record.get("prediction") is not None:
            second, highest = sorted(record["scores"].values())[-2:]
            chosen = best[record["prediction"]]
            chosen.append(record | {"margin": round(highest - second, 6)})
            if len(chosen) >= 2 * count + 100:
                chosen[:] = _lowest_margins(chosen, count)
    rounds = zip_longest(*(_lowest_margins(chosen, count) for chosen in best.values()))
    return list(islice(filter(None, chain.from_iterable(rounds)), count))


def _lowest_margins(records: list[dict], count: int) -> list[dict]:
    return sorted(records, key=lambda record: (record["margin"], record["row"]))[:count]


def write_unsure(records: list[dict], posts: PostFile, output: Path) -> None:
    """Write the posts of `choose_unsure` in their order: the columns of the input, an empty column `label` if there is
    none, and the prediction, the margin and the scores."""
    numbers = {record["row"] for record in records}
    rows = {number: row for number, row in posts.whole() if number in numbers}
    table = []
    for record in records:
        row = {"label": None} | rows[record["row"]]
        scores = {f"score_{label}": score for label, score in record["scores"].items()}
        table.append(row | {"prediction": record["prediction"], "margin": record["margin"]} | scores)
    columns = list(dict.fromkeys(chain.from_iterable(table)))  # a row of JSONL may leave out a key
    with atomic_write(output) as path:
        write_table(table, columns, path)

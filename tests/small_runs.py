"""Small corpora and interrupted runs of train.py."""

import sys
from pathlib import Path

from datasets import load_dataset
from tiny import ROOT

POSTS = {"train": 48, "validation": 25, "test": 23}  # Odd numbers cannot be divided evenly among processes.
TWO_PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


class Killed(BaseException):
    """Ends a run without any cleanup, as SIGKILL does."""


def write_corpus(folder: Path, seed: int = 0, train_files: int = 1) -> Path:
    """Write a few of the sample posts as Parquet files."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, posts in load_dataset("sample_posts").items():
        few = posts.shuffle(seed=seed).select(range(POSTS[split]))
        files = train_files if split == "train" else 1
        for index in range(files):
            few.shard(files, index).to_parquet(folder / "data" / f"{split}-{index:05d}-of-{files:05d}.parquet")
    return folder


def without_durations(log: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.endswith(("runtime", "per_second"))} for row in log]


def start_script(folder: Path, import_owner: str, method: str, statement: str) -> str:
    """Write a script that runs train.py and executes a statement before every call of a method of `owner`."""
    path = folder / "start.py"
    path.write_text(f"""import os, sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv[0] = "train.py"
import train
{import_owner}
original = owner.{method}
def call(self, *args):
    {statement}
    return original(self, *args)
owner.{method} = call
train.main()
""")
    return str(path)

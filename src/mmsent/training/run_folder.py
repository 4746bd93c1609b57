"""The folder of a run while it is being filled: settings.json, complete checkpoints, and run.json at the very end.

A checkpoint is written into `tmp-checkpoint-N`, flushed to the disk, and moved to `checkpoint-N` in one step. Its last
file lists the others with their sizes, so that a folder which was only partly copied or deleted is told from a whole
one. What is read back is safetensors, JSON, and torch files that transformers loads with `weights_only=True`: no file
of a run's folder can run code. Whoever can write there can still change the weights.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets import DatasetDict
from safetensors import SafetensorError
from transformers.utils import SAFE_WEIGHTS_NAME

RUN, SETTINGS, CONTENTS, STAGING = "run.json", "settings.json", "contents.json", "tmp-"

# Arguments that change neither weights nor what is logged: a run may go on with others.
FREE = {
    *("output_dir", "overwrite", "resume_from_checkpoint", "save_total_limit", "push_to_hub", "ddp_timeout"),
    *("disable_tqdm", "report_to", "run_name", "project", "log_level", "log_level_replica", "log_on_each_node"),
    *(
        "dataloader_num_workers",
        "dataloader_pin_memory",
        "dataloader_persistent_workers",
        "dataloader_prefetch_factor",
    ),
    *("dataloader_multiprocessing_context", "local_rank", "skip_memory_metrics", "do_train", "do_eval", "do_predict"),
}
FREE_PREFIXES = ("hub_", "trackio_")
TORCH_SAVE = ("PytorchStreamWriter", "inline_container")  # what its errors are known by


# --------------------------------------------------------------------------------------------------------- checkpoints


def checkpoint_name(step: int) -> str:
    return f"checkpoint-{step}"


def publish_checkpoint(staged: Path, target: Path) -> None:
    """Move a checkpoint that is fully written into its place; one that stands there already is replaced."""
    sizes = {
        str(path.relative_to(staged)): path.stat().st_size for path in sorted(staged.rglob("*")) if path.is_file()
    }
    (staged / CONTENTS).write_text(json.dumps(sizes, indent=2) + "\n", encoding="utf-8")
    for path in (*staged.rglob("*"), staged):  # names too are lost in a power failure unless their folder is flushed
        _flush(path)
    if target.exists():
        remove_checkpoint(target)
    staged.replace(target)
    _flush(target.parent)


def is_complete(checkpoint: Path) -> bool:
    """Whether every file that the checkpoint was published with is there in its full size."""
    try:
        sizes = json.loads((checkpoint / CONTENTS).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, the latest last."""
    found = [path for path in run.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(filter(is_complete, found), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def remove_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint; killed on the way, it leaves nothing that looks like one."""
    doomed = checkpoint.with_name(f"{STAGING}old-{checkpoint.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    checkpoint.replace(doomed)
    shutil.rmtree(doomed)


def prune_checkpoints(run: Path, limit: int | None, best: str | None) -> None:
    """Delete the oldest complete checkpoints above `limit`, never the latest and never the best one."""
    if limit is None or limit <= 0:
        return
    found = checkpoints(run)
    kept = {found[-1].name} | ({Path(best).name} if best else set())
    spare = [checkpoint for checkpoint in found if checkpoint.name not in kept]
    for checkpoint in spare[: max(0, len(found) - max(limit, len(kept)))]:
        remove_checkpoint(checkpoint)


def remove_leftovers(run: Path) -> None:
    """Delete what a killed run was writing or deleting: it takes up room and is of no use."""
    for path in [*run.glob(f"{STAGING}*"), *run.glob("checkpoint-*")]:
        if path.is_dir() and (path.name.startswith(STAGING) or not is_complete(path)):
            shutil.rmtree(path)


@contextmanager
def clear_disk_errors(run: Path, what: str) -> Iterator[None]:
    """Turn the many errors of a full disk into one.

    Raises:
        OSError: `what` could not be written; names the folder and what to do.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # safetensors and torch.save raise errors of their own
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in TORCH_SAVE):
            raise
        for staged in run.glob(f"{STAGING}*"):  # half a checkpoint is of no use, and its room is needed
            shutil.rmtree(staged, ignore_errors=True)
        found = checkpoints(run)
        advice = f"goes on from {found[-1].name}, which is intact" if found else "starts from the beginning"
        raise OSError(
            f"{what} could not be written to {run}: {error}. Make room there (or permit writing), then run the same "
            f"command again: it {advice}."
        ) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------------------- the run


def write_json(path: Path, value: dict) -> None:
    """Write a file that is either whole or not there."""
    staged = path.with_name(f"{STAGING}{path.name}")
    staged.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    _flush(staged)
    staged.replace(path)


def refuse_finished(run: Path, overwrite: bool) -> None:
    """End the program with a message if the folder holds a trained model, or checkpoints of another program."""
    # An interrupted run may have begun to write its model, beside settings.json. Without that, the model is another's.
    foreign = [*run.glob(SAFE_WEIGHTS_NAME), *run.glob("checkpoint-*")] if not (run / SETTINGS).exists() else []
    if ((run / RUN).exists() or foreign) and not overwrite:
        sys.exit(f"{run} holds a trained model: give another --output_dir, or --overwrite to replace it.")


def begin(run: Path, settings: dict, overwrite: bool) -> None:
    """Make the folder ready for a new run, or for an interrupted one to go on.

    Where the interrupted run had other settings, the program ends with a message that names them. Only the main
    process may call this; the others ask `checkpoints` afterwards.

    Args:
        settings: every argument of the run, and whatever else decides how it goes.
        overwrite: start anew, and delete the checkpoints.
    """
    settings = json.loads(json.dumps(settings, default=str))
    run.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for path in [*run.glob("checkpoint-*"), run / RUN, run / SETTINGS]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if checkpoints(run):
        _compare_settings(run, settings)
    remove_leftovers(run)
    write_json(run / SETTINGS, settings)


def finish(run: Path, report: dict, limit: int | None, best: str | None) -> None:
    """Write run.json, after which the run cannot go on any more, and of one checkpoint that may be kept, keep the
    best."""
    write_json(run / RUN, report)
    if limit == 1 and best is not None:
        for checkpoint in checkpoints(run):
            if checkpoint.name != Path(best).name:
                remove_checkpoint(checkpoint)


def _compare_settings(run: Path, now: dict) -> None:
    advice = "give another --output_dir, or --overwrite to start anew"
    try:
        before = json.loads((run / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{run} holds checkpoints of a run whose {SETTINGS} cannot be read ({error}): {advice}.")
    absent = object()
    names = [name for name in sorted(before | now) if before.get(name, absent) != now.get(name, absent)]
    differing = [name for name in names if name not in FREE and not name.startswith(FREE_PREFIXES)]
    if differing:
        changes = "; ".join(f"{name} was {before.get(name)}, is now {now.get(name)}" for name in differing)
        sys.exit(
            f"{run} holds a run that was interrupted and that had other settings: {changes}. Give those again to go "
            f"on with it, or {advice}."
        )


# ------------------------------------------------------------------------------------------------- where it comes from


def corpus_checksum(corpus: DatasetDict) -> str:
    """SHA-256 of the ids, labels, texts and aspects of every split, in their order."""
    digest = hashlib.sha256()
    for split, posts in sorted(corpus.items()):
        digest.update(f"{split}\n".encode())
        for row in zip(*(posts[column] for column in ("id", "label", "text", "aspect")), strict=True):
            digest.update((json.dumps(row) + "\n").encode())
    return digest.hexdigest()


def git_revision() -> str | None:
    """The commit of the code, "-dirty" where files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        made = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return made.stdout.strip()

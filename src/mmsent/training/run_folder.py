"""The folder of a run: settings.json, checkpoints while it trains, and run.json when it has ended.

The last file of a checkpoint, contents.json, lists the other files with their sizes. A checkpoint that was only partly
written, copied or deleted is therefore recognised and ignored. Everything that is read back is safetensors, JSON, or a
torch file that transformers loads with `weights_only=True`: no file of a run's folder can run code. Whoever can write
to the folder can still change the weights.
"""

import errno
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain, repeat
from pathlib import Path

import pyarrow as pa
from datasets import DatasetDict
from safetensors import SafetensorError
from transformers import TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from mmsent import modeling
from mmsent.dataset_scripts.common_columns import FURTHER_FIELDS
from mmsent.dataset_scripts.common_corpus import rows_hash, undecoded
from mmsent.dataset_scripts.common_files import (
    DiskFullError,
    atomic_write,
    content_hash,
    has_no_space,
    is_disk_full,
    join_names,
    locked,
    read_json,
)
from mmsent.evaluation.report_page import REPORT_PAGE

RUN, SETTINGS, CONTENTS = "run.json", "settings.json", "contents.json"
ADAPTER, CURVES = "adapter", "learning_curves.png"
SEARCH = ("search.db", "search.json")  # of a search, which runs before the training and goes on where it was stopped
# What a finished run has written beside its checkpoints; tokenizers of other families have files of other names.
OUTPUTS = (
    *(RUN, SETTINGS, ADAPTER, CURVES, REPORT_PAGE, "splits.json"),
    *("predictions_*.jsonl", "confusion_*.png", "reliability_*.png"),
    *("model*.safetensors", "model.safetensors.index.json", "config.json", TRAINING_ARGS_NAME),
    *("processor_config.json", "preprocessor_config.json", "tokenizer*", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.*", "merges.txt", "*.model", "chat_template.jinja"),
    *(path.name for path in Path(modeling.__file__).parent.glob("*.py")),
)

# Arguments that change neither the weights nor the log: an interrupted run can be resumed with other values.
RESUMABLE_ARGUMENTS = {
    *("data_dir", "features_dir"),  # what they hold is hashed
    *("output_dir", "overwrite", "resume_from_checkpoint", "save_total_limit", "push_to_hub", "ddp_timeout"),
    *("disable_tqdm", "report_to", "run_name", "project", "log_level", "log_level_replica", "log_on_each_node"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
    *("dataloader_prefetch_factor", "dataloader_multiprocessing_context"),
    *("calibrate", "local_rank", "skip_memory_metrics", "do_train", "do_eval", "do_predict", "published"),
}
RESUMABLE_PREFIXES = ("hub_", "trackio_")
TORCH_SAVE_ERRORS = ("PytorchStreamWriter", "inline_container")  # Parts of the messages of torch.save's RuntimeErrors.


def checkpoint_name(step: int) -> str:
    return f"checkpoint-{step}"


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def complete_checkpoint(checkpoint: Path) -> None:
    """Write the list of a checkpoint's files, which marks it as complete."""
    (checkpoint / CONTENTS).unlink(missing_ok=True)
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    sizes = {str(path.relative_to(checkpoint)): path.stat().st_size for path in files}
    with atomic_write(checkpoint / CONTENTS) as temporary:
        temporary.write_text(json.dumps(sizes, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint was completed and still has all its files in their full size."""
    try:
        sizes = read_json(checkpoint / CONTENTS)
        if not isinstance(sizes, dict):
            return False
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def checkpoints(run: Path) -> list[Path]:
    """Return the complete checkpoints of a run, the latest last."""
    return list(filter(is_complete, _checkpoint_folders(run)))


def _checkpoint_folders(run: Path) -> list[Path]:
    folders = [path for path in run.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    return sorted(folders, key=step_of)


def remove_checkpoint(checkpoint: Path) -> None:
    """Delete a checkpoint. If the process is killed meanwhile, the remaining files do not count as a checkpoint."""
    (checkpoint / CONTENTS).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def remove_later_checkpoints(run: Path, step: int) -> None:
    """Delete the checkpoints after a step, from which training starts anew."""
    for checkpoint in _checkpoint_folders(run):
        if step_of(checkpoint) > step:
            remove_checkpoint(checkpoint)


def prune_checkpoints(run: Path, limit: int | None, best: str | None) -> None:
    """Delete the oldest complete checkpoints above `limit`, but neither the latest nor the best one."""
    if limit is None or limit <= 0:
        return
    complete = checkpoints(run)
    protected = {complete[-1].name} | ({Path(best).name} if best else set())
    others = [checkpoint for checkpoint in complete if checkpoint.name not in protected]
    for checkpoint in others[: max(0, len(complete) - max(limit, len(protected)))]:
        remove_checkpoint(checkpoint)


@contextmanager
def clear_disk_errors(run: Path, target: str | None = None) -> Iterator[None]:
    """Replace the various errors of a full disk by one that says what to do.

    Args:
        run: Folder of the run.
        target: What is written in this context. By default, the context is a training, which writes checkpoints: an
            error outside of writing one is raised as it is.

    Raises:
        OSError: If `target` or a checkpoint cannot be written. The message names the folder and the checkpoint from
            which the same command continues.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # safetensors and torch.save have their own errors.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in TORCH_SAVE_ERRORS):
            raise
        incomplete = [path for path in _checkpoint_folders(run) if not is_complete(path)]
        if target is None and not incomplete and getattr(error, "errno", None) != errno.ENOSPC:
            raise
        full = is_disk_full(error, run) or (isinstance(error, RuntimeError) and has_no_space(run))
        target = target or (incomplete[-1].name if incomplete else "a checkpoint")
        for path in incomplete:  # The space is needed.
            shutil.rmtree(path, ignore_errors=True)
        complete = checkpoints(run)
        advice = f"continues from {complete[-1].name}, which is intact" if complete else "starts from the beginning"
        kind, reason = (DiskFullError, "the disk is full") if full else (OSError, error)
        raise kind(
            f"{target} could not be written to {run}: {reason}. Free some space there (or permit writing), then run "
            f"the same command again: it {advice}."
        ) from error


@contextmanager
def claimed(run: Path, overwrite: bool, is_main: bool) -> Iterator[None]:
    """Make the folder of a run, and lock it. Afterwards, remove what was made if nothing was written there.

    Args:
        is_main: Whether this is the main process, which holds the lock.

    Raises:
        ValueError: If another process writes there, or if the folder holds a trained model, or checkpoints of another
            program, and `overwrite` is not set.
    """
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    run.mkdir(parents=True, exist_ok=True)
    try:
        with locked(run) if is_main else nullcontext():
            _refuse_finished(run, overwrite)
            yield
    finally:
        for folder in made:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _refuse_finished(run: Path, overwrite: bool) -> None:
    if (run / RUN).exists():
        _remove_leftovers(run)
    # An interrupted run may have begun to write its model, but it has settings.json.
    foreign_files = [*run.glob(SAFE_WEIGHTS_NAME), *run.glob("checkpoint-*")] if not (run / SETTINGS).exists() else []
    if ((run / RUN).exists() or foreign_files) and not overwrite:
        raise ValueError(f"{run} holds a trained model. Give another --output_dir, or --overwrite to replace it.")


def begin_or_resume(output_dir: Path, settings: dict, run_args: TrainingArguments) -> Path | None:
    """Prepare the folder of the run and return the latest checkpoint of an interrupted run, if there is one."""
    with run_args.main_process_first(desc="looking for an interrupted run"):
        if run_args.process_index == 0:
            begin(output_dir, settings, run_args.overwrite)
        return next(reversed(checkpoints(output_dir)), None)


def begin(run: Path, settings: dict, overwrite: bool) -> None:
    """Prepare the folder for a new run, or for an interrupted one to resume.

    Only the main process may call this, after `refuse_other_settings`; the other processes call `checkpoints`
    afterwards.

    Args:
        settings: All arguments of the run, and everything else that its result depends on.
        overwrite: Delete the outputs of the previous run and start from the beginning.
    """
    run.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for path in [*_checkpoint_folders(run), *chain.from_iterable(map(run.glob, OUTPUTS))]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        others = sorted({path.name for path in run.iterdir()} - {*SEARCH})
        others = [name for name in others if not name.startswith((".", "tmp-"))]
        if others:
            print(f"{run} keeps what mmsent has not written there: {join_names(others)}", flush=True)
    _remove_leftovers(run)
    _write_json(run / SETTINGS, _as_json(settings))


def _remove_leftovers(run: Path) -> None:
    """Delete what a killed run was writing or deleting."""
    incomplete = [path for path in _checkpoint_folders(run) if not is_complete(path)]
    for path in [*incomplete, *run.glob("tmp-*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def finish(run: Path, report: dict, limit: int | None, best: str | None) -> None:
    """Write run.json, after which the run cannot be resumed. If one checkpoint is to be kept, keep the best."""
    _write_json(run / RUN, report)
    if limit == 1 and best is not None:
        for checkpoint in checkpoints(run):
            if checkpoint.name != Path(best).name:
                remove_checkpoint(checkpoint)


def _write_json(path: Path, value: dict) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _as_json(settings: dict) -> dict:
    return json.loads(json.dumps(settings, default=str))


def refuse_other_settings(run: Path, settings: dict, overwrite: bool) -> None:
    """Raise a ValueError if the folder holds an interrupted run with other settings."""
    if overwrite or not checkpoints(run):
        return
    settings = _as_json(settings)
    advice = "give another --output_dir, or --overwrite to start from the beginning"
    try:
        previous = read_json(run / SETTINGS)
        if not isinstance(previous, dict):
            raise ValueError("it does not hold an object")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{run} holds checkpoints of a run whose {SETTINGS} cannot be read ({error}): {advice}."
        ) from error
    absent = object()
    changes = [
        f"{name} was {previous.get(name)}, is now {settings.get(name)}"
        for name in sorted(previous | settings)
        if previous.get(name, absent) != settings.get(name, absent)
        and name not in RESUMABLE_ARGUMENTS
        and not name.startswith(RESUMABLE_PREFIXES)
    ]
    if changes:
        raise ValueError(
            f"{run} holds an interrupted run with other settings: {'; '.join(changes)}. Use the previous settings to "
            f"resume it, or {advice}."
        )


def corpus_checksum(corpus: DatasetDict) -> str:
    """Return the SHA-256 of the ids, labels, texts, aspects and further columns of all splits, in their order."""
    further = [name for name in FURTHER_FIELDS if name in next(iter(corpus.values())).column_names]
    return rows_hash(corpus, ("id", "label", "text", "aspect", *further))


def images_checksum(corpus: DatasetDict, file_hashes: Mapping[str, str] | None = None) -> str:
    """Return the SHA-256 of the content of all images, and of the vectors that take their place, in their order.
    Where the files lie does not matter.

    Args:
        file_hashes: SHA-256 of image files by path, as `screen_images` gives them. Other files are read.
    """
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:  # the files are read and hashed without Python's lock
        for split, posts in sorted(undecoded(corpus).items()):
            for batch in posts.select_columns("images").iter(1000):
                counts = [len(images) for images in batch["images"]]
                hashes = pool.map(_image_hash, chain.from_iterable(batch["images"]), repeat(file_hashes or {}))
                digest.update(f"{split} {counts} {' '.join(hashes)}".encode())
            if "image_features" in posts.column_names:
                for batch in posts.select_columns("image_features").with_format("arrow").iter(1000):
                    digest.update(_vectors_hash(batch["image_features"].combine_chunks()))
    return digest.hexdigest()


def _image_hash(image: dict, file_hashes: Mapping[str, str]) -> str:
    if image["bytes"] is None:
        return file_hashes.get(image["path"]) or content_hash(Path(image["path"]))
    return hashlib.sha256(image["bytes"]).hexdigest()


def _vectors_hash(column: pa.ListArray) -> bytes:
    """Return the SHA-256 of a column of lists of vectors."""
    counts, numbers = column.value_lengths().fill_null(0), column.flatten().flatten()
    return hashlib.sha256(counts.to_numpy().tobytes() + numbers.to_numpy(zero_copy_only=False).tobytes()).digest()


def git_revision() -> str | None:
    """Return the commit of the code, with "-dirty" if files differ from it; `None` outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()

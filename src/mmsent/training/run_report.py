"""Save the trained model of a run, score it, and describe the run in run.json."""

import json
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from peft import PeftModel
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from mmsent.dataset_scripts.common_files import atomic_write, content_hash
from mmsent.evaluation.calibration import calibration_report, fit_temperature
from mmsent.evaluation.reports import write_predictions
from mmsent.evaluation.scores import check_finite, majority_score, score
from mmsent.evaluation.subgroups import subgroup_scores

from .arguments import DataArguments, ModelArguments, RunArguments
from .lora import save_adapter
from .posts import RunPosts
from .run_folder import ADAPTER, clear_disk_errors, git_revision
from .trainer import MultimodalTrainer

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "timm", "tokenizers", "peft")


def run_settings(
    model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments, posts: RunPosts
) -> dict:
    """Return everything that decides how a run goes: an interrupted run can only resume with the same settings."""
    settings = vars(model_args) | vars(data_args) | run_args.to_dict()
    settings["processes"] = run_args.world_size
    settings |= {name: posts.report[name] for name in ("corpus_sha256", "images_sha256")}
    if posts.streamed:
        # Processes and data workers share the stream, so that their number decides the order of the posts.
        settings["stream_shares"] = posts.splits["train"].shares
    return settings


def save_model(trainer: MultimodalTrainer, output_dir: Path) -> None:
    """Save the trained model with its processor. An adapter is saved too and merged into the model."""
    with clear_disk_errors(output_dir, "the trained model"):
        if isinstance(trainer.model, PeftModel):
            if trainer.is_world_process_zero():
                save_adapter(trainer.model, output_dir / ADAPTER)
            trainer.model = trainer.model_wrapped = trainer.model.merge_and_unload()
        trainer.save_model()
    if trainer.is_world_process_zero():
        (output_dir / TRAINING_ARGS_NAME).unlink()  # a pickle; settings.json holds the same arguments


def score_splits(trainer: MultimodalTrainer, posts: RunPosts, output_dir: Path) -> dict[str, dict[str, dict]]:
    """Predict the validation and test splits, fit the temperature on validation, write it into the saved model, write
    the predictions, and return the scores and the calibration for run.json."""
    scores, majority, labels = {}, {}, posts.labels
    splits = [split for split in ("validation", "test") if split in posts.splits]
    all_logits = {split: predict_split(trainer, posts, split) for split in splits}
    fitted_on = "validation" if trainer.args.calibrate and "validation" in splits else None
    temperature = fit_temperature(all_logits[fitted_on], np.asarray(labels[fitted_on])) if fitted_on else 1.0
    trainer.model.config.score_temperature = temperature
    if trainer.is_world_process_zero():
        for folder in (output_dir, output_dir / ADAPTER):
            write_temperature(folder / CONFIG_NAME, temperature)
    for split, logits in all_logits.items():
        predictions, outline = logits.argmax(-1), posts.outlines[split]
        scores[split] = score(predictions, labels[split], posts.label_names)
        scores[split]["subgroups"] = subgroup_scores(outline, predictions, labels[split])
        majority[split] = majority_score(labels["train"], labels[split], posts.label_names)
        if trainer.is_world_process_zero():
            path = output_dir / f"predictions_{split}.jsonl"
            write_predictions(path, outline["id"], labels[split], logits, posts.label_names, temperature)
    calibration = calibration_report(all_logits, labels, temperature, fitted_on)
    return {"scores": scores, "majority": majority, "calibration": calibration}


def predict_split(trainer: MultimodalTrainer, posts: RunPosts, split: str) -> np.ndarray:
    """Return the logits (N, C) of a split.

    Raises:
        ValueError: If logits are not finite.
    """
    logits = trainer.predict(posts.splits[split]).predictions
    check_finite(logits, posts.outlines[split]["id"], split)
    return logits


def write_temperature(config_file: Path, temperature: float) -> None:
    """Write the temperature into the config.json of a saved model, if there is one."""
    if config_file.exists():
        config = json.loads(config_file.read_text(encoding="utf-8")) | {"score_temperature": temperature}
        with atomic_write(config_file) as temporary:
            temporary.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def run_report(
    command: str, posts: RunPosts, scores: dict[str, dict], trainer: MultimodalTrainer, started: float
) -> dict:
    """Return the content of run.json. `scores` comes from `score_splits`, and `started` from `time.time`."""
    state, args = trainer.state, trainer.args
    # Trainer names the best evaluation also where the last weights were kept.
    kept_step = state.best_global_step if args.load_best_model_at_end else None
    kept_epoch = next((entry["epoch"] for entry in state.log_history if entry["step"] == kept_step), state.epoch)
    counted = {split: outline for split, outline in posts.outlines.items() if not posts.streamed or split != "train"}
    return {
        "command": command,
        "seed": args.seed,
        "processes": args.world_size,
        "posts": {split: len(outline) for split, outline in counted.items()},
        **posts.report,
        "best_epoch": kept_epoch,
        **scores,
        "seconds": round(time.time() - started),
        "versions": {name: version(name) for name in PACKAGES},
        "log": state.log_history,
        "git": git_revision(),
        "weights_sha256": content_hash(Path(args.output_dir, SAFE_WEIGHTS_NAME)),
    }

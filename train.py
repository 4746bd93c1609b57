"""Train a model on a corpus and score it.

    accelerate launch train.py [--config configs/<corpus>/<model>.yaml [--row NAME]] [--key value ...]

Without arguments, the default model is trained on the embedded corpus `sample_posts`.
"""

import logging
import shlex
import sys
import time
from pathlib import Path

from transformers import set_seed

from mmsent.dataset_scripts.common_arguments import exit_with_one_line
from mmsent.dataset_scripts.common_files import name_full_disk
from mmsent.evaluation.figures import write_figures
from mmsent.evaluation.report_page import write_report
from mmsent.evaluation.reports import print_report
from mmsent.training.arguments import DataArguments, ModelArguments, RunArguments
from mmsent.training.build import build, build_trainer, class_weights, keep_posts
from mmsent.training.checks import check_arguments, check_model
from mmsent.training.collator import PostCollator
from mmsent.training.console import count_parameters, print_summary
from mmsent.training.feature_cache import encode_features
from mmsent.training.lora import add_adapter
from mmsent.training.posts import RunPosts, check_vectors, load_posts
from mmsent.training.presets import parse_with_preset
from mmsent.training.run_folder import begin_or_resume, claimed, finish, refuse_other_settings
from mmsent.training.run_report import run_report, run_settings, save_model, score_splits
from mmsent.training.search import search
from mmsent.training.trainer import MultimodalTrainer


def main() -> None:
    started, command = time.time(), shlex.join(["train.py", *sys.argv[1:]])
    model_args, data_args, run_args = parse_with_preset(sys.argv[1:], __doc__)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mmsent.modeling").setLevel(logging.INFO)
    check_arguments(model_args, data_args, run_args)
    check_model(model_args, data_args, run_args)
    output_dir = Path(run_args.output_dir)
    with name_full_disk(output_dir), claimed(output_dir, run_args.overwrite, run_args.process_index == 0):
        trainer, posts = train(model_args, data_args, run_args)
        save_model(trainer, output_dir)
        scores = score_splits(trainer, posts, output_dir)
        if trainer.is_world_process_zero():
            report = run_report(command, posts, scores, trainer, started)
            write_figures(output_dir, report, posts.label_names, run_args.metric_for_best_model or "accuracy")
            write_report(output_dir, report, posts.outlines, posts.label_names)
            finish(output_dir, report, run_args.save_total_limit, trainer.state.best_model_checkpoint)
            print_report(report)
            print(f"\nModel, processor, predictions, run.json and report.html are in {output_dir}")


def train(
    model_args: ModelArguments, data_args: DataArguments, run_args: RunArguments
) -> tuple[MultimodalTrainer, RunPosts]:
    """Train the model that the arguments describe; an interrupted run resumes from its latest checkpoint."""
    output_dir = Path(run_args.output_dir)
    posts = load_posts(data_args, run_args)
    search(model_args, data_args, run_args, posts)
    settings = run_settings(model_args, data_args, run_args, posts)
    refuse_other_settings(output_dir, settings, run_args.overwrite)
    weights = class_weights(run_args.class_weights, posts.labels["train"], len(posts.label_names))

    set_seed(run_args.seed)
    texts, aspects = posts.texts(model_args.architecture), posts.aspects()
    processor, model = build(model_args, texts, dict(enumerate(posts.label_names)), aspects)
    check_vectors(posts, processor)
    model.config.aspects = posts.frequent_aspects() if model.reads_aspect else None
    model.config.columns = posts.filled(processor.columns) or None
    model.config.modalities = data_args.modalities
    collator = PostCollator(processor, data_args.modalities)
    if data_args.cache_features:
        posts.splits = encode_features(
            model, posts.splits, collator, run_args, data_args.features_dir, data_args.features_dtype
        )
    if model_args.lora_rank is not None:
        model = add_adapter(model, model_args.lora_rank, model_args.lora_alpha)
    posts.report |= {"parameters": count_parameters(model), "class_weights": weights}

    trainer = build_trainer(model, collator, posts, data_args, run_args, weights)
    if data_args.min_confidence is not None or data_args.keep_progressively:
        labels = keep_posts(trainer, posts, data_args)
        weights = class_weights(run_args.class_weights, labels, len(posts.label_names))
        trainer.set_class_weights(weights)
        posts.report["class_weights"] = weights
    checkpoint = begin_or_resume(output_dir, settings, run_args)
    if trainer.is_world_process_zero():
        posts.write_splits(output_dir)
        print_summary(posts, output_dir, checkpoint)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer, posts


if __name__ == "__main__":
    with exit_with_one_line("train.py"):
        main()

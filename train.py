"""Train a model on a corpus and score it.

    accelerate launch train.py [--config configs/<corpus>/<model>.yaml] [--key value ...]

Without arguments, the default model is trained on the embedded `sample_posts`.
"""

import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from transformers import (
    AutoConfig,
    AutoProcessor,
    EarlyStoppingCallback,
    EvalPrediction,
    ProgressCallback,
    set_seed,
)
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import SAFE_WEIGHTS_NAME
from transformers.utils.logging import disable_progress_bar

from mmsent.dataset_scripts import CORPORA
from mmsent.dataset_scripts.common_corpus import corpus_notes, missing_report
from mmsent.dataset_scripts.common_files import content_hash
from mmsent.dataset_scripts.common_screening import screen_images
from mmsent.evaluation.scores import majority_score, print_report, score, subgroup_scores, write_predictions
from mmsent.modeling import ARCHITECTURES
from mmsent.training.arguments import DataArguments, ModelArguments, RunArguments, parse_arguments, parse_kwargs
from mmsent.training.augmentation import AugmentedPosts
from mmsent.training.console import OneBar, Progress, count_parameters, print_summary, write_figures
from mmsent.training.feature_cache import NEEDS_FROZEN, PostCollator, encode_features
from mmsent.training.lora import ADAPTER, add_adapter, save_adapter
from mmsent.training.posts import confident_rows
from mmsent.training.run_folder import (
    begin,
    checkpoints,
    clear_disk_errors,
    corpus_checksum,
    finish,
    git_revision,
    refuse_finished,
)
from mmsent.training.streaming import adapt_arguments, stream_corpus
from mmsent.training.trainer import MultimodalTrainer

MOST_ASPECTS = 50  # kept in the config, for a page to offer: a corpus of targets has thousands
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "timm", "tokenizers", "peft")


def refuse_early(model_args: ModelArguments, args: DataArguments, run_args: RunArguments) -> None:
    """End a run whose arguments contradict each other before a corpus is loaded for it.

    Raises:
        ValueError: cached features that would change, or a streamed corpus that all posts are wanted of at once.
    """
    if args.cache_features:
        if args.image_augmentation or args.text_augmentation:
            raise ValueError(
                "cache_features keeps what the encoders saw once: it cannot be combined with augmentation."
            )
        config = ARCHITECTURES[model_args.architecture].config
        if model_args.init_from is not None:
            config = AutoConfig.from_pretrained(model_args.init_from)
        kwargs = parse_kwargs(model_args.model_kwargs)
        if not any(kwargs.get(name, getattr(config, name)) for name in ("freeze_text", "freeze_image")):
            raise ValueError(NEEDS_FROZEN)
    if args.streaming:
        wanted = {"cache_features": args.cache_features, "min_confidence": args.min_confidence is not None}
        wanted["train_sampling_strategy"] = run_args.train_sampling_strategy not in ("random", "sequential")
        for name in filter(wanted.get, wanted):
            raise ValueError(f"streaming cannot be combined with {name}, which needs every training post at once.")
        adapt_arguments(run_args)


def load_corpus(
    args: DataArguments, run_args: RunArguments, needed: tuple[str, ...]
) -> tuple[Mapping, Mapping[str, Dataset], dict]:
    """The corpus with its undecodable images dealt with.

    Returns:
        by split, the posts that training and evaluation read; the same, or of a streamed corpus outlines of them
        (`stream_corpus`); and the report of what is missing or was left out.

    Raises:
        ValueError: no such corpus, one without a split that is `needed`, or without any picture.
        BadImageError: an image cannot be decoded and `on_bad_image` is `"error"`.
    """
    if args.dataset not in CORPORA and "/" not in args.dataset and not Path(args.dataset).is_dir():
        raise ValueError(f"dataset '{args.dataset}' is none of {', '.join(CORPORA)}, no folder and no Hub id.")
    options = parse_kwargs(args.dataset_kwargs)
    corpus = load_dataset(
        args.dataset, args.dataset_config, data_dir=args.data_dir, streaming=args.streaming, **options
    )
    for split in needed:
        if split not in corpus:
            raise ValueError(
                f"{args.dataset} has no {split} posts here, only {', '.join(corpus)}. (Without validation posts the "
                "last epoch is the result: --eval_strategy no --save_strategy no --load_best_model_at_end false.)"
            )
    report = {"missing_posts": missing_report(corpus), "notes": corpus_notes(corpus), "bad_images": {}}
    notes = report["notes"]
    if args.streaming:
        posts, rows = stream_corpus(corpus, args.on_bad_image, run_args)
        report["corpus_sha256"] = None
        notes.append(
            "the corpus was streamed, so it has no checksum and no count of training posts, and images that cannot be "
            f"decoded are named in the log alone; words, class weights and the majority class are those of "
            f"{len(rows['train']):,} training posts"
        )
    else:
        posts, report["bad_images"] = screen_images(corpus, args.on_bad_image)
        rows, report["corpus_sha256"] = posts, corpus_checksum(posts)
    if args.modalities != "text" and args.on_bad_image == "error" and not any(rows["train"]["images"]):
        raise ValueError(
            f"{args.dataset} has no pictures here ({'; '.join(notes) or 'no post names one'}): get them, or train on "
            "the texts with --modalities text, or let --on_bad_image missing count them as absent."
        )
    return posts, rows, report


def build(args: ModelArguments, texts: Iterable[str], id2label: dict[int, str]):
    """The processor and the model that the arguments describe: new, or the trained one that `init_from` names.

    Args:
        texts: and aspects, of the training split, for the vocabulary of word vectors.
        id2label: the corpus's classes.

    Raises:
        ValueError: `init_from` is of another architecture.
    """
    row, model_kwargs = ARCHITECTURES[args.architecture], parse_kwargs(args.model_kwargs)
    if args.init_from is not None:
        trained = AutoConfig.from_pretrained(args.init_from).model_type
        if trained != args.architecture:
            raise ValueError(f"init_from={args.init_from} is of --architecture {trained}, not {args.architecture}.")
        processor = AutoProcessor.from_pretrained(args.init_from, **parse_kwargs(args.processor_kwargs))
        # What is trained anew, a head for other classes say, has another shape or another name.
        model = row.classifier.from_pretrained(
            args.init_from, id2label=id2label, ignore_mismatched_sizes=True, **model_kwargs
        )
        return processor, model.train()
    processor = row.processor.from_backbones(
        args.text_encoder, args.image_encoder, texts, **parse_kwargs(args.processor_kwargs)
    )
    model = row.classifier.from_backbones(
        args.text_encoder,
        args.image_encoder,
        processor.tokenizer,
        processor.image_size,
        word_vectors=args.word_vectors,
        id2label=id2label,
        **model_kwargs,
    )
    return processor, model


def class_weights(given: list[str] | None, labels: list[int], classes: int) -> list[float] | None:
    """The weights that `class_weights` asks for: as they are, or those that give every class the same total weight.

    Raises:
        ValueError: a word that is neither a number nor "balanced".
    """
    if given is None:
        return None
    if given != ["balanced"]:
        try:
            return [float(word) for word in given]
        except ValueError as error:
            raise ValueError(f"class_weights={' '.join(given)}: 'balanced', or one number a class.") from error
    counts = Counter(labels)
    # A class that training never sees weighs one in the evaluation's loss.
    return [len(labels) / (len(counts) * counts[index]) if counts[index] else 1.0 for index in range(classes)]


def main() -> None:
    started = time.time()
    model_args, data_args, run_args = parse_arguments(sys.argv[1:], __doc__)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("modeling").setLevel(logging.INFO)
    output_dir = Path(run_args.output_dir)
    refuse_finished(output_dir, run_args.overwrite)
    refuse_early(model_args, data_args, run_args)

    with run_args.main_process_first(desc="loading the corpus"):
        needed = ("train",) if run_args.eval_strategy == "no" else ("train", "validation")
        posts, rows, report = load_corpus(data_args, run_args, needed)
    label_names = rows["train"].features["label"].names
    labels = {split: list(known["label"]) for split, known in rows.items()}
    settings = vars(model_args) | vars(data_args) | run_args.to_dict()
    settings |= {"processes": run_args.world_size, "corpus_sha256": report["corpus_sha256"]}
    if data_args.streaming:
        settings["stream_shares"] = posts["train"].shares  # of processes and workers, which decide the order
    with run_args.main_process_first(desc="looking for an interrupted run"):
        if run_args.process_index == 0:
            begin(output_dir, settings, run_args.overwrite)
        checkpoint = next(reversed(checkpoints(output_dir)), None)

    set_seed(run_args.seed)
    # Aspects are words that the texts may never use: all would be the unknown word.
    words = chain(rows["train"]["text"], filter(None, rows["train"]["aspect"]))
    processor, model = build(model_args, words, dict(enumerate(label_names)))
    if model.reads_aspect:
        counted = Counter(filter(None, rows["train"]["aspect"]))
        model.config.aspects = [aspect for aspect, _ in counted.most_common(MOST_ASPECTS)]
    collator = PostCollator(processor, data_args.modalities)
    if data_args.cache_features:
        posts = encode_features(model, posts, collator, run_args, data_args.features_dir, data_args.features_dtype)
    train_posts = posts["train"]
    if data_args.image_augmentation or data_args.text_augmentation:
        train_posts = AugmentedPosts(
            train_posts, data_args.image_augmentation, data_args.text_augmentation, run_args.seed
        )

    if model_args.lora_rank is not None:
        model = add_adapter(model, model_args.lora_rank, model_args.lora_alpha)
    report["parameters"] = count_parameters(model)
    report["class_weights"] = class_weights(run_args.class_weights, labels["train"], len(label_names))

    def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
        scores = score(evaluation.predictions.argmax(-1), evaluation.label_ids, label_names)
        return {name: value for name, value in scores.items() if isinstance(value, float)}

    disable_progress_bar()  # of weights that are read and written, in the middle of the training's own
    patience = run_args.early_stopping_patience
    stop = [EarlyStoppingCallback(patience)] if patience is not None else []
    trainer = MultimodalTrainer(
        model=model,
        args=run_args,
        data_collator=collator,
        train_dataset=train_posts,
        eval_dataset=posts["validation"] if "validation" in needed else None,
        processing_class=processor,
        compute_metrics=compute_metrics,
        callbacks=[*stop, Progress()],
        class_weights=report["class_weights"],
    )
    if not run_args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(OneBar)
    if model_args.lora_rank is not None and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise ValueError("lora_rank: an adapter is merged on one device; launch without FSDP and DeepSpeed.")
    if trainer.is_world_process_zero():
        print_summary(labels, label_names, report["parameters"], output_dir)
        if data_args.streaming:
            print(f"note: {report['notes'][-1]}", flush=True)
    if data_args.min_confidence is not None:
        logits = trainer.predict(posts["train"]).predictions
        confident = confident_rows(logits, labels["train"], data_args.min_confidence)
        if not confident:
            raise ValueError(f"min_confidence={data_args.min_confidence}: the model is as sure of no training post.")
        trainer.train_dataset = torch.utils.data.Subset(train_posts, confident)
        report["confident_posts"] = len(confident)
    if checkpoint is not None and trainer.is_world_process_zero():
        print(f"{output_dir} holds a run that was interrupted: it goes on from {checkpoint.name}.", flush=True)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
    with clear_disk_errors(output_dir, "the trained model"):
        if model_args.lora_rank is not None:
            if trainer.is_world_process_zero():
                save_adapter(trainer.model, output_dir / ADAPTER)
            trainer.model = trainer.model_wrapped = trainer.model.merge_and_unload()
        trainer.save_model()
    if trainer.is_world_process_zero():
        (output_dir / TRAINING_ARGS_NAME).unlink()  # a pickle; run.json says the same

    scores, majority = {}, {}
    for split in ("validation", "test"):
        if split in posts:
            logits = trainer.predict(posts[split]).predictions
            predictions = logits.argmax(-1)
            scores[split] = score(predictions, labels[split], label_names)
            scores[split]["subgroups"] = subgroup_scores(rows[split], predictions, labels[split])
            majority[split] = majority_score(labels["train"], labels[split], label_names)
            if trainer.is_world_process_zero():
                path = output_dir / f"predictions_{split}.jsonl"
                write_predictions(path, rows[split]["id"], labels[split], logits, label_names)
    best_step = trainer.state.best_global_step or trainer.state.max_steps
    if trainer.is_world_process_zero():
        streamed = ("train",) if data_args.streaming else ()
        run = {
            "command": shlex.join(["train.py", *sys.argv[1:]]),
            "seed": run_args.seed,
            "processes": run_args.world_size,
            "posts": {split: len(known) for split, known in rows.items() if split not in streamed},
            **report,
            "best_epoch": best_step * trainer.state.num_train_epochs / trainer.state.max_steps,
            "scores": scores,
            "majority": majority,
            "seconds": round(time.time() - started),
            "versions": {name: version(name) for name in PACKAGES},
            "log": trainer.state.log_history,
            "git": git_revision(),
            "weights_sha256": content_hash(output_dir / SAFE_WEIGHTS_NAME),
        }
        finish(output_dir, run, run_args.save_total_limit, trainer.state.best_model_checkpoint)
        print_report(run, label_names)
        write_figures(output_dir, run, label_names, run_args.metric_for_best_model or "accuracy")
        print(f"\nModel, processor, predictions and run.json are in {output_dir}")


if __name__ == "__main__":
    main()

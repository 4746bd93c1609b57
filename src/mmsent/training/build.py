"""Build the processor, the model and the trainer that the arguments of a run describe."""

from collections import Counter
from collections.abc import Iterable

from peft import PeftModel
from torch.utils.data import Subset
from transformers import AutoConfig, AutoProcessor, EarlyStoppingCallback, EvalPrediction, ProgressCallback
from transformers.utils.logging import disable_progress_bar

from mmsent.dataset_scripts.common_arguments import parse_name_values
from mmsent.evaluation.scores import score
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_loading import naming_damage
from mmsent.modeling.common_processing import MultimodalProcessor

from .arguments import DataArguments, ModelArguments, RunArguments
from .augmentation import AugmentedPosts
from .collator import PostCollator
from .console import OneBar, Progress
from .posts import RunPosts, confident_rows
from .trainer import MultimodalTrainer


def build(
    args: ModelArguments, texts: Iterable[str], id2label: dict[int, str]
) -> tuple[MultimodalProcessor, MultimodalPreTrainedModel]:
    """Build the processor and the model: new ones, or those of the trained model that `init_from` names.

    Args:
        texts: The texts and aspects of the training split, which give the vocabulary of word vectors.
        id2label: The classes of the corpus.
    """
    row = ARCHITECTURES[args.architecture]
    model_kwargs, processor_kwargs = parse_name_values(args.model_kwargs), parse_name_values(args.processor_kwargs)
    if args.init_from is not None:
        with naming_damage(args.init_from):
            architecture = AutoConfig.from_pretrained(args.init_from).model_type
            if architecture != args.architecture:
                raise ValueError(
                    f"init_from={args.init_from} is a model of --architecture {architecture}, not {args.architecture}."
                )
            processor = AutoProcessor.from_pretrained(args.init_from, **processor_kwargs)
            # Weights that are trained anew, for example a head for other classes, have another shape or another name.
            model = row.classifier.from_pretrained(
                args.init_from, id2label=id2label, ignore_mismatched_sizes=True, **model_kwargs
            )
        return processor, model.train()
    processor = row.processor.from_backbones(args.text_encoder, args.image_encoder, texts, **processor_kwargs)
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


def class_weights(words: list[str] | None, labels: list[int], num_classes: int) -> list[float] | None:
    """Return the weight of every class, or None without the argument `class_weights`, which is given in `words`."""
    if words is None:
        return None
    if words != ["balanced"]:
        return [float(word) for word in words]
    counts = Counter(labels)
    # The evaluation's loss can meet a class that training does not: that class has the weight one.
    return [len(labels) / (len(counts) * counts[index]) if counts[index] else 1.0 for index in range(num_classes)]


def build_trainer(
    model: MultimodalPreTrainedModel | PeftModel,
    collator: PostCollator,
    posts: RunPosts,
    data_args: DataArguments,
    run_args: RunArguments,
    weights: list[float] | None,
) -> MultimodalTrainer:
    """Build the trainer of a run, with augmentation, early stopping and one progress bar."""

    def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
        scores = score(evaluation.predictions.argmax(-1), evaluation.label_ids, posts.label_names)
        return {name: value for name, value in scores.items() if isinstance(value, float)}

    train_posts = posts.splits["train"]
    if data_args.image_augmentation or data_args.text_augmentation:
        train_posts = AugmentedPosts(
            train_posts, data_args.image_augmentation, data_args.text_augmentation, run_args.seed
        )
    disable_progress_bar()  # bars of weights that are read and written would interrupt that of the training
    patience = run_args.early_stopping_patience
    trainer = MultimodalTrainer(
        model=model,
        args=run_args,
        data_collator=collator,
        train_dataset=train_posts,
        eval_dataset=None if run_args.eval_strategy == "no" else posts.splits["validation"],
        processing_class=collator.processor,
        compute_metrics=compute_metrics,
        callbacks=[*([] if patience is None else [EarlyStoppingCallback(patience)]), Progress()],
        class_weights=weights,
    )
    if not run_args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(OneBar)
    if isinstance(model, PeftModel) and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise ValueError("lora_rank: an adapter is merged on one device; launch without FSDP and DeepSpeed.")
    return trainer


def keep_confident_posts(trainer: MultimodalTrainer, posts: RunPosts, threshold: float) -> list[int]:
    """Train only on the posts to whose label the model gives a probability above the threshold, and return their
    labels."""
    labels = posts.labels["train"]
    logits = trainer.predict(posts.splits["train"]).predictions / trainer.model.config.score_temperature
    rows = confident_rows(logits, labels, threshold)
    if not rows:
        raise ValueError(f"min_confidence={threshold}: no training post reaches this confidence.")
    trainer.train_dataset = Subset(trainer.train_dataset, rows)
    posts.report["confident_posts"] = len(rows)
    return [labels[row] for row in rows]

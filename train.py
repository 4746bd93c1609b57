"""Train a model on a corpus and score it.

    accelerate launch train.py [--config configs/<corpus>/<model>.yaml] [--key value ...]

Without arguments, the default model is trained on the embedded `sample_posts`.
"""

import json
import logging
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path

import torch
from datasets import DatasetDict, load_dataset
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import EarlyStoppingCallback, EvalPrediction, set_seed
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from arguments import DataArguments, ModelArguments, RunArguments, parse_arguments, parse_kwargs
from dataset_scripts import CORPORA
from dataset_scripts.corpus import corpus_notes, missing_report
from dataset_scripts.screening import screen_images
from modeling import ARCHITECTURES, MultimodalPreTrainedModel, MultimodalProcessor
from scoring import majority_score, print_report, score, subgroup_scores, write_predictions
from trainer import AugmentedPosts, MultimodalTrainer

PACKAGES = ("torch", "transformers", "datasets", "accelerate", "timm", "tokenizers")


class PostCollator:
    """Posts of a corpus to a batch of the contract's keys."""

    def __init__(self, processor: MultimodalProcessor, modalities: str = "both"):
        self.processor = processor
        self.modalities = modalities

    def __call__(self, posts: list[dict]) -> dict[str, torch.Tensor]:
        aspects = [post["aspect"] for post in posts]
        batch = self.processor(
            text=[None if self.modalities == "image" else post["text"] for post in posts],
            images=[[] if self.modalities == "text" else post["images"] for post in posts],
            aspect=aspects if any(aspects) else None,
        )
        for name in ("label", "text_label", "image_label"):
            values = [post[name] for post in posts]
            if None not in values:
                batch["labels" if name == "label" else f"{name}s"] = torch.tensor(values)
        return dict(batch)


def load_corpus(args: DataArguments, needed: tuple[str, ...]) -> tuple[DatasetDict, dict]:
    """The corpus with its undecodable images dealt with, and the report of what is missing or was left out.

    Raises:
        ValueError: no such corpus, one without a split that is `needed`, or without any picture.
        BadImageError: an image cannot be decoded and `on_bad_image` is `"error"`.
    """
    if args.dataset not in CORPORA and "/" not in args.dataset and not Path(args.dataset).is_dir():
        raise ValueError(f"dataset '{args.dataset}' is none of {', '.join(CORPORA)}, no folder and no Hub id.")
    options = parse_kwargs(args.dataset_kwargs)
    corpus = load_dataset(args.dataset, args.dataset_config, data_dir=args.data_dir, **options)
    for split in needed:
        if split not in corpus:
            raise ValueError(
                f"{args.dataset} has no {split} posts here, only {', '.join(corpus)}. (Without validation posts the "
                "last epoch is the result: --eval_strategy no --save_strategy no --load_best_model_at_end false.)"
            )
    notes = corpus_notes(corpus)
    corpus, bad_images = screen_images(corpus, args.on_bad_image)
    if args.modalities != "text" and args.on_bad_image == "error" and not any(corpus["train"]["images"]):
        raise ValueError(
            f"{args.dataset} has no pictures here ({'; '.join(notes) or 'no post names one'}): get them, or train on "
            "the texts with --modalities text, or let --on_bad_image missing count them as absent."
        )
    return corpus, {"missing_posts": missing_report(corpus), "notes": notes, "bad_images": bad_images}


def build(args: ModelArguments, texts: list[str], id2label: dict[int, str]):
    """The processor and the new model that the arguments describe.

    Args:
        texts: and aspects, of the training split, for the vocabulary of word vectors.
        id2label: the corpus's classes.
    """
    row = ARCHITECTURES[args.architecture]
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
        **parse_kwargs(args.model_kwargs),
    )
    return processor, model


class FeatureCollator:
    """Posts as `encode_features` gives them to a batch, padded to the longest text and the most images."""

    def __call__(self, posts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        batch = {}
        for name, value in posts[0].items():
            values = [post[name] for post in posts]
            batch[name] = pad_sequence(values, batch_first=True) if value.ndim else torch.stack(values)
        return batch


def encode_features(
    model: MultimodalPreTrainedModel, posts, collator: PostCollator, args: RunArguments
) -> list[dict[str, torch.Tensor]]:
    """Run the frozen encoders once over a split: a list of posts with text_features and image_features in place of
    input_ids and pixel_values. What an encoder that is trained reads stays.

    Raises:
        ValueError: no encoder is frozen.
    """
    frozen = model.frozen_encoders()
    if not frozen:
        raise ValueError("cache_features needs a frozen encoder: model_kwargs freeze_text=true, freeze_image=true.")
    text, image = model.base_model.text_encoder in frozen, model.base_model.image_encoder in frozen
    model.to(args.device).eval()
    loader = torch.utils.data.DataLoader(
        posts, args.per_device_eval_batch_size, collate_fn=collator, num_workers=args.dataloader_num_workers
    )
    masks = {"attention_mask": ("input_ids", "text_features"), "image_mask": ("pixel_values", "image_features")}
    rows = []
    for batch in tqdm(loader, desc="encoding", disable=not args.should_log):
        batch = {name: value.to(args.device) for name, value in batch.items()}
        with torch.no_grad():
            if text:  # (B, L, D)
                batch["text_features"], _ = model.encode_text(batch.pop("input_ids"), batch["attention_mask"], None)
            if image:  # (B, K, R, D)
                batch["image_features"], _ = model.encode_images(batch.pop("pixel_values"), batch["image_mask"], None)
        for row in range(len(batch["attention_mask"])):
            features = {name: value[row] for name, value in batch.items()}
            for mask, names in masks.items():  # without the padding of this batch
                kept = features[mask].sum().clamp(min=1)
                features |= {name: features[name][:kept] for name in (mask, *names) if name in features}
            rows.append({name: value.cpu().clone() for name, value in features.items()})
    return rows


def main() -> None:
    started = time.time()
    model_args, data_args, run_args = parse_arguments(sys.argv[1:], __doc__)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("modeling").setLevel(logging.INFO)
    output_dir = Path(run_args.output_dir)
    if (output_dir / SAFE_WEIGHTS_NAME).exists() and not run_args.overwrite:
        sys.exit(f"{output_dir} holds a trained model: give another --output_dir, or --overwrite to replace it.")

    with run_args.main_process_first(desc="loading the corpus"):
        needed = ("train",) if run_args.eval_strategy == "no" else ("train", "validation")
        corpus, report = load_corpus(data_args, needed)
    label_names = corpus["train"].features["label"].names
    labels = {split: list(posts["label"]) for split, posts in corpus.items()}

    set_seed(run_args.seed)
    # Aspects are words that the texts may never use: all would be the unknown word.
    words = [*corpus["train"]["text"], *filter(None, corpus["train"]["aspect"])]
    processor, model = build(model_args, words, dict(enumerate(label_names)))
    collator = PostCollator(processor, data_args.modalities)
    posts = corpus
    if data_args.image_augmentation or data_args.text_augmentation:
        if data_args.cache_features:
            raise ValueError(
                "cache_features keeps what the encoders saw once: it cannot be combined with augmentation."
            )
        changed = AugmentedPosts(corpus["train"], data_args.image_augmentation, data_args.text_augmentation)
        posts = dict(corpus) | {"train": changed}
    if data_args.cache_features:
        posts = {split: encode_features(model, corpus[split], collator, run_args) for split in corpus}
        collator = FeatureCollator()

    def compute_metrics(evaluation: EvalPrediction) -> dict[str, float]:
        scores = score(evaluation.predictions.argmax(-1), evaluation.label_ids, label_names)
        return {name: value for name, value in scores.items() if isinstance(value, float)}

    patience = run_args.early_stopping_patience
    trainer = MultimodalTrainer(
        model=model,
        args=run_args,
        data_collator=collator,
        train_dataset=posts["train"],
        eval_dataset=posts["validation"] if "validation" in needed else None,
        processing_class=processor,
        compute_metrics=compute_metrics,
        callbacks=[EarlyStoppingCallback(patience)] if patience is not None else [],
    )
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero():
        (output_dir / TRAINING_ARGS_NAME).unlink()  # a pickle; run.json says the same

    scores, majority = {}, {}
    for split in ("validation", "test"):
        if split in posts:
            logits = trainer.predict(posts[split]).predictions
            predictions = logits.argmax(-1)
            scores[split] = score(predictions, labels[split], label_names)
            scores[split]["subgroups"] = subgroup_scores(corpus[split], predictions, labels[split])
            majority[split] = majority_score(labels["train"], labels[split], label_names)
            if trainer.is_world_process_zero():
                path = output_dir / f"predictions_{split}.jsonl"
                write_predictions(path, corpus[split]["id"], labels[split], logits, label_names)
    best_step = trainer.state.best_global_step or trainer.state.max_steps
    if trainer.is_world_process_zero():
        run = {
            "command": shlex.join(["train.py", *sys.argv[1:]]),
            "seed": run_args.seed,
            "processes": run_args.world_size,
            "posts": {split: len(rows) for split, rows in corpus.items()},
            **report,
            "best_epoch": best_step * trainer.state.num_train_epochs / trainer.state.max_steps,
            "scores": scores,
            "majority": majority,
            "seconds": round(time.time() - started),
            "versions": {name: version(name) for name in PACKAGES},
        }
        (output_dir / "run.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
        print_report(run, label_names)
        print(f"\nModel, processor, predictions and run.json are in {output_dir}")


if __name__ == "__main__":
    main()

"""Wrong arguments of train.py, and the files that they name."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import tiny
import torch
from safetensors.torch import load_file, save_file
from small_runs import write_corpus
from transformers import BertTokenizer

from mmsent.training.run_folder import complete_checkpoint

# What is wrong, as a command line, and the words of the message. {name} stands for a file or folder of `write_files`.
BERT, VIT = "--text_encoder {bert}", "--image_encoder {vit}"
FROM = "--init_from {trained}"
COMMAND_LINE = {
    "--foo 3": "'foo'",
    "--hops 3": "'hops'.*model_kwargs",
    "--learning_rate fast": "learning_rate",
    "--learning_rate nan": "learning_rate=nan",
    "--num_train_epochs nan": "num_train_epochs=nan",
    "--num_train_epochs 0": "num_train_epochs=0",
    "--max_steps 0": "max_steps=0",
    "--max_steps -5": "max_steps=-5",
    "--max_steps 1.5": "max_steps",
    "--per_device_train_batch_size 0": "per_device_train_batch_size=0",
    "--per_device_train_batch_size -1": "per_device_train_batch_size=-1",
    "--per_device_eval_batch_size abc": "per_device_eval_batch_size",
    "--gradient_accumulation_steps 0": "gradient_accumulation_steps=0",
    "--seed -1": "seed=-1",
    "--seed 4294967296": "seed=4294967296",
    "--data_seed -1": "data_seed=-1",
    "--optim best": "optim.*best",
    "--lr_scheduler_type best": "lr_scheduler_type.*best",
    '--lr_scheduler_type cosine_with_restarts --lr_scheduler_kwargs {{"foo":1}}': "lr_scheduler_kwargs.*foo",
    "--lr_scheduler_kwargs foo": "lr_scheduler_kwargs",
    '--lr_scheduler_type polynomial --lr_scheduler_kwargs {{"lr_end":1}}': "lr_scheduler_kwargs.*lr_end",
    "--optim_args foo": "optim_args.*foo",
    "--report_to nobody": "report_to.*nobody",
    "--report_to wandb": "report_to.*wandb",
    "--deepspeed {nothing}": "deepspeed",
    "--fsdp_config {nothing} --fsdp True": "fsdp",
    "--accelerator_config {nothing}": "accelerator_config",
    "--parallelism_config {nothing}": "parallelism_config",
    "--eval_strategy sometimes": "eval_strategy",
    "--save_strategy sometimes": "save_strategy",
    "--eval_strategy steps --eval_steps 2 --save_strategy steps --save_steps 3": "save_steps|load_best_model_at_end",
    "--eval_strategy epoch --save_strategy steps": "load_best_model_at_end",
    "--eval_strategy steps --eval_steps 0": "eval_steps",
    "--eval_strategy steps --eval_steps 1.5": "eval_steps",
    "--logging_strategy steps --logging_steps 1.5": "logging_steps",
    "--metric_for_best_model best": "metric_for_best_model.*best",
    "--metric_for_best_model test_accuracy": "metric_for_best_model.*test_accuracy",
    "--greater_is_better maybe": "greater_is_better",
    "--label_smoothing_factor 1.5": "label_smoothing_factor=1.5",
    "--adam_beta1 1": "adam_beta1=1",
    "--adam_beta2 2": "adam_beta2=2",
    "--max_grad_norm -1": "max_grad_norm=-1",
    "--warmup_steps -1": "warmup_steps=-1",
    "--early_stopping_patience 0": "early_stopping_patience=0",
    "--early_stopping_patience 1 --eval_strategy no --save_strategy no --load_best_model_at_end no": "eval_strategy",
    "--early_stopping_patience 1 --metric_for_best_model none": "metric_for_best_model.*none",
    "--early_stopping_patience 1 --load_best_model_at_end false --metric_for_best_model none": "metric_for_best_model",
    "--dataloader_num_workers -1": "dataloader_num_workers=-1",
    "--dataloader_num_workers 0 --dataloader_prefetch_factor 2": "dataloader_prefetch_factor",
    "--dataloader_prefetch_factor 0 --dataloader_num_workers 1": "dataloader_prefetch_factor",
    "--train_sampling_strategy fair": "train_sampling_strategy",
    "--bf16 true --fp16 true": "bf16|fp16",
    "--tf32 true": "tf32",
    "--log_level loud": "log_level",
    "--ddp_backend pigeon": "ddp_backend",
    "--torch_compile true --torch_compile_backend none_such": "torch_compile_backend.*none_such",
    "--use_liger_kernel true": "use_liger_kernel|liger",
    "--neftune_noise_alpha -1": "neftune_noise_alpha",
    "--push_to_hub true --hub_strategy never": "hub_strategy",
    "--resume_from_checkpoint {nothing}": "resume_from_checkpoint",
    "--class_weights 1 x 1": "class_weights",
    "--class_weights 1 -1 1": "class_weights",
    "--lr_decay 0": "lr_decay=0",
    "--lr_decay_steps 0": "lr_decay_steps=0",
    "--text_from_epoch -1": "text_from_epoch=-1",
    "--lora_rank 0": "lora_rank=0",
    "--lora_alpha 4": "lora_alpha.*lora_rank",
    "--architecture bert": "architecture",
    "--modalities sound": "modalities",
    "--on_bad_image ignore": "on_bad_image",
    "--image_augmentation blur": "image_augmentation",
    "--features_dtype int8": "features_dtype",
    "--min_confidence 2 {FROM}": "min_confidence=2",
    "--min_confidence 0.5": "min_confidence.*init_from",
    "--streaming true": "max_steps",
    "--streaming true --max_steps 3 --cache_features --model_kwargs freeze_text=true": "streaming.*cache_features",
    "--streaming true --max_steps 3 --train_sampling_strategy group_by_length": "streaming.*train_sampling_strategy",
    "--cache_features": "cache_features",
    "--cache_features --image_augmentation flip": "cache_features.*augmentation",
}
RECIPES = {
    "--config {nothing}": "nothing",
    "--config {folder}": "folder",
    "--config {pipe}": "pipe is not a regular file",
    "--config {binary}": "binary",
    "--config {empty}": "empty",
    "--config {words}": "words",
    "--config {list_recipe}": "list_recipe",
    "--config {twice}": "two entries for seed",
    "--config": "--config",
}
FOLDERS = {
    "--output_dir {words}": "output_dir.*words",
    "--output_dir {words}/run": "output_dir.*words",
    "--output_dir {finished}": "finished.*overwrite",
    "--output_dir {finished} --overwrite true --processor_kwargs image_size=1": "image_size=1",
    "--output_dir {stranger}": "stranger.*overwrite",
    "--output_dir {interrupted}": "interrupted.*other settings",
    "--output_dir {interrupted} --learning_rate 1": "learning_rate",
    "--cache_features --model_kwargs freeze_text=true --features_dir {words}": "features_dir.*words",
    "--cache_features --model_kwargs freeze_text=true --features_dir {words}/f": "features_dir.*words",
}
CORPUS = {
    "--dataset nothing": "dataset.*nothing",
    "--dataset {nothing}": "dataset.*nothing",
    "--dataset ./nothing": "dataset.*nothing",
    "--dataset {words}": "dataset.*words",
    "--dataset {folder}": "dataset.*folder",
    "--dataset {plain_table}": "plain_table.*column",
    "--dataset {no_validation}": "no validation",
    "--dataset someone/nothing": "someone/nothing",
    "--dataset_config nothing": "dataset_config.*nothing",
    "--dataset mvsa_single --data_dir {nothing}": "data_dir.*nothing",
    "--dataset mvsa_single --data_dir {words}": "data_dir.*words",
    "--dataset mvsa_single --data_dir {folder}": "data_dir.*folder",
    "--dataset mvsa_single": "data_dir",
    "--dataset_kwargs foo=1": "foo",
    "--dataset_kwargs foo": "foo.*NAME=VALUE",
    "--dataset {posts} --dataset_kwargs foo=1": "foo",
    "--dataset {posts} --dataset_config nothing": "nothing",
    "--text_augmentation nothing": "text_augmentation=nothing",
    "--class_weights 1 1": "class_weights",
    "--class_weights 1 1 1 1": "class_weights",
}
MODEL = {
    "--model_kwargs hops": "hops.*NAME=VALUE",
    "--model_kwargs foo=1": "foo",
    "--model_kwargs hops=three": "hops",
    "--model_kwargs hops=0": "hops=0",
    "--model_kwargs hops=[1": "hops",
    "--model_kwargs dropout=2": "dropout=2",
    "--model_kwargs dropout=.nan": "dropout=nan",
    "--model_kwargs text_hidden_size=0": "text_hidden_size=0",
    "--model_kwargs image_hidden_size=7": "image_hidden_size",
    "--model_kwargs image_regions=7 visual_memory=channels": "image_regions",
    "--model_kwargs text_config=3": "text_config",
    "--model_kwargs id2label=3": "id2label",
    "--model_kwargs keys_to_ignore_at_inference=3": "keys_to_ignore_at_inference:",
    "--model_kwargs num_labels=7": "num_labels",
    "--architecture mdse --model_kwargs num_attention_heads=7": "num_attention_heads=7|heads",
    "--architecture mdse --model_kwargs num_attention_heads=0": "num_attention_heads=0",
    "--architecture mdse --model_kwargs temperature=0": "temperature=0",
    "--architecture gated_fusion --model_kwargs text_hidden=0": "text_hidden=0",
    "--architecture gated_fusion --model_kwargs image_hidden=[0]": "image_hidden=",
    "--architecture gated_fusion --model_kwargs image_dropout=[2.0]": "image_dropout=",
    "--architecture gated_fusion --model_kwargs head=label_embedding": "label_vectors",
    "--architecture gated_fusion --model_kwargs head=label_embedding label_vectors={nothing}": "nothing",
    "--architecture deep_fusion --model_kwargs windows=[]": "windows=",
    "--architecture deep_fusion --model_kwargs filters=0": "filters=0",
    "--architecture deep_fusion --model_kwargs fc_sizes=[0]": "fc_sizes=",
    "--architecture mimn --model_kwargs hidden_size=0": "hidden_size=0",
    "--processor_kwargs foo=1": "foo",
    "--processor_kwargs max_length=0": "max_length=0",
    "--processor_kwargs max_length=many": "max_length=many",
    "--processor_kwargs image_size=0": "image_size=0",
    "--processor_kwargs image_size=1": "image_size=1",
    "--processor_kwargs text_steps=[foo]": "text_steps|foo",
    "--processor_kwargs text_steps=3": "text_steps",
    "--processor_kwargs vocab_size=1": "vocab_size=1",
    "--processor_kwargs tokenizer=3": "tokenizer",
    f"{VIT} --processor_kwargs image_size=64": "image_size=64",
    "--word_vectors {nothing}": "word_vectors.*nothing",
    "--word_vectors {folder}": "word_vectors.*folder",
    "--word_vectors {binary}": "word_vectors.*binary",
    "--word_vectors {empty}": "word_vectors.*empty",
    "--word_vectors {narrow_vectors}": "word_vectors.*text_hidden_size",
    f"--word_vectors {{narrow_vectors}} {BERT}": "word_vectors",
    "--lora_rank 2": "lora_rank=2",
    "--lora_rank 2 --image_encoder {resnet}": "lora_rank=2",
    "--lora_rank 2 {BERT} --model_kwargs freeze_text=true": "lora_rank=2",
    "--activation_checkpointing true": "activation_checkpointing|Activation checkpointing",
    "--architecture gated_fusion --class_weights balanced --model_kwargs head=label_embedding label_embedding=learned "
    "loss=rank_hinge": "class_weights",
}
ENCODERS = {
    **{
        f"--{part}_encoder {{{name}}}": f"{part}_encoder.*{name}"
        for part in ("text", "image")
        for name in ("nothing", "words", "folder", "truncated", "not_json", "json_list", "no_type", "unknown_type")
    },
    "--text_encoder ./nothing": "text_encoder.*nothing",
    "--image_encoder ./nothing": "image_encoder.*nothing",
    "--text_encoder nothing": "text_encoder.*nothing",
    "--image_encoder nothing": "image_encoder.*nothing",
    "--text_encoder {vit}": "text_encoder.*vit",
    "--text_encoder {resnet}": "text_encoder.*resnet",
    "--image_encoder {bert}": "image_encoder.*bert",
    "--text_encoder {other_tokenizer}": "text_encoder.*other_tokenizer",
    "--text_encoder {no_tokenizer}": "text_encoder.*no_tokenizer",
    "--text_encoder {no_weights}": "text_encoder.*no_weights",
    "--text_encoder {pickle_only}": "text_encoder.*pickle_only",
    "--text_encoder {nan_backbone}": "text_encoder.*nan_backbone",
    "--text_encoder {renamed_backbone}": "text_encoder.*renamed_backbone",
    "--text_encoder {bert} --processor_kwargs max_length=100": "max_length=100",
    "--image_encoder {no_image_processor}": "image_encoder.*no_image_processor",
}
TRAINED = {
    **{
        f"--init_from {{{name}}}": f"init_from.*{name}"
        for name in ("nothing", "words", "folder", "truncated", "not_json", "json_list", "no_type", "bert")
    },
    "--init_from ./nothing": "init_from.*nothing",
    "--init_from nothing": "init_from.*nothing",
    "--init_from {trained} --architecture mdse": "init_from.*comn, not mdse",
    "--init_from {trained_no_weights}": "init_from.*trained_no_weights",
    "--init_from {trained_pickle_only}": "init_from.*trained_pickle_only",
    "--init_from {trained_truncated}": "init_from.*trained_truncated",
    "--init_from {trained_nan}": "init_from.*trained_nan",
    "--init_from {trained_renamed}": "init_from.*trained_renamed",
    "--init_from {trained_no_processor}": "init_from.*trained_no_processor",
    f"{FROM} --model_kwargs hops=three": "hops",
    f"{FROM} --model_kwargs foo=1": "foo",
    f"{FROM} --processor_kwargs max_length=0": "max_length=0",
    f"{FROM} --processor_kwargs image_size=32": "image_size=32",
}
CASES = {
    line.replace("{FROM}", FROM).replace("{BERT}", BERT): words
    for cases in (COMMAND_LINE, RECIPES, FOLDERS, CORPUS, MODEL, ENCODERS, TRAINED)
    for line, words in cases.items()
}


def write_files(folder: Path, backbones: dict[str, str]) -> dict[str, Path]:
    """Write the files and folders that the arguments name, and return their paths by name."""
    files = {"nothing": folder / "nothing"} | {name: Path(path) for name, path in backbones.items()}

    def add(name: str, content: bytes | None = None) -> Path:
        files[name] = path = folder / name
        path.mkdir() if content is None else path.write_bytes(content)
        return path

    def copy(name: str, source: Path, change: Callable[[Path], object]) -> None:
        shutil.copytree(source, folder / name)
        change(folder / name)
        files[name] = folder / name

    def change_weights(change: Callable[[dict], object]) -> Callable[[Path], None]:
        def rewrite(path: Path) -> None:
            weights = load_file(path / "model.safetensors")
            change(weights)
            save_file(weights, path / "model.safetensors", metadata={"format": "pt"})

        return rewrite

    def remove(*names: str) -> Callable[[Path], None]:
        return lambda path: [file.unlink() for name in names for file in path.glob(name)]

    def config(content: str) -> Callable[[Path], object]:
        return lambda path: (path / "config.json").write_text(content)

    def truncate(path: Path) -> None:
        weights = path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])

    def pickle_only(path: Path) -> None:
        torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
        (path / "model.safetensors").unlink()

    def other_tokenizer(path: Path) -> None:
        remove("tokenizer*", "vocab*", "special*")(path)
        (path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" + "\n".join(f"w{i}" for i in range(99)))
        BertTokenizer(vocab=str(path / "vocab.txt")).save_pretrained(path)

    nan = change_weights(lambda weights: next(value for value in weights.values() if value.ndim > 1).fill_(torch.nan))
    renamed = change_weights(
        lambda weights: [weights.update({f"module.{key}": weights.pop(key)}) for key in list(weights)]
    )
    add("words", b"just words\n"), add("empty", b""), add("binary", bytes(range(256)) * 9), add("folder")
    add("list_recipe", b"- seed: 1\n"), add("twice", b"seed: 1\nseed: 2\n")
    files["pipe"] = folder / "pipe"
    os.mkfifo(files["pipe"])
    add("narrow_vectors", b"the 1 2 3\ngood 1 2 3\n")
    (add("plain_table") / "train.csv").write_text("id,text\n1,good\n")
    write_corpus(add("posts"))
    shutil.copytree(files["posts"] / "data", add("no_validation") / "data")
    next((files["no_validation"] / "data").glob("validation*")).unlink()
    (add("finished") / "run.json").write_text("{}")
    (add("stranger") / "model.safetensors").write_bytes(b"")
    (add("interrupted") / "checkpoint-1").mkdir()
    (files["interrupted"] / "settings.json").write_text('{"learning_rate": 0.5}')
    complete_checkpoint(files["interrupted"] / "checkpoint-1")

    bert = files["bert"]
    copy("truncated", bert, truncate), copy("not_json", bert, config("{")), copy("json_list", bert, config("[]"))
    copy("no_type", bert, config("{}")), copy("unknown_type", bert, config('{"model_type": "unheard_of"}'))
    copy("other_tokenizer", bert, other_tokenizer)
    copy("no_tokenizer", bert, remove("tokenizer*", "vocab*", "special*")), copy("no_weights", bert, remove("model*"))
    copy("pickle_only", bert, pickle_only), copy("nan_backbone", bert, nan), copy("renamed_backbone", bert, renamed)
    copy("no_image_processor", files["vit"], remove("preprocessor*", "processor*"))

    trained = add("trained")
    for part in tiny.build("comn", "own", backbones):
        part.save_pretrained(trained)
    copy("trained_no_weights", trained, remove("model*")), copy("trained_pickle_only", trained, pickle_only)
    copy("trained_truncated", trained, truncate), copy("trained_nan", trained, nan)
    copy("trained_renamed", trained, renamed), copy("trained_no_processor", trained, remove("processor*", "token*"))
    return files

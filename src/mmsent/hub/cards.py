"""The card of a trained model, rendered from what its run measured; and the same scores for the Hub's leaderboards."""

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData
from transformers import PreTrainedConfig

from mmsent.dataset_scripts import CORPORA, corpus_class

METRICS = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "weighted_f1": "Weighted-F1"}


def make_card(repo_id: str, run: dict, settings: dict, config: PreTrainedConfig, examples: list[dict]) -> str:
    """A model card without gaps.

    Args:
        run: what train.py wrote into run.json. settings: into settings.json.
        config: of the model.
        examples: of each, `text`, `src` (a picture in the repository), `aspect` where there is one, and `output`, the
            labels and scores that the model gives.
    """
    corpus, verdict, reason = corpus_of(settings)
    split = reported_split(run)
    data = ModelCardData(
        license="apache-2.0" if verdict == "allowed" else "other",
        license_name=None if verdict == "allowed" else "weights-follow-the-corpus",
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=["sentiment-analysis", "multimodal", "image-text-sentiment", "mmsent", config.model_type],
        datasets=[settings["dataset"]] if "/" in settings["dataset"] else None,
        metrics=["accuracy", "f1"],
        model_name=repo_id.rpartition("/")[2],
        eval_results=[
            EvalResult(
                task_type="text-classification",
                task_name="Sentiment of a text with pictures",
                dataset_type=settings["dataset"],
                dataset_name=corpus,
                dataset_config=settings["dataset_config"],
                dataset_split=split,
                metric_type="accuracy" if metric == "accuracy" else "f1",
                metric_name=name,
                metric_value=round(run["scores"][split][metric], 4),
            )
            for metric, name in METRICS.items()
        ],
        widget=examples,
    )
    sections = [
        f"# {data.model_name}",
        _summary(run, settings, config, corpus),
        _usage(repo_id, examples[0]),
        _labels(config),
        _scores(run, settings, split, config),
        _limitations(run, split),
        _training(run, settings, corpus, verdict, reason),
    ]
    return f"---\n{data.to_yaml(line_break=chr(10))}\n---\n\n" + "\n\n".join(sections) + "\n"


def eval_result_entries(run: dict, settings: dict) -> list[EvalResultEntry]:
    """The scores of the run's reported split, one entry a metric, as `.eval_results/` wants them."""
    split = reported_split(run)
    low, high = run["scores"][split]["accuracy_interval"]
    notes = {"accuracy": f"{split} split, 95 % interval {low:.4f} to {high:.4f}"}
    return [
        EvalResultEntry(
            dataset_id=settings["dataset"],
            task_id=f"{settings['dataset_config'] or 'default'}_{metric}",
            value=round(run["scores"][split][metric], 4),
            notes=notes.get(metric, f"{split} split"),
        )
        for metric in METRICS
    ]


def reported_split(run: dict) -> str:
    return "test" if "test" in run["scores"] else "validation"


def corpus_of(settings: dict) -> tuple[str, str, str]:
    """Name of the run's corpus, whether its posts may be passed on, and why."""
    name = settings["dataset"]
    if name not in CORPORA:
        return name.rstrip("/").rpartition("/")[2], "unclear", "see its own card"
    return name, *corpus_class(name).REDISTRIBUTION


def _summary(run: dict, settings: dict, config: PreTrainedConfig, corpus: str) -> str:
    reads = {"both": "a text with its pictures", "text": "a text (pictures were not used)", "image": "pictures alone"}
    parts = f"`{config.text_config.model_type}` for texts and `{config.image_config.model_type}` for pictures"
    return (
        f"Sentiment of a post: this model reads {reads[settings['modalities']]} and gives one of "
        f"{config.num_labels} labels. Architecture `{config.model_type}` of mmsent over {parts}, trained on "
        f"`{corpus}`.\n\n"
        "**Intended use**: research on sentiment in posts, and sorting posts like those of its corpus where a person "
        "looks at what matters. It is not meant for decisions about a person."
    )


def _usage(repo_id: str, example: dict) -> str:
    aspect = f', "aspect": "{example["aspect"]}"' if "aspect" in example else ""
    return (
        "## How to use it\n```python\nfrom transformers import pipeline\n"
        f'classify = pipeline("image-text-sentiment", model="{repo_id}", trust_remote_code=True)\n'
        f'print(classify({{"text": "{example["text"]}", "image": "picture.jpg"{aspect}}}))\n```\n'
        "`trust_remote_code=True` runs the Python files of this repository: read them first."
    )


def _labels(config: PreTrainedConfig) -> str:
    rows = [f"| {index} | {config.id2label[index]} |" for index in range(config.num_labels)]
    return "\n".join(["## Labels", "| index | label |", "|---|---|", *rows])


def _percent(row: dict) -> str:
    low, high = row["accuracy_interval"]
    return f"{row['accuracy']:.1%} | {low:.1%} to {high:.1%}"


def _scores(run: dict, settings: dict, split: str, config: PreTrainedConfig) -> str:
    lines = [
        "## Scores",
        "| split | system | accuracy | 95 % interval | macro-F1 | weighted-F1 |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in run["scores"].items():
        for system, values in (("this model", row), ("always the most frequent label", run["majority"][name])):
            lines.append(
                f"| {name} | {system} | {_percent(values)} | {values['macro_f1']:.1%} | {values['weighted_f1']:.1%} |"
            )
    if settings["load_best_model_at_end"]:
        lines += ["", "The epoch was chosen on the validation split, so its scores there are flattered."]
    names = [config.id2label[index] for index in range(config.num_labels)]
    lines += ["", f"Confusion matrix on {split}: rows are true labels, columns predicted ones.", ""]
    lines += [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    matrix = run["scores"][split]["confusion_matrix"]
    lines += [f"| **{name}** | {' | '.join(map(str, row))} |" for name, row in zip(names, matrix, strict=True)]
    return "\n".join(lines)


def _limitations(run: dict, split: str) -> str:
    scores = run["scores"][split]
    lines = ["## Limitations, as measured"]
    if scores["subgroups"]:
        lines += [f"| posts of {split} | count | accuracy | 95 % interval |", "|---|---|---|---|"]
        ordered = sorted(scores["subgroups"].items(), key=lambda item: item[1]["accuracy"])
        lines += [f"| {name} | {row['posts']} | {_percent(row)} |" for name, row in ordered]
        lines.append("")
    names = {key.removeprefix("f1_"): value for key, value in scores.items() if key.startswith("f1_")}
    weakest = min(names, key=names.get)
    lines.append(f"- The label it gets wrong most is *{weakest}* (F1 {names[weakest]:.1%}).")
    low = scores["accuracy_interval"][0]
    if low <= run["majority"][split]["accuracy"]:
        lines.append("- Its accuracy is not surely above that of always naming the most frequent label.")
    lines.append(
        "- Posts of another place, time or language than those of its corpus were not tried; expect less there."
    )
    return "\n".join(lines)


def _training(run: dict, settings: dict, corpus: str, verdict: str, reason: str) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in run["posts"].items())
    config = f", config `{settings['dataset_config']}`" if settings["dataset_config"] else ""
    lines = [
        "## Training",
        f"- Corpus `{corpus}`{config}: {counts}. Passing on its posts is {verdict}: {reason}.",
        *(f"- {split}: {len(ids):,} listed posts were not at hand." for split, ids in run["missing_posts"].items()),
        *(f"- {split}: {len(bad):,} pictures could not be decoded." for split, bad in run["bad_images"].items()),
        f"- Best epoch {run['best_epoch']:g}; seed {run['seed']}; SHA-256 of the weights `{run['weights_sha256']}`.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in run['versions'].items())}.",
        "",
        "```bash",
        f"accelerate launch {run['command']}",
        "```",
    ]
    return "\n".join(lines)

"""Write the cards of models and Spaces, and the scores of a model in the form of the Hub's leaderboards."""

from pathlib import Path

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, SpaceCard, SpaceCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import PreTrainedConfig

from mmsent.dataset_scripts import CORPORA, corpus_class
from mmsent.evaluation.published import describe_published
from mmsent.evaluation.scores import class_rows
from mmsent.modeling import ARCHITECTURES

TEMPLATES = Path(__file__).parent / "templates"
METRICS = {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "weighted_f1": "Weighted-F1"}
# The Hub has no task for the classification of text with images. This one has the same class of model
# (AutoModelForSequenceClassification) and the same output (labels with scores). "image-text-to-text" generates text.
PIPELINE_TAG = "text-classification"
TASKS = {
    "both": "reads a text with its images",
    "text": "reads a text (images were not used)",
    "image": "reads images (texts were not used)",
}


def make_card(repo_id: str, run: dict, settings: dict, config: PreTrainedConfig, examples: list[dict]) -> str:
    """Return the model card.

    Args:
        run: Content of the run's run.json.
        settings: Content of the run's settings.json.
        config: Config of the model.
        examples: For each example `text`, `src` (the path of an image in the repository), `aspect` and the further
            columns if the model reads them, and `output`, the labels with their scores.
    """
    corpus, redistribution, reason = redistribution_of(settings["dataset"])
    split = reported_split(run)
    scores = run["scores"][split]
    f1_scores = {key.removeprefix("f1_"): value for key, value in scores.items() if key.startswith("f1_")}
    weakest_label = min(f1_scores, key=f1_scores.get)
    post = {"text": examples[0]["text"], "image": "picture.jpg"}
    post |= {name: examples[0][name] for name in ("aspect", *(config.columns or ())) if name in examples[0]}
    systems = {"this model": run["scores"], "always the most frequent label": run["majority"]}
    card = ModelCard.from_template(
        _card_data(repo_id, run, settings, config, examples),
        template_path=TEMPLATES / "model_card.md",
        title=repo_id.rpartition("/")[2],
        task=TASKS[settings["modalities"]],
        labels=[_cell(config.id2label[index]) for index in range(config.num_labels)],
        architecture=config.model_type,
        encoders=_encoders(config),
        corpus=corpus,
        config_name=settings["dataset_config"],
        redistribution=redistribution,
        reason=reason,
        repo_id=repr(repo_id),
        post=repr(post),
        run=run,
        split=split,
        scores=scores,
        majority=run["majority"][split],
        score_rows=[(name, system, rows[name]) for name in run["scores"] for system, rows in systems.items()],
        class_rows=[(_cell(name), values) for name, values in class_rows(scores)],
        published=describe_published(settings.get("published", []), settings["dataset"]),
        chosen_on_validation=settings["load_best_model_at_end"],
        subgroups=[
            (_cell(name), row) for name, row in sorted(scores["subgroups"].items(), key=lambda i: i[1]["accuracy"])
        ],
        weakest_label=_cell(weakest_label),
        weakest_f1=f1_scores[weakest_label],
        percent="{:.1%}".format,
        notes=config.card_notes,
        interval=lambda row: "{:.1%} to {:.1%}".format(*row["accuracy_interval"]),
    )
    return f"{card}\n"


def _encoders(config: PreTrainedConfig) -> list[str]:
    """Return the encoders that the architecture has, and what they are for."""
    names = {"text": ["text"], "image": config.image_encoders}
    encoders = {}
    for part in (part for part in names if part in ARCHITECTURES[config.model_type].reads):
        configs = [getattr(config, f"{name}_config") for name in names[part]]
        kinds = [
            getattr(one, "backbone_config", one).model_type for one in configs
        ]  # below the BiLSTM of a text branch
        encoders[part] = " and ".join(f"`{kind}`" for kind in kinds)
    return [f"{kinds} for {part}s" for part, kinds in encoders.items()]


def _card_data(
    repo_id: str, run: dict, settings: dict, config: PreTrainedConfig, examples: list[dict]
) -> ModelCardData:
    corpus, redistribution, _ = redistribution_of(settings["dataset"])
    split, is_free = reported_split(run), redistribution == "allowed"
    return ModelCardData(
        license="apache-2.0" if is_free else "other",
        license_name=None if is_free else "weights-follow-the-corpus",
        library_name="transformers",
        pipeline_tag=PIPELINE_TAG,
        tags=["sentiment-analysis", "multimodal", "image-text-sentiment", "mmsent", config.model_type],
        datasets=[settings["dataset"]] if is_hub_dataset(settings["dataset"]) else None,
        metrics=["accuracy", "f1"],
        model_name=repo_id.rpartition("/")[2],
        eval_results=[
            EvalResult(
                task_type=PIPELINE_TAG,
                task_name="Sentiment of a text with images",
                dataset_type=public_name(settings["dataset"]),
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


def make_space_card(repo_id: str, model_id: str, gradio_version: str) -> str:
    """Return the card of a Space, whose metadata says how it runs and which model it shows."""
    data = SpaceCardData(
        title=repo_id.rpartition("/")[2],
        sdk="gradio",
        sdk_version=gradio_version,
        app_file="app.py",
        models=[model_id],
        license="apache-2.0",
        short_description="Sentiment of a text with images",
    )
    card = SpaceCard.from_template(data, template_path=TEMPLATES / "space_card.md", model_id=model_id)
    return f"{card}\n"


def eval_result_entries(run: dict, settings: dict) -> list[EvalResultEntry]:
    """Return the scores on the reported split, one entry per metric, for `.eval_results/` of a repository."""
    split = reported_split(run)
    low, high = run["scores"][split]["accuracy_interval"]
    notes = {"accuracy": f"{split} split, 95 % interval {low:.4f} to {high:.4f}"}
    return [
        EvalResultEntry(
            dataset_id=public_name(settings["dataset"]),
            task_id=f"{settings['dataset_config'] or 'default'}_{metric}",
            value=round(run["scores"][split][metric], 4),
            notes=notes.get(metric, f"{split} split"),
        )
        for metric in METRICS
    ]


def reported_split(run: dict) -> str:
    """Return the split whose scores are reported: test, or validation if the corpus has no test split."""
    return "test" if "test" in run["scores"] else "validation"


def is_repo_id(name: str) -> bool:
    """Return whether a name has the form of an id on the Hub: user, slash, name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def is_hub_dataset(dataset: str) -> bool:
    """Return whether the dataset of a run is an id on the Hub and not a local folder."""
    return is_repo_id(dataset) and not Path(dataset).exists() and not Path(dataset).parent.is_dir()


def public_name(dataset: str) -> str:
    """Return the name of a dataset that may be published: of a local folder only its last part."""
    if dataset in CORPORA or is_hub_dataset(dataset):
        return dataset
    return Path(dataset).name or "local folder"


def _cell(text: str) -> str:
    """Return a text that can stand in a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def redistribution_of(dataset: str) -> tuple[str, str, str]:
    """Return the name of a corpus, whether its posts may be redistributed, and why."""
    if dataset not in CORPORA:
        return public_name(dataset).rpartition("/")[2], "unclear", "see the card of the corpus"
    return dataset, *corpus_class(dataset).REDISTRIBUTION

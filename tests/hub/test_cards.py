"""Test the cards of the models of all architectures."""

import ast
import json
import re

import pytest
import tiny
from huggingface_hub import ModelCard
from transformers.modelcard import TASK_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from mmsent.dataset_scripts.common_schema import LABELS
from mmsent.hub.cards import eval_result_entries, make_card
from mmsent.modeling import ARCHITECTURES

PLACEHOLDER = re.compile(r"(?i:\[more information|todo|tbd|fixme|lorem)|<[a-z_ ]+>|\{[a-z_]+\}|\bNone\b|\bnan\b")


def read(path) -> dict:
    return json.loads(path.read_text())


@pytest.fixture
def card_of(trained):
    """Return the card of a model of an architecture; its run and settings can be changed."""

    def card_of(architecture: str, text: str = "A day.", run: dict | None = None, **settings) -> str:
        config = ARCHITECTURES[architecture].config(id2label=settings.pop("id2label", dict(enumerate(LABELS))))
        output = [{"label": config.id2label[0], "score": 1.0}]
        example = {"text": text, "src": "widget/0.png", "output": output}
        settings = read(trained / "settings.json") | settings
        return make_card("me/name", run or read(trained / "run.json"), settings, config, [example])

    return card_of


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_card_is_complete(architecture, card_of, trained):
    card, scores = card_of(architecture), read(trained / "run.json")["scores"]["test"]
    assert not PLACEHOLDER.search(card), PLACEHOLDER.search(card)
    data = ModelCard(card).data
    assert data.license == "apache-2.0"
    assert TASK_MAPPING[data.pipeline_tag] is MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    assert data.eval_results[0].metric_value == round(scores["accuracy"], 4)
    assert architecture in data.tags
    assert (
        "\n\n# name\n\nThis model reads a text (images were not used) and predicts one of 3 sentiment labels." in card
    )
    assert tuple(re.findall(r"`\w+` for (\w+)s", card)) == tiny.reads(architecture)
    assert ("`small_cnn` and `small_cnn` for images" in card) == (architecture == "multi_sentinet")
    for section in ("How to use it", "Labels", "Scores", "Limitations, as measured", "Training"):
        assert f"\n\n## {section}\n" in card
    low, high = scores["accuracy_interval"]
    row = re.search(r"\| test \| this model \|.*", card)[0]
    assert f"{low:.1%} to {high:.1%}" in row
    assert "always the most frequent label | 33.3%" in card
    assert f"| decided_by = both | {scores['subgroups']['decided_by = both']['posts']} |" in card
    tables = re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)
    assert len(tables) == 5
    precision, recall = (f"{scores[f'{measure}_positive']:.1%}" for measure in ("precision", "recall"))
    assert f"\n| positive | {precision} | {recall} | {scores['f1_positive']:.1%} |\n" in card
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)


def test_the_card_of_a_run_without_precision_and_recall(card_of, trained):
    run = read(trained / "run.json")  # as an older version has written it
    new = ("precision", "recall", "macro_p", "macro_r", "weighted_p", "weighted_r")
    run["scores"]["test"] = {k: v for k, v in run["scores"]["test"].items() if not k.startswith(new)}
    card = card_of("comn", run=run)
    assert "|\n\n## Limitations, as measured\n" in card
    assert "| recall |" not in card


def test_the_card_names_every_encoder(card_of):
    assert "the encoders `word_vectors` for texts and `small_cnn` for images, and" in card_of("comn")
    images = "`word_vectors` for texts and `small_cnn` and `small_cnn` for images, and"
    assert images in card_of("multi_sentinet")


def test_the_text_of_the_example_is_quoted(card_of):
    text = 'He said "good" \\ 中文\n```\u2028\ud800'
    (post,) = re.findall(r"print\(classify\((.*)\)\)", card_of("comn", text))
    assert ast.literal_eval(post) == {"text": text, "image": "picture.jpg"}


def test_the_card_of_a_corpus_that_must_not_be_redistributed(card_of, trained):
    run = read(trained / "run.json") | {"missing_posts": {"train": ["1", "2"]}}
    del run["scores"]["test"]
    card = card_of("mimn", run=run, dataset="multi_zol", dataset_config="review")
    assert ModelCard(card).data.license == "other"
    assert "Redistribution of the posts is forbidden: the README of its release forbids" in card
    assert "train: 2 listed posts were missing" in card
    assert "the scores on that split are too high" in card
    assert "## Limitations" in card


def test_the_card_quotes_the_figures_that_the_recipe_repeats(card_of):
    figures = "- accuracy 70.07, F1 68.03 (CoMN-Hop2; CoMN: Xu, Mao, Chen, SIGIR 2018, Table 1)\n"
    keys = ["comn/1/CoMN-Hop2", "mimn/all models/MIMN"]
    card = card_of("comn", dataset="mvsa_single", published=keys)
    assert f"\n\nThe recipe follows a paper, which reports in percent:\n{figures}\n" in card
    assert "follows a paper" not in card_of("comn", dataset="sample_posts", published=keys)


def test_the_card_of_a_corpus_in_a_folder_names_no_path(card_of, tmp_path, trained):
    folder = tmp_path / "private" / "posts"  # It does not exist: a folder may be gone when its model is published.
    card = card_of("comn", dataset=str(folder), dataset_config=None)
    assert str(tmp_path) not in card
    assert ModelCard(card).data.datasets is None
    settings = read(trained / "settings.json") | {"dataset": str(folder)}
    assert eval_result_entries(read(trained / "run.json"), settings)[0].dataset_id == "posts"
    assert ModelCard(card_of("comn", dataset="user/corpus")).data.datasets == ["user/corpus"]


def test_labels_with_signs_of_tables_keep_the_columns(card_of):
    card = card_of("comn", id2label={0: "a|b", 1: "c\nd", 2: "e"})
    assert "| 0 | a\\|b |\n| 1 | c d |\n| 2 | e |" in card

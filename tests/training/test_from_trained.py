"""Training that begins from a trained model: another head, other classes, only the posts that it is sure of."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoProcessor

from mmsent.training.posts import confident_rows

SMALL = ["--architecture", "gated_fusion", "--model_kwargs", "text_hidden=8"]


@pytest.fixture
def vectors(tmp_path) -> str:
    """Word vectors of the labels' names."""
    path = tmp_path / "vectors.txt"
    path.write_text("negative -1 0 0\nneutral 0 1 0\npositive 1 0 0\n")
    return str(path)


@pytest.mark.slow
def test_a_trained_classifier_gets_label_embeddings(run, tmp_path, vectors):
    """(e) and (h) of the MVSO study begin from (d) and (g)."""
    run(tmp_path / "classes", *SMALL)
    head = ["head=label_embedding", "label_embedding_size=3", "loss=cosine", f"label_vectors={vectors}"]
    argv = ["--init_from", str(tmp_path / "classes"), "--model_kwargs", *head, "--learning_rate", "1e-12"]
    run(tmp_path / "labels", "--architecture", "gated_fusion", *argv)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("classes", "labels"))
    kept = [name for name in before if not name.startswith("classifier.") and before[name].is_floating_point()]
    for name in kept:
        if "running" not in name and "gate" not in name:  # statistics go on, and the update of a gate is clipped
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)
    assert "gated_fusion.lstm.forward_lstm.weight_hh_l0" in kept
    assert after["classifier.labels"].tolist() == [[-1, 0, 0], [0, 1, 0], [1, 0, 0]]
    words = [AutoProcessor.from_pretrained(tmp_path / name).tokenizer.get_vocab() for name in ("classes", "labels")]
    assert words[0] == words[1]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "labels")
    assert model.config.head == "label_embedding"


@pytest.mark.slow
def test_another_corpus_with_other_classes(run, tmp_path, standins):
    run(tmp_path / "polarity", *SMALL)
    folder = standins.write_multi_zol(tmp_path / "zol")
    argv = ["--dataset", "multi_zol", "--data_dir", str(folder), "--init_from", str(tmp_path / "polarity")]
    run(tmp_path / "scores", "--architecture", "gated_fusion", *argv)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "scores")
    assert model.config.num_labels == model.classifier.out_features == 8
    assert model.config.id2label[7] == "10"


@pytest.mark.slow
def test_only_the_posts_that_the_model_is_sure_of(run, tmp_path):
    """The MVSO study trains its image classifiers once more on labels of probability over 0.6."""
    made = run(tmp_path / "first", *SMALL, "--num_train_epochs", "3", "--per_device_train_batch_size", "32")
    assert "confident_posts" not in made
    argv = ["--architecture", "gated_fusion", "--init_from", str(tmp_path / "first")]
    counts = {
        threshold: run(tmp_path / threshold, *argv, "--min_confidence", threshold)["confident_posts"]
        for threshold in ("0.4", "0.6")
    }
    assert 0 < counts["0.6"] < counts["0.4"] < made["posts"]["train"]
    with pytest.raises(ValueError, match="as sure of no training post"):
        run(tmp_path / "none", *argv, "--min_confidence", "0.9999999")


def test_the_wrong_architecture(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model_type": "gated_fusion"}))
    with pytest.raises(ValueError, match="is of --architecture gated_fusion, not comn"):
        run(tmp_path / "other", "--init_from", str(tmp_path / "run"))


def test_confident_rows_are_those_whose_label_exceeds_the_threshold():
    def logit(probability):  # of class 0 of two
        return [math.log(probability / (1 - probability)), 0.0]

    logits = torch.tensor([logit(0.61), logit(0.59), logit(0.9), logit(0.1), logit(0.5)])
    labels = [0, 0, 1, 1, 0]
    assert confident_rows(logits, labels, 0.6) == [0, 3]
    assert confident_rows(logits.numpy(), labels, 0.55) == [0, 1, 3]
    assert confident_rows(logits, labels, 0.95) == []

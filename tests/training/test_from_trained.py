"""Training that starts from a trained model: another head, other classes, or only the confident posts."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoProcessor

SMALL = ["--architecture", "gated_fusion", "--model_kwargs", "text_hidden=8"]


@pytest.mark.slow
def test_a_trained_classifier_gets_label_embeddings(run, tmp_path):
    """(e) and (h) of the MVSO study start from (d) and (g)."""
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("negative -1 0 0\nneutral 0 1 0\npositive 1 0 0\n")
    run(tmp_path / "classes", *SMALL)
    head = ["head=label_embedding", "label_embedding_size=3", "loss=cosine", f"label_vectors={vectors}"]
    argv = ["--init_from", str(tmp_path / "classes"), "--model_kwargs", *head, "--learning_rate", "1e-12"]
    run(tmp_path / "labels", "--architecture", "gated_fusion", *argv)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("classes", "labels"))
    lstm = "gated_fusion.lstm.forward_lstm.weight_hh_l0"
    torch.testing.assert_close(after[lstm], before[lstm], rtol=0, atol=1e-6)
    assert after["classifier.labels"].tolist() == [[-1, 0, 0], [0, 1, 0], [1, 0, 0]]
    words = [AutoProcessor.from_pretrained(tmp_path / name).tokenizer.get_vocab() for name in ("classes", "labels")]
    assert words[0] == words[1]


@pytest.mark.slow
def test_another_corpus_with_other_classes(run, tmp_path, standins):
    run(tmp_path / "polarity", *SMALL)
    argv = ["--dataset", "multi_zol", "--data_dir", str(standins.write_multi_zol(tmp_path / "zol"))]
    argv += ["--architecture", "gated_fusion", "--init_from", str(tmp_path / "polarity")]
    run(tmp_path / "scores", *argv)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "scores")
    assert model.config.num_labels == model.classifier.out_features == 8
    assert model.config.id2label[7] == "10"


@pytest.mark.slow
def test_training_on_confident_posts_only(run, tmp_path):
    """The MVSO study trains its image classifiers again on labels of a probability above 0.6."""
    report = run(tmp_path / "first", *SMALL, "--num_train_epochs", "3", "--per_device_train_batch_size", "32")
    assert "confident_posts" not in report
    argv = ["--architecture", "gated_fusion", "--init_from", str(tmp_path / "first")]
    counts = {
        threshold: run(tmp_path / threshold, *argv, "--min_confidence", threshold)["confident_posts"]
        for threshold in ("0.4", "0.6")
    }
    assert 0 < counts["0.6"] < counts["0.4"] < report["posts"]["train"]
    with pytest.raises(ValueError, match="min_confidence=0.9999999: no training post is left"):
        run(tmp_path / "none", *argv, "--min_confidence", "0.9999999")
    progressive = run(tmp_path / "progressive", *argv, "--keep_progressively", "true")
    assert 0 < progressive["confident_posts"] < report["posts"]["train"]


def test_the_wrong_architecture(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model_type": "gated_fusion"}))
    with pytest.raises(ValueError, match="is a model of --architecture gated_fusion, not comn"):
        run(tmp_path / "other", "--init_from", str(tmp_path / "run"))

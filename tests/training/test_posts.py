"""Loading a corpus for training: damaged images, missing pictures and splits, and confident posts."""

import numpy as np
import pytest
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoProcessor

from mmsent.hub.export import export
from mmsent.modeling.common_images import BadImageError
from mmsent.training.posts import confident_rows, progressive_rows


@pytest.fixture
def damaged(release, posts):
    """A release with a damaged image in the training split and one in the validation split, and their names."""
    ids = list(posts)
    truncated, not_an_image = (release / "data" / f"{post_id}.jpg" for post_id in (ids[0], ids[5]))
    truncated.write_bytes(truncated.read_bytes()[:-200])
    not_an_image.write_text("<html>404</html>")
    return release, truncated.name, not_an_image.name


def test_bad_images_stop_the_run_by_default(run, damaged, tmp_path):
    folder, truncated, not_an_image = damaged
    with pytest.raises(BadImageError, match="2 images cannot be decoded") as error:
        run(tmp_path / "run", "--dataset", "mvsa_single", "--data_dir", str(folder))
    assert truncated in str(error.value)
    assert not_an_image in str(error.value)


@pytest.mark.parametrize(("policy", "train_posts", "validation_posts"), [("skip", 4, 1), ("missing", 5, 2)])
def test_bad_images_are_counted_and_named(run, damaged, tmp_path, capsys, policy, train_posts, validation_posts):
    folder, truncated, not_an_image = damaged
    report = run(tmp_path / "run", "--dataset", "mvsa_single", "--data_dir", str(folder), "--on_bad_image", policy)
    assert report["posts"] == {"train": train_posts, "validation": validation_posts, "test": 2}
    assert [truncated in line for line in report["bad_images"]["train"]] == [True]
    assert [not_an_image in line for line in report["bad_images"]["validation"]] == [True]
    assert len(report["missing_posts"]["test"]) == 448
    printed = capsys.readouterr().out
    assert "train: 1 images could not be decoded" in printed
    assert "test: 448 posts are missing" in printed
    lines = (tmp_path / "run" / "predictions_validation.jsonl").read_text().splitlines()
    assert len(lines) == validation_posts


def test_a_corpus_that_is_not_there(run, tmp_path):
    with pytest.raises(ValueError, match="dataset 'mvsa' is not one of msed, multi_zol, mvsa_multiple, mvsa_single"):
        run(tmp_path / "run", "--dataset", "mvsa")
    with pytest.raises(ValueError, match="data_dir .*nowhere does not exist"):
        run(tmp_path / "run", "--dataset", "mvsa_single", "--data_dir", "nowhere")


def test_a_corpus_without_pictures_needs_a_decision(run, tmp_path, standins, capsys):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    (folder / "images").rename(tmp_path / "elsewhere")
    argv = ["--dataset", "twitter2015", "--data_dir", str(folder), "--dataset_kwargs", "substitute_target=true"]
    with pytest.raises(ValueError, match="twitter2015 has no pictures here .no folder .*--modalities text"):
        run(tmp_path / "run", *argv)
    report = run(tmp_path / "run", *argv, "--on_bad_image", "missing")
    assert len(report["notes"]) == 1
    assert f"no folder {folder}/images" in report["notes"][0]
    assert "note: no folder" in capsys.readouterr().out
    assert report["posts"] == {"train": 4, "validation": 1, "test": 2}
    run(tmp_path / "text", *argv, "--modalities", "text")


def test_a_corpus_without_a_validation_split(run, tmp_path, standins):
    folder = standins.write_flickr_table(tmp_path / "vso")
    argv = ["--dataset", "vso", "--data_dir", str(folder)]
    with pytest.raises(ValueError, match=r"vso has no validation posts here, only train, test\. .*--eval_strategy no"):
        run(tmp_path / "run", *argv)
    argv += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    report = run(tmp_path / "run", *argv, "--architecture", "deep_fusion", "--model_kwargs", "branch=text")
    assert set(report["scores"]) == {"test"}
    assert report["best_epoch"] == 1
    assert report["scores"]["test"]["confusion_matrix"]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_an_exported_corpus_trains(run, tmp_path, standins):
    corpus = load_dataset("twitter2015", data_dir=str(standins.write_twitter(tmp_path / "twitter2015")))
    export(corpus, "twitter2015", "official", tmp_path / "parquet")
    report = run(tmp_path / "run", "--dataset", str(tmp_path / "parquet"))
    assert report["posts"] == {"train": 4, "validation": 1, "test": 2}
    assert report["missing_posts"] == {}


def test_reviews_with_aspects_and_missing_pictures(run, tmp_path, standins):
    """With a vocabulary of the texts alone, as in the published code, five of the six aspects would be unknown."""
    folder = standins.write_multi_zol(tmp_path / "zol")
    (folder / "img" / "Train_2_1.jpg").unlink()
    argv = ["--dataset", "multi_zol", "--data_dir", str(folder), "--on_bad_image", "missing"]
    report = run(tmp_path / "run", "--architecture", "mimn", *argv)
    assert report["bad_images"]["train"]
    assert {"aspect = 性价比", "no picture"} <= set(report["scores"]["validation"]["subgroups"])
    processor = AutoProcessor.from_pretrained(tmp_path / "run")
    ids = processor(text=[""] * 6, aspect=standins.ASPECTS)["aspect_input_ids"].tolist()
    assert len(set(map(tuple, ids))) == 6
    assert not any(processor.tokenizer.unk_token_id in aspect_ids for aspect_ids in ids)
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").config
    assert set(config.aspects) == set(standins.ASPECTS)
    assert list(config.id2label.values()) == ["1", "2", "3", "4", "5", "6", "8", "10"]


def test_confident_rows_are_those_whose_label_exceeds_the_threshold():
    first = np.array([0.61, 0.59, 0.9, 0.1, 0.5])  # the scores of class 0 of two
    scores, labels = np.stack([first, 1 - first], 1), [0, 0, 1, 1, 0]
    assert confident_rows(scores, labels, 0.6) == [0, 3]
    assert confident_rows(scores, labels, 0.55) == [0, 1, 3]
    assert confident_rows(scores, labels, 0.95) == []


def test_progressive_training_keeps_posts_by_the_distance_of_their_two_highest_scores():
    """PCNN keeps a post with the probability min(1, exp|s1 - s2| - 1), which is 1 from a distance of ln 2 on."""
    gaps = np.repeat([0.0, 0.2, 0.5, 0.7, 1.0], 2000)
    scores = np.stack([(1 + gaps) / 2, (1 - gaps) / 2], 1)
    ids = [f"post {number}" for number in range(len(gaps))]
    rows = progressive_rows(scores, ids, seed=0)
    shares = [np.isin(np.flatnonzero(gaps == gap), rows).mean() for gap in (0.0, 0.2, 0.5, 0.7, 1.0)]
    assert shares == pytest.approx([0, np.exp(0.2) - 1, np.exp(0.5) - 1, 1, 1], abs=0.03)
    assert (shares[0], shares[3:]) == (0, [1, 1])
    two, three = scores[:6000] * 0.8, np.insert(scores[:6000] * 0.8, 1, 0.1, axis=1)  # the lowest does not count
    assert progressive_rows(three, ids[:6000], 0) == progressive_rows(two, ids[:6000], 0)
    order = np.random.default_rng(0).permutation(len(gaps))
    others = progressive_rows(scores[order], [ids[row] for row in order], seed=0)
    assert sorted(order[others]) == rows
    assert progressive_rows(scores, ids, seed=1) != rows

"""What run.json says about the epoch of the saved weights, and about the posts that were trained on."""

import pytest

from mmsent.training import build
from mmsent.training.build import class_weights
from mmsent.training.trainer import MultimodalTrainer


@pytest.fixture
def argv(tmp_path, standins) -> list[str]:
    return ["--dataset", "twitter2015", "--data_dir", str(standins.write_twitter(tmp_path / "twitter2015"))]


@pytest.mark.parametrize(("load_best", "epoch"), [("true", 1), ("false", 3)])
def test_the_epoch_is_that_of_the_weights_that_were_kept(run, argv, tmp_path, load_best, epoch):
    """With a learning rate of zero, no later epoch is better than the first."""
    argv += ["--num_train_epochs", "3", "--learning_rate", "0", "--load_best_model_at_end", load_best]
    assert run(tmp_path / "run", *argv)["best_epoch"] == epoch


def test_class_weights_are_those_of_the_confident_posts(run, argv, tmp_path, monkeypatch):
    run(tmp_path / "first", *argv)
    seen, set_weights = [], MultimodalTrainer.set_class_weights
    monkeypatch.setattr(build, "confident_rows", lambda logits, labels, _: seen.extend(labels[:2]) or [0, 1])
    monkeypatch.setattr(
        MultimodalTrainer,
        "set_class_weights",
        lambda self, weights: seen.append(weights) or set_weights(self, weights),
    )
    argv += ["--init_from", str(tmp_path / "first"), "--min_confidence", "0.1", "--class_weights", "balanced"]
    report = run(tmp_path / "second", *argv)
    _, *labels, weights = seen
    assert report["confident_posts"] == 2
    assert report["class_weights"] == weights == class_weights(["balanced"], labels, 3)


def test_a_split_without_posts_is_named(run, argv, tmp_path):
    for path in (tmp_path / "twitter2015").rglob("*.jpg"):
        path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="twitter2015 has no post left in train"):
        run(tmp_path / "run", *argv, "--on_bad_image", "skip")

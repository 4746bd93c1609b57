"""Training on all posts at once: the optimum of scikit-learn's logistic regression, and exact resuming."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from by_hand import features, small_config
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from mmsent.modeling import ARCHITECTURES
from mmsent.training.arguments import RunArguments
from mmsent.training.trainer import MultimodalTrainer

POSTS, SIZE, IMAGE_SIZE, DECAY = 60, 5, 3, 0.05
FIELDS = {"freeze_text": True, "freeze_image": True}


def posts() -> tuple[list[dict], np.ndarray]:
    """Return posts whose labels depend on their features and on chance, and their pooled features."""
    batch = features(SIZE, IMAGE_SIZE, [[1] * 4] * POSTS, [[1]] * POSTS)
    pooled = np.concatenate([batch["text_features"].mean(1), batch["image_features"].mean((1, 2))], 1)
    noise = np.random.default_rng(0).normal(size=(POSTS, 3))
    batch["labels"] = torch.tensor((pooled[:, 2:5] + 0.3 * noise).argmax(1))
    return [{name: value[row] for name, value in batch.items()} for row in range(POSTS)], pooled


def trained(architecture: str, rows: list[dict], folder, epochs: int = 8, checkpoint: str | None = None, **fields):
    torch.manual_seed(0)
    model = ARCHITECTURES[architecture].classifier(small_config(architecture, SIZE, IMAGE_SIZE, **FIELDS, **fields))
    options = {"lbfgs": True, "num_train_epochs": epochs, "per_device_train_batch_size": POSTS, "weight_decay": DECAY}
    options |= {"eval_strategy": "no", "load_best_model_at_end": False, "report_to": "none", "disable_tqdm": True}
    args = RunArguments(output_dir=str(folder), use_cpu=True, save_total_limit=None, **options)
    trainer = MultimodalTrainer(model.train(), args, train_dataset=rows)
    trainer.train(checkpoint)
    return model.eval()


def objective(weights, biases, vectors, labels) -> float:
    logits = torch.tensor(vectors) @ torch.tensor(weights).T + torch.tensor(biases)
    return F.cross_entropy(logits, torch.tensor(labels)).item() + DECAY / 2 * (np.asarray(weights) ** 2).sum()


@pytest.mark.parametrize("architecture", ["early_fusion", "late_fusion"])
def test_the_optimum_is_that_of_scikit_learn(tmp_path, architecture):
    rows, pooled = posts()
    labels = np.array([row["labels"].item() for row in rows])
    model = trained(architecture, rows, tmp_path)
    heads = [model.classifier] if architecture == "early_fusion" else model.classifier.values()
    vectors = [pooled] if architecture == "early_fusion" else [pooled[:, :SIZE], pooled[:, SIZE:]]
    for head, part in zip(heads, vectors, strict=True):
        reference = LogisticRegression(C=1 / (DECAY * POSTS), tol=1e-8, max_iter=1000).fit(part, labels)
        ours = objective(head.weight.detach().numpy(), head.bias.detach().numpy(), part, labels)
        theirs = objective(reference.coef_.astype("f4"), reference.intercept_.astype("f4"), part, labels)
        assert theirs < objective(np.zeros((3, part.shape[1]), "f4"), np.zeros(3, "f4"), part, labels) - 0.01
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_ccr_ends_where_its_gradient_is_zero(tmp_path):
    rows, _ = posts()
    model = trained("ccr", rows, tmp_path, epochs=20)
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    loss = model(**batch).loss + DECAY / 2 * sum(head.weight.square().sum() for head in model.classifier.values())
    loss.backward()
    assert max(parameter.grad.abs().max() for parameter in model.classifier.parameters()) < 1e-4


def test_it_resumes_exactly_and_standardises_by_all_posts(tmp_path):
    rows, pooled = posts()
    model = trained("early_fusion", rows, tmp_path / "whole", epochs=4, standardize=True)
    np.testing.assert_allclose(model.base_model.text_norm.running_mean, pooled[:, :SIZE].mean(0), atol=1e-6)
    checkpoint = tmp_path / "whole" / "checkpoint-1"
    trained("early_fusion", rows, tmp_path / "resumed", 4, str(checkpoint), standardize=True)
    weights = [load_file(tmp_path / name / "checkpoint-4/model.safetensors") for name in ("whole", "resumed")]
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())

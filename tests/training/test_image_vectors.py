"""Vectors that were computed beforehand, in place of pictures: training, saving, predicting and evaluating."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image

from mmsent.inference import evaluate, predict
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_loading import check_pair, load_model, load_processor
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline
from mmsent.training.build import check_sizes, planned_config
from mmsent.training.checks import check_model
from mmsent.training.posts import load_posts
from mmsent.training.recipes import parse_arguments

SIZE = 6


@pytest.fixture
def table(tmp_path):
    """A table whose vectors alone decide the label. Every seventh post has none."""
    rng, rows = np.random.default_rng(0), []
    for number in range(140):
        vector = rng.normal(size=SIZE).round(3)
        vector[0] = [-2.0, 2.0][number % 2]
        label = ["bad", "good"][number % 2]
        rows.append({"text": f"day {number} was", "label": label, "image_features": vector.tolist()})
        if number % 7 == 6:
            rows[-1]["image_features"] = None
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arguments(*words: str) -> list[str]:
    return ["--image_encoder", "precomputed", "--model_kwargs", f"image_hidden_size={SIZE}", *words]


def command(monkeypatch, module, *words: str):
    monkeypatch.setattr(sys, "argv", ["mmsent", *map(str, words)])
    return module.main()


@pytest.mark.slow
def test_train_predict_and_evaluate(run, table, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    words = ["--dataset", str(table), *arguments("--num_train_epochs", "10", "--per_device_train_batch_size", "8")]
    report = run(folder, *words)
    assert report["scores"]["test"]["accuracy"] > 0.8
    model, processor = load_model(folder), load_processor(folder)
    assert (processor.image_feature_size, model.config.image_hidden_size) == (SIZE, SIZE)

    output = tmp_path / "predictions.jsonl"
    assert command(monkeypatch, predict, "--model", folder, "--input", table, "--output", output) == 0
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    predictions = [json.loads(line)["prediction"] for line in output.read_text().splitlines()]
    pairs = [(p, row["label"]) for p, row in zip(predictions, rows, strict=True) if row["image_features"]]
    assert np.mean([p == label for p, label in pairs]) > 0.9
    whole = tmp_path / "evaluation"
    command(monkeypatch, evaluate, "--model", folder, "--dataset", table, "--split", "all", "--output", whole)
    evaluated = [json.loads(line)["prediction"] for line in (whole / "predictions_all.jsonl").read_text().splitlines()]
    assert sorted(evaluated) == sorted(predictions)

    pipe = ImageTextSentimentPipeline(model, processor=processor)
    picture = Image.new("RGB", (4, 4))
    with pytest.raises(ValueError, match="does not read pictures: give the post 'image_features'"):
        pipe({"image": picture})
    with pytest.raises(ValueError, match=rf"image_features has 2 numbers per image, and this model reads {SIZE}"):
        pipe({"text": "a day", "image_features": [1, 2]})
    assert pipe({"image_features": rows[1]["image_features"]})[0]["label"] == "good"
    pictures = tmp_path / "pictures.csv"
    pictures.write_text("text,image\na day,a.png\n")
    with pytest.raises(SystemExit):
        command(monkeypatch, predict, "--model", folder, "--input", pictures, "--output", tmp_path / "more.jsonl")


@pytest.mark.slow
def test_the_recipe_of_the_study_reads_vectors_of_mvso(run, standins, tmp_path):
    folder = standins.WRITERS["mvso"](tmp_path / "mvso", 140)
    (folder / "image_features").mkdir()
    for number, path in enumerate(sorted((folder / "images").iterdir())):
        np.save(folder / "image_features" / f"{path.stem}.npy", np.full(SIZE, number / 100))
    recipe = ["--config", str(tiny.ROOT / "configs/mvso/gated_fusion_image.yaml"), "--row", "table6_no_dropout"]
    words = ["--dataset_kwargs", "image_features=true", "english=false", *arguments()]
    run(tmp_path / "run", *recipe, "--data_dir", str(folder), *words)
    assert load_model(tmp_path / "run").config.image_sizes == [SIZE, 2048, 1024, 512, 24]


@pytest.mark.slow
def test_frozen_text_is_cached_beside_the_vectors(run, table, tmp_path):
    words = ["--dataset", str(table), *arguments("freeze_text=true"), "--num_train_epochs", "2"]
    plain = run(tmp_path / "plain", *words)
    cached = run(tmp_path / "cached", *words, "--cache_features", "--features_dir", str(tmp_path / "features"))
    assert cached["scores"]["test"]["confusion_matrix"] == plain["scores"]["test"]["confusion_matrix"]
    assert not list((tmp_path / "features").glob("image-*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            arguments("--image_features_column", "none", "--on_bad_image", "missing"),
            "the posts have no column image_features",
        ),
        (
            ["--image_encoder", "precomputed"],
            f"has {SIZE} numbers per image: set model_kwargs image_hidden_size={SIZE}",
        ),
    ],
)
def test_what_does_not_fit_is_named_before_the_training(run, table, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", "--dataset", str(table), *words)


def test_tables_of_every_kind(table, tmp_path):
    """A list, a JSON list, and several vectors per post; equal vectors belong together; the id has the vector."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows[:20]:
        row["image_features"] = [row["image_features"] or [0.0] * SIZE, [1.0] * SIZE]
    frame = pd.DataFrame({name: [row[name] for row in rows] for name in ("label", "image_features")})
    frame["image_features"] = [v if v is None or isinstance(v[0], list) else [v] for v in frame["image_features"]]
    frame.to_parquet(tmp_path / "posts.parquet")
    frame.assign(image_features=[v and json.dumps(v) for v in frame["image_features"]]).to_csv(tmp_path / "posts.csv")
    loaded = {}
    for name in ("posts.parquet", "posts.csv"):
        _, data_args, run_args = parse_arguments(["--dataset", str(tmp_path / name)], "")
        posts = load_posts(data_args, run_args)
        loaded[name] = {row["id"]: row["image_features"] for split in posts.splits.values() for row in split}
        assert posts.report["images_sha256"]
        assert "20 rows have neither a text nor an image" in "".join(posts.report["notes"]) or len(loaded[name]) == 122
        together = [split for split, rows in posts.splits.items() for v in rows["image_features"] if len(v) == 2]
        assert len(set(together)) == 1
        assert len(together) == 20
    assert loaded["posts.parquet"] == loaded["posts.csv"]


@pytest.mark.parametrize("architecture", [name for name, row in ARCHITECTURES.items() if "image" in row.reads])
def test_every_architecture_reads_vectors(architecture, tmp_path):
    row = ARCHITECTURES[architecture]
    processor = row.processor.from_backbones(
        "word_vectors", "precomputed", [" ".join(tiny.WORDS)], image_feature_size=SIZE, max_images=2
    )
    sizes = {"text_hidden_size": 12, "image_hidden_size": SIZE}
    model = row.classifier.from_backbones("word_vectors", "precomputed", processor.tokenizer, **sizes).eval()
    check_sizes(model, processor)
    vectors = [np.ones(SIZE), None, [np.ones(SIZE), np.zeros(SIZE)]]
    batch = processor(text=["a good day", "coffee", "plain red"], images=vectors, aspect="cafe")
    assert batch["image_mask"].tolist() == [[True, False], [False, False], [True, True]]
    assert batch["image_features"].shape == (3, 2, 1, SIZE)
    with torch.no_grad():
        together = model(**batch).logits
        alone = model(**processor(text="a good day", images=[np.ones(SIZE)], aspect="cafe")).logits
    assert torch.allclose(together[:1], alone, atol=1e-5)
    if "image" in model.modalities:
        with torch.no_grad():
            other = model(**processor(text="a good day", images=[-np.ones(SIZE)], aspect="cafe")).logits
        assert not torch.allclose(alone, other)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    model, processor = load_model(tmp_path), load_processor(tmp_path)
    check_pair(model.eval(), processor)
    with torch.no_grad():
        assert torch.allclose(model(**batch).logits, together)
    processor.image_feature_size = None
    with pytest.raises(ValueError, match="size of image_features is 6 for the model and None for the processor"):
        check_pair(model, processor)


def test_the_check_before_the_training_knows_the_size():
    for words, size in ((arguments(), SIZE), (["--image_encoder", "precomputed"], 4096)):
        model_args, data_args, run_args = parse_arguments(words, "")
        check_model(model_args, data_args, run_args)
        assert planned_config(model_args).image_hidden_size == size

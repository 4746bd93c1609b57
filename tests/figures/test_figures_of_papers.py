"""The figures of the papers: the numbers that are drawn, and what is written beside them."""

import sys

import numpy as np
import pytest
import tiny
from datasets import ClassLabel, Dataset
from matplotlib.figure import Figure
from PIL import Image

from mmsent.explanation.attribution import Hop, attend_post, explain_post
from mmsent.figures import attention, best_models, class_scores, command, label_embeddings
from mmsent.figures.style import save
from mmsent.modeling.common_pipeline import ImageTextSentimentPipeline


def test_best_models_are_those_of_the_papers_tables():
    best, benchmarks = best_models.best_rows()
    assert best == {
        "image, classes": 63.3,
        "image, label embedding": 61.8,
        "text, classes": 79.6,
        "text, label embedding": 80.8,
        "concatenation": 80.7,
        "gated fusion": 80.8,
        "gated fusion, label embedding": 79.8,
    }
    assert len(benchmarks) == 7
    axis = best_models.draw(best, benchmarks).axes[0]
    names = [label.get_text() for label in axis.get_yticklabels()]
    drawn = dict(zip(names, [bar.get_width() for bar in axis.patches], strict=True))
    assert drawn == best | benchmarks
    hatched = {name for name, bar in zip(names, axis.patches, strict=True) if bar.get_hatch()}
    assert hatched == set(benchmarks)
    assert [text.get_text() for text in axis.texts] == [f"{drawn[name]:.1f}" for name in names]


@pytest.fixture(scope="module")
def embedding_model():
    row = tiny.ARCHITECTURES["gated_fusion"]
    processor = row.processor.from_backbones("word_vectors", "small_cnn", [" ".join(tiny.WORDS)])
    words = {"head": "label_embedding", "label_embedding": "learned", "label_embedding_size": 5, "branch": "text"}
    model = row.classifier.from_backbones("word_vectors", "small_cnn", processor.tokenizer, **words)
    return ImageTextSentimentPipeline(model.eval(), processor=processor)


def flickr(count: int = 30) -> Dataset:
    rng = np.random.default_rng(0)
    rows = {
        "id": [f"p{number}" for number in range(count)],
        "text": [" ".join(rng.choice(tiny.WORDS, 6)) for _ in range(count)],
        "images": [[] for _ in range(count)],
        "aspect": [None] * count,
        "anp": [f"{tiny.WORDS[number % 20]}_day" for number in range(count)],
        "label": [number % 3 for number in range(count)],
    }
    dataset = Dataset.from_dict(rows)
    return dataset.cast_column("label", ClassLabel(names=["negative", "neutral", "positive"]))


def test_label_embeddings(embedding_model):
    posts = label_embeddings.choose_posts(flickr(60), 24)
    assert posts["id"] == [i for i in flickr(60)["id"] if i in set(posts["id"])]
    outputs = label_embeddings.embed(embedding_model, posts, batch_size=7)
    batch = embedding_model.preprocess([{"text": text} for text in posts["text"]])
    expected = embedding_model.model(**batch).embedding.detach().numpy()
    assert np.allclose(outputs, expected, atol=1e-5)
    points = label_embeddings.project(outputs)
    assert np.array_equal(points, label_embeddings.project(outputs))
    axis = label_embeddings.draw(points, posts["anp"], posts["label"], posts.features["label"].names).axes[0]
    for label, drawn in enumerate(axis.collections):
        assert np.allclose(drawn.get_offsets(), points[np.array(posts["label"]) == label])
    assert len({drawn.get_paths()[0].vertices.tobytes() for drawn in axis.collections}) == 3  # readable without colour
    assert [text.get_text() for text in axis.texts] == list(posts["anp"])
    axis.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])
    window = axis.get_window_extent()
    assert all(window.x0 <= box.x0 and box.x1 <= window.x1 for box in boxes)


def test_label_embeddings_need_a_model_that_has_them(backbones):
    processor, model = tiny.build("gated_fusion", "own", backbones)
    with pytest.raises(ValueError, match="the model has no label embeddings"):
        label_embeddings.embed(ImageTextSentimentPipeline(model, processor=processor), flickr(4))


def test_class_scores(backbones):
    pipes = {}
    for name, config in (("full", {}), ("without tPFL", {"tpfl": False})):
        processor, model = tiny.build("mdse", "own", backbones, **config)
        pipes[name] = ImageTextSentimentPipeline(model, processor=processor)
    labels = {"label": 2, "text_label": 1, "image_label": 2}
    posts = [{"text": "a good $ day", "images": [tiny.picture(1)], "aspect": None} | labels] * 2
    scores = class_scores.class_scores(pipes, posts)
    for name, pipe in pipes.items():
        assert scores[0][name] == {entry["label"]: entry["score"] for entry in pipe(posts[0])}
    figure = class_scores.draw(posts, scores, ["negative", "neutral", "positive"])
    bars = [bar.get_height() for bar in figure.axes[4].patches]
    assert bars == [*scores[0]["full"].values(), *scores[0]["without tPFL"].values()]
    assert "text: neutral, image: positive, post: positive" in figure.axes[2].texts[0].get_text()
    with pytest.raises(ValueError, match="--ids x: the split has no such post; it has 3, such as p0"):
        class_scores.find_posts(flickr(3), ["x"])


def test_attention(backbones):
    processor, model = tiny.build("comn", "own", backbones)
    words, images, hops = attend_post(model, processor, "a good day", [tiny.picture(1)])
    explained = explain_post(model, processor, "a good day", [tiny.picture(1)], steps=1)
    assert [hop.words for hop in hops] == [hop.words for hop in explained.attention]
    figure = attention.draw(words, images, hops)
    assert len(figure.axes) == 2 * len(hops)
    for hop, (left, right) in zip(hops, zip(figure.axes[::2], figure.axes[1::2], strict=True), strict=True):
        shown = [weight for weight, word in zip(hop.words, words, strict=True) if word.strip()]
        assert [bar.get_height() for bar in left.patches] == shown
        assert np.allclose(right.images[1].get_array(), hop.regions[0])
        assert [label.get_text() for label in left.get_xticklabels()] == ["a", "good", "day"]
    halves = [Hop(None, hops[0].regions, 3), Hop(hops[0].words, None, 3)]
    assert len(attention.draw(words, images, halves).axes) == 4
    with pytest.raises(ValueError, match="the model has no attention"):
        attention.draw(words, images, [])


def test_the_same_figure_has_the_same_bytes(tmp_path):
    for suffix in (".png", ".svg"):
        contents = []
        for name in ("a", "b"):
            figure = Figure(figsize=(1, 1))
            figure.subplots().plot([0, 1])
            save(figure, tmp_path / f"{name}{suffix}")
            contents.append((tmp_path / f"{name}{suffix}").read_bytes())
        assert contents[0] == contents[1]
        assert contents[0][:4] == (b"\x89PNG" if suffix == ".png" else b"<?xm")


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mmsent figures", "best-models", "--output", str(tmp_path / "new" / "best.png")])
    command.main()
    with Image.open(tmp_path / "new" / "best.png") as image:
        assert image.width > 500
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        command.main()
    assert 'pip install "mmsent[figures]"' in capsys.readouterr().err
    for words in (
        ["best-models", "--output", "a.gif"],
        ["class-scores", "a", "--models", "b", "--names", "c", "d", "--ids", "1", "--output", "a.png"],
    ):
        with pytest.raises(SystemExit):
            command.parse_arguments(words)

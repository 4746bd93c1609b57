"""The task "image-text-sentiment": every kind of post, one or many, and what it refuses."""

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import tiny
import torch
from datasets import Dataset
from PIL import Image
from transformers import pipeline

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling import common_images as processing
from mmsent.modeling import common_pipeline as pipeline_module
from mmsent.modeling import common_urls as urls
from mmsent.modeling.common_images import BadImageError, load_image
from mmsent.modeling.common_pipeline import TASK, ImageTextSentimentPipeline


@pytest.fixture(scope="module")
def built(backbones):
    return tiny.build("comn", "own", backbones)


@pytest.fixture(scope="module")
def classify(built) -> ImageTextSentimentPipeline:
    processor, model = built
    return pipeline(TASK, model=model, processor=processor, device="cpu")


def posts() -> list[dict]:
    columns = tiny.posts()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def scores(result: list[dict]) -> torch.Tensor:
    """In the order of the classes."""
    by_label = {entry["label"]: entry["score"] for entry in result}
    return torch.tensor([by_label[name] for name in ("negative", "neutral", "positive")])


@torch.no_grad()
def probabilities(built, **parts) -> torch.Tensor:
    processor, model = built
    return model(**processor(**parts)).logits.softmax(-1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_those_of_the_model(architecture, backbones):
    built = processor, model = tiny.build(architecture, "own", backbones)
    results = pipeline(TASK, model=model, processor=processor)(posts(), batch_size=4)
    want = probabilities(built, **tiny.posts())
    torch.testing.assert_close(torch.stack([scores(result) for result in results]), want, rtol=0, atol=1e-5)
    for result in results:
        assert [entry["score"] for entry in result] == sorted((entry["score"] for entry in result), reverse=True)


def test_one_a_list_a_generator_and_a_dataset(classify, tmp_path):
    rows = posts()
    want = classify(rows)
    assert isinstance(want, list)
    assert classify([]) == []
    for batch_size in (2, 4, 100):
        got = classify(rows, batch_size=batch_size)
        for one, other in zip(got, want, strict=True):
            torch.testing.assert_close(scores(one), scores(other), rtol=0, atol=1e-5)
    torch.testing.assert_close(scores(classify(rows[0])), scores(want[0]), rtol=0, atol=1e-5)

    taken = []
    stream = classify((taken.append(row) or row for row in rows), batch_size=2)
    assert taken == []
    torch.testing.assert_close(scores(next(stream)), scores(want[0]), rtol=0, atol=1e-5)
    assert len(taken) == 2, "a stream is read a batch at a time"
    assert len(list(stream)) == 5

    dataset = Dataset.from_dict({**tiny.posts(), "id": [str(row) for row in range(6)]})
    for source in (dataset, dataset.to_iterable_dataset()):
        for one, other in zip(classify(source, batch_size=4), want, strict=True):
            torch.testing.assert_close(scores(one), scores(other), rtol=0, atol=1e-5)


def test_workers_read_every_post_once(classify):
    rows = [{"text": f"good {word}"} for word in tiny.WORDS]
    want = torch.stack([scores(result) for result in classify(rows)])
    for source in (rows, iter(rows)):
        got = torch.stack([scores(result) for result in classify(source, num_workers=2, batch_size=4)])
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_parts_may_be_missing(classify, built):
    picture = tiny.picture(0)
    for post, parts in (
        ({"text": "good day"}, {"text": ["good day"]}),
        ({"image": picture}, {"images": [[picture]]}),
        ({"images": [picture, tiny.picture(1)]}, {"images": [[picture, tiny.picture(1)]]}),
        ({"text": None, "image": picture, "aspect": None}, {"images": [[picture]]}),
        ({"text": "good day", "images": []}, {"text": ["good day"]}),
    ):
        torch.testing.assert_close(scores(classify(post)), probabilities(built, **parts)[0], rtol=0, atol=1e-5)


def test_an_aspect_reaches_the_model(backbones):
    processor, model = tiny.build("mimn", "own", backbones)
    classify = pipeline(TASK, model=model, processor=processor)
    rows = [{"text": "good coffee", "aspect": "coffee"}, {"text": "good coffee", "aspect": None}]
    got = torch.stack([scores(result) for result in classify(rows, batch_size=2)])
    assert (got[0] - got[1]).abs().max() > 1e-4
    want = probabilities((processor, model), text=["good coffee"], aspect=["coffee"])
    torch.testing.assert_close(got[:1], want, rtol=0, atol=1e-5)


def test_top_k(classify):
    every = classify(posts()[5])
    assert classify(posts()[5], top_k=1) == every[:1]
    assert classify(posts()[5], top_k=99) == every
    with pytest.raises(ValueError, match="top_k=0"):
        classify(posts()[5], top_k=0)
    with pytest.raises(TypeError, match="no parameter topk"):
        classify(posts()[5], topk=1)


def test_scores_of_each_modality_alone(classify, built):
    rows = posts()
    results = classify(rows, batch_size=4, modality_scores=True)
    both = classify(rows, batch_size=4)
    for row, result, want in zip(rows, results, both, strict=True):
        assert result["both"] == want
        for part, key in (("text", "text"), ("image", "images")):
            if not row[key]:
                assert result[part] is None
                continue
            alone = probabilities(built, **{key: [row[key]]}, aspect=[row["aspect"]])[0]
            torch.testing.assert_close(scores(result[part]), alone, rtol=0, atol=1e-5)


def test_logits_of_a_modality_that_the_model_has(classify, monkeypatch):
    model, forward = classify.model, type(classify.model).forward

    def with_branches(self, **batch):
        output = forward(self, **batch)
        output.text_logits = torch.tensor([[0.0, 0.0, 9.0]])
        return output

    monkeypatch.setattr(type(model), "forward", with_branches)
    result = classify({"text": "good", "image": tiny.picture(0)}, modality_scores=True, top_k=1)
    assert result["text"][0]["label"] == "positive"
    assert result["text"][0]["score"] > 0.99
    assert result["image"][0]["score"] < 0.99


def test_a_model_in_training_mode_draws_no_dropout(built):
    processor, model = built
    classify = pipeline(TASK, model=model.train(), processor=processor)
    assert classify(posts()[5]) == classify(posts()[5])


def test_half_precision(built, tmp_path):
    processor, model = built
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    half = pipeline(TASK, model=str(tmp_path), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    want = pipeline(TASK, model=str(tmp_path))(posts()[5])
    torch.testing.assert_close(scores(half(posts()[5])), scores(want), rtol=0, atol=0.05)


# --------------------------------------------------------------------------------------------------- a folder alone

LOADER = """
import json, sys
folder, trust = sys.argv[1], sys.argv[2] == "trust"
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "mmsent":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
if trust:
    sys.meta_path.insert(0, Hidden())
else:
    import mmsent
from transformers import pipeline
post = {"text": "good day", "image": folder + "/a.png"}
classify = pipeline("image-text-sentiment", model=folder, **({"trust_remote_code": True} if trust else {}))
results = [classify(post, modality_scores=True)]
classify.save_pretrained(folder + "/again")
again = pipeline("image-text-sentiment", model=folder + "/again", **({"trust_remote_code": True} if trust else {}))
results.append(again(post, modality_scores=True))
print("RESULTS" + json.dumps(results))
"""


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["comn", "mimn"])
@pytest.mark.parametrize("how", ["package", "trust"])
def test_a_saved_folder_in_a_fresh_process(architecture, how, backbones, tmp_path):
    processor, model = tiny.build(architecture, "own", backbones)
    model.save_pretrained(tmp_path / "run")
    processor.save_pretrained(tmp_path / "run")
    tiny.picture(0).save(tmp_path / "run/a.png")
    environment = os.environ | {"PYTHONPATH": "" if how == "trust" else str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", LOADER, str(tmp_path / "run"), how]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    results = json.loads(done.stdout.partition("RESULTS")[2])
    want = pipeline(TASK, model=model, processor=processor)(
        {"text": "good day", "image": tiny.picture(0)}, modality_scores=True
    )
    for result in results:
        for part in ("both", "text", "image"):
            torch.testing.assert_close(scores(result[part]), scores(want[part]), rtol=0, atol=1e-6)


def test_a_saved_folder_says_which_pipeline_it_has_and_carries_it(built, tmp_path):
    processor, model = built
    for round_ in range(2):  # what a loaded model saves is the same
        folder = tmp_path / str(round_)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        task = json.loads((folder / "config.json").read_text())["custom_pipelines"][TASK]
        assert task == {
            "impl": "common_pipeline.ImageTextSentimentPipeline",
            "pt": ["AutoModelForSequenceClassification"],
        }
        assert {"common_pipeline.py", "common_urls.py", "common_processing.py"} <= {
            path.name for path in folder.iterdir()
        }
        model = pipeline(TASK, model=str(folder)).model  # with the package: no trust is asked for
        assert type(model) is ARCHITECTURES["comn"].classifier


# ---------------------------------------------------------------------------------------------------------- bad input


def png_header(width: int, height: int) -> bytes:
    """A PNG file of 60 bytes that claims so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD_PICTURES = {
    "noise.jpg": b"\xff\xd8\xff\xe0 this is no picture",
    "empty.png": b"",
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
    "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "bomb.png": png_header(60_000, 60_000),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_named(classify, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BAD_PICTURES[name])
    for image in (path, str(path), {"bytes": path.read_bytes(), "path": str(path)}):
        with pytest.raises(BadImageError, match=name):
            classify({"text": "good", "image": image})


@pytest.mark.parametrize(("width", "height"), [(8_000, 6_251), (60_000, 60_000)])
def test_pixels_are_counted_before_they_are_decoded(tmp_path, monkeypatch, width, height):
    path = tmp_path / "large.png"
    path.write_bytes(png_header(width, height))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadImageError, match=rf"large\.png: .*(50,000,000|{width * height})"):
        load_image(path)
    if width * height < 10**8:  # PIL opens it
        with Image.open(path) as opened, pytest.raises(BadImageError, match="over the limit"):
            load_image(opened)


def test_the_limits_are_those_of_every_path(tmp_path, monkeypatch, built):
    assert (processing.MAX_IMAGE_PIXELS, processing.MAX_IMAGE_BYTES) == (50_000_000, 20_000_000)
    tiny.picture(0, 40, 30).save(tmp_path / "a.bmp")
    size = (tmp_path / "a.bmp").stat().st_size
    monkeypatch.setattr(processing, "MAX_IMAGE_BYTES", size)
    monkeypatch.setattr(processing, "MAX_IMAGE_PIXELS", 40 * 30)
    built[0](images=[str(tmp_path / "a.bmp")])
    monkeypatch.setattr(processing, "MAX_IMAGE_BYTES", size - 1)
    for source in (str(tmp_path / "a.bmp"), {"bytes": (tmp_path / "a.bmp").read_bytes(), "path": None}):
        with pytest.raises(BadImageError, match=f"{size:,} bytes, over the limit"):
            built[0](images=[source])
    monkeypatch.setattr(processing, "MAX_IMAGE_PIXELS", 40 * 30 - 1)
    with pytest.raises(BadImageError, match="40 x 30 pixels, over the limit"):
        built[0](images=[tiny.picture(0, 40, 30)])


def test_an_animation_is_its_first_frame(classify, tmp_path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    moving = classify({"image": tmp_path / "moving.gif"})
    assert moving == classify({"image": load_image(tmp_path / "moving.gif")})
    assert scores(moving).tolist() == pytest.approx(scores(classify({"image": frames[0]})).tolist(), abs=1e-3)
    assert load_image(tmp_path / "moving.gif").getpixel((0, 0))[0] > 250


@pytest.mark.parametrize(
    "text",
    [
        "good " * 200_000,
        "\ud83d good \udc00",
        "\x00good\x00day\x00",
        "\u202e\u05d9\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "\U0001f600\U0001f44d\U0001f3fd\U0001f468\u200d\U0001f467",
        "\n\t ",
        "",
    ],
    ids=["1 MB", "lone surrogates", "NUL", "right to left", "emoji", "blank", "empty"],
)
def test_texts_of_every_kind(classify, text):
    result = classify({"text": text, "image": tiny.picture(0)})
    assert sum(entry["score"] for entry in result) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("post", "message"),
    [
        ("good day", "this one is str"),
        ({"txt": "good day"}, "the keys txt"),
        ({"text": float("nan")}, "text of a post is a string or None, not nan"),
        ({"text": "good", "aspect": 3}, "aspect of a post"),
        ({"image": "a.png", "images": ["b.png"]}, "not both"),
    ],
)
def test_what_is_no_post(classify, post, message):
    with pytest.raises(ValueError, match=message):
        classify([post])


def test_urls_are_refused_unless_allowed(classify, monkeypatch, tmp_path):
    fetched = []
    tiny.picture(0).save(tmp_path / "a.png")

    def fetch(url):
        fetched.append(url)
        if "private" in url:
            raise urls.UrlError(f"{url}: not public")
        return (tmp_path / "a.png").read_bytes()

    monkeypatch.setattr(pipeline_module, "fetch", fetch)
    post = {"images": ["https://pictures.example/a.png"]}
    with pytest.raises(ValueError, match=r"pictures\.example/a\.png is a URL.*allow_urls=True"):
        classify(post)
    assert fetched == []
    assert classify(post, allow_urls=True) == classify({"image": tmp_path / "a.png"})
    with pytest.raises(BadImageError, match="not public"):
        classify({"image": "HTTPS://private.example"}, allow_urls=True)


def test_a_url_of_this_machine_is_not_read(classify):
    for url in ("https://127.0.0.1/a.png", "https://localhost/a.png", "http://127.0.0.1/a.png", "https://[::1]/a.png"):
        with pytest.raises(BadImageError, match="not public|not an https URL"):
            classify({"image": url}, allow_urls=True)


# -------------------------------------------------------------------------------------------------------------- speed

TIMES = """
import json, time
import transformers
started = time.process_time()
from transformers import AutoProcessor, Pipeline, PreTrainedModel, ProcessorMixin
theirs = time.process_time() - started
import mmsent, sys
print(json.dumps([theirs, time.process_time() - started - theirs, sorted(sys.modules)]))
"""


@pytest.mark.slow
def test_importing_costs_little_beyond_what_transformers_loads_for_any_model():
    command = [sys.executable, "-c", TIMES]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    theirs, ours, modules = json.loads(done.stdout.splitlines()[-1])
    assert ours < 0.5 * theirs, f"{ours:.2f} s of our own beside {theirs:.2f} s"
    heavy = ("timm", "datasets", "sklearn", "evaluate", "peft", "matplotlib", "pyarrow")
    assert [name for name in heavy if name in modules] == []

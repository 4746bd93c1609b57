"""The cache of frozen encoders' output: exact, never reused wrongly, kept when killed, shared by processes."""

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from tiny import ROOT
from torch.utils.data import DataLoader

from mmsent.dataset_scripts.common_schema import features as corpus_features
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_text import TEXT_STEPS
from mmsent.training import feature_cache as features
from mmsent.training.arguments import RunArguments
from mmsent.training.feature_cache import Images, PostCollator, Texts, encode_features

FROZEN = {"freeze_text": True, "freeze_image": True}


@pytest.fixture
def corpus(tmp_path) -> dict[str, Dataset]:
    return {"train": make_posts(tmp_path / "pictures", 11)}


def make_posts(folder: Path, count: int) -> Dataset:
    """Texts of several lengths or none, no picture to three, as files."""
    folder.mkdir()
    made = tiny.posts(count)
    rows = []
    for row in range(count):
        paths = []
        for slot, picture in enumerate(made["images"][row]):
            paths.append(str(folder / f"{row}-{slot}.png"))
            picture.save(paths[-1])
        labels = {"label": row % 3, "text_label": row % 3, "image_label": row % 2}
        rows.append({"id": str(row), "text": made["text"][row] or "", "images": paths, "aspect": None} | labels)
    return Dataset.from_list(rows, features=corpus_features())


@pytest.fixture
def encode(tmp_path, backbones):
    """Encode a corpus as a run does; returns its posts, the model and the collator."""

    def encode(corpus, architecture="comn", encoders="timm", folder="cache", dtype="float32", change=None, **config):
        processor, model = tiny.build(architecture, encoders, backbones, **(FROZEN | config))
        collator = PostCollator(processor)
        if change is not None:
            change(model, processor, collator)
        args = RunArguments(output_dir=str(tmp_path / "run"), report_to="none", per_device_eval_batch_size=4)
        return encode_features(model, corpus, collator, args, tmp_path / folder, dtype), model, collator

    return encode


@pytest.fixture
def count_encoded(monkeypatch):
    """How many batches of texts and images have been encoded."""
    calls = {"text": 0, "image": 0}
    for modality, source in (("text", Texts), ("image", Images)):
        encode = source.encode

        @functools.wraps(encode)
        def counting(self, *args, encode=encode, modality=modality):
            calls[modality] += 1
            return encode(self, *args)

        monkeypatch.setattr(source, "encode", counting)
    return calls


def shards(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.arrow"))}


# ------------------------------------------------------------------------------------------------------------ exact


@pytest.mark.parametrize("encoders", tiny.ENCODERS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_posts_give_the_logits_and_losses_of_the_posts(monkeypatch, encode, corpus, architecture, encoders):
    monkeypatch.setattr(features, "POSTS_A_SHARD", 4)
    posts, model, collator = encode(corpus, architecture, encoders)
    rows = [0, 3, 5, 9, 2]  # across shards, out of order, with several images and without any
    with torch.no_grad():
        plain = model(**collator([corpus["train"][row] for row in rows]))
        batch = collator(posts["train"].__getitems__(rows))
        cached = model(**batch)
    assert {"text_features", "image_features"} & set(batch)
    assert not {"input_ids", "pixel_values"} & set(batch)
    torch.testing.assert_close(cached.logits, plain.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(cached.loss, plain.loss, rtol=0, atol=1e-5)


def test_pooled_regions_take_the_room_of_one(encode, corpus):
    posts, *_ = encode(corpus, "gated_fusion")
    assert posts["train"][3]["image_features"].shape[:2] == (3, 1)
    posts, *_ = encode(corpus, "gated_fusion", image_pooling="flatten")
    assert posts["train"][3]["image_features"].shape[:2] == (3, 4)


def test_float16_is_half_as_large_and_close(encode, corpus):
    full, model, collator = encode(corpus)
    half, *_ = encode(corpus, dtype="float16")
    assert half["train"][0]["text_features"].dtype == np.float16
    rows = list(range(11))
    batches = [collator(posts["train"].__getitems__(rows)) for posts in (full, half)]
    assert batches[1]["image_features"].dtype == torch.float32
    logits = [model(**batch).logits for batch in batches]
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-2)
    assert not torch.equal(logits[1], logits[0])


def test_a_feature_beyond_float16_is_refused(encode, corpus):
    def large(model, *_):
        model.base_model.text_encoder.backbone.encoder.layer[-1].output.LayerNorm.bias.data.fill_(1e6)

    with (
        pytest.warns(RuntimeWarning, match="overflow"),
        pytest.raises(ValueError, match="no finite float16 number.*--features_dtype float32"),
    ):
        encode(corpus, dtype="float16", change=large)


def test_posts_without_any_image_or_text(encode, corpus):
    def hide(modality):
        return lambda model, processor, collator: setattr(collator, "modalities", modality)

    for modality in ("text", "image"):
        posts, model, collator = encode(corpus, change=hide(modality))
        batch = collator(posts["train"].__getitems__([0, 5]))
        assert batch["attention_mask"].any() == (modality == "text")
        assert batch["image_mask"].any() == (modality == "image")
        with torch.no_grad():
            plain = model(**collator([corpus["train"][row] for row in (0, 5)])).logits
            torch.testing.assert_close(model(**batch).logits, plain, rtol=0, atol=1e-5)


def test_what_a_trained_encoder_reads_stays(encode, corpus):
    for frozen, kept, gone in (("image", "input_ids", "pixel_values"), ("text", "pixel_values", "input_ids")):
        posts, model, collator = encode(corpus, **{f"freeze_{kind}": kind == frozen for kind in ("text", "image")})
        batch = collator(posts["train"].__getitems__([0, 3]))
        assert kept in batch
        assert gone not in batch
        plain = model.eval()(**collator([corpus["train"][row] for row in (0, 3)])).logits
        torch.testing.assert_close(model(**batch).logits, plain, rtol=0, atol=1e-5)


def test_workers_read_the_same(encode, corpus):
    posts, _, collator = encode(corpus)
    copy = pickle.loads(pickle.dumps(posts["train"]))
    loaders = [
        DataLoader(posts["train"], 4, collate_fn=collator),
        DataLoader(copy, 4, collate_fn=collator, num_workers=1),
    ]
    for one, two in zip(*loaders, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


# ----------------------------------------------------------------------------------------------------- hit and miss


def test_another_architecture_finds_what_the_first_made(encode, corpus, count_encoded, tmp_path):
    first, *_ = encode(corpus, "comn", change=lambda model, processor, _: setattr(processor, "max_length", 128))
    made, times = dict(count_encoded), shards(tmp_path / "cache")
    assert made["text"]
    assert made["image"]
    second, *_ = encode(corpus, "mdse")
    encode(corpus, "mdse", freeze_text=False)
    assert count_encoded == made
    assert shards(tmp_path / "cache") == times
    for row in range(11):
        np.testing.assert_array_equal(first["train"][row]["text_features"], second["train"][row]["text_features"])


def test_labels_are_no_part_of_it(encode, corpus, count_encoded):
    encode(corpus)
    made = dict(count_encoded)
    other = corpus["train"].map(lambda post: {"label": 2})
    posts, *_ = encode({"train": other})
    assert count_encoded == made
    assert posts["train"][0]["label"] == 2


def one_weight(modality: str):
    def change(model, *_):
        with torch.no_grad():
            parameter = list(getattr(model.base_model, f"{modality}_encoder").parameters())[1]
            parameter.flatten()[0] += 1e-6

    return change


def one_statistic(model, *_):
    next(buffer for buffer in model.base_model.image_encoder.buffers() if buffer.ndim).view(-1)[0] += 1e-3


def pixels(name: str, value):
    return lambda model, processor, _: setattr(processor.image_processor, name, value)


def fewer_tokens(model, processor, _):
    processor.max_length = 3


def fewer_images(model, processor, _):
    processor.max_images = 2


def one_word(model, processor, _):
    processor.text_steps = ["mine"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (one_weight("text"), {"text"}),
        (one_weight("image"), {"image"}),
        (one_statistic, {"image"}),
        (pixels("image_mean", [0.5, 0.5, 0.51]), {"image"}),
        (pixels("resample", 2), {"image"}),
        (pixels("rescale_factor", 1 / 256), {"image"}),
        (fewer_tokens, {"text"}),
        (fewer_images, {"image"}),
        (one_word, {"text"}),
    ],
)
def test_one_change_of_encoder_or_processor_is_a_miss(monkeypatch, encode, corpus, count_encoded, change, again):
    monkeypatch.setitem(TEXT_STEPS, "mine", lambda text: f"so {text}")
    encode(corpus)
    before = dict(count_encoded)
    encode(corpus, change=change)
    assert {modality for modality in before if count_encoded[modality] > before[modality]} == again


def another_text(rows):
    rows[4]["text"] += " good"


def another_order(rows):
    rows[4], rows[5] = rows[5], rows[4]


def one_row_less(rows):
    del rows[-1]


def one_pixel(rows):
    path = rows[5]["images"][0]["path"]
    stat = Path(path).stat()
    picture = tiny.Image.open(path)
    picture.load()
    picture.putpixel((0, 0), (1, 2, 3))
    picture.save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def an_image_moved_to_the_next_post(rows):
    rows[6]["images"].insert(0, rows[5]["images"].pop())


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (another_text, {"text"}),
        (another_order, {"text", "image"}),
        (one_row_less, {"text", "image"}),
        (one_pixel, {"image"}),
        (an_image_moved_to_the_next_post, {"image"}),
    ],
)
def test_one_change_of_the_posts_is_a_miss(encode, corpus, count_encoded, change, again):
    encode(corpus)
    before = dict(count_encoded)
    undecoded = features.List(features.Image(decode=False))
    rows = corpus["train"].cast_column("images", undecoded).to_list()
    change(rows)
    encode({"train": Dataset.from_list(rows, features=corpus["train"].features)})
    assert {modality for modality in before if count_encoded[modality] > before[modality]} == again


def test_another_number_type_is_a_miss(encode, corpus, count_encoded):
    encode(corpus)
    before = dict(count_encoded)
    encode(corpus, dtype="float16")
    assert all(count_encoded[modality] > before[modality] for modality in before)


def test_a_copy_of_the_corpus_elsewhere_is_a_hit(encode, corpus, count_encoded, tmp_path):
    encode(corpus)
    before = dict(count_encoded)
    (tmp_path / "pictures").rename(tmp_path / "moved")
    rows = corpus["train"].cast_column("images", features.List(features.Image(decode=False))).to_list()
    for row in rows:
        for image in row["images"]:
            image["path"] = image["path"].replace("/pictures/", "/moved/")
    encode({"train": Dataset.from_list(rows, features=corpus["train"].features)})
    assert count_encoded == before


# ----------------------------------------------------------------------------------------------------------- killed


def test_only_missing_shards_are_made(monkeypatch, encode, corpus, tmp_path):
    monkeypatch.setattr(features, "POSTS_A_SHARD", 4)
    whole, *_ = encode(corpus, folder="whole")
    encode(corpus)
    before = shards(tmp_path / "cache")
    assert len(before) == 6
    lost = next(path for path in before if path.startswith("image-") and path.endswith("00001.arrow"))
    path = tmp_path / "cache" / lost
    content = path.read_bytes()
    path.unlink()
    path.with_name("00001.arrow.0123.part").write_bytes(content[:50])  # what a killed run leaves
    posts, *_ = encode(corpus)
    after = shards(tmp_path / "cache")
    assert {name for name in after if after[name] != before[name]} == {lost}
    for row in range(11):
        for name in ("text_features", "image_features"):
            np.testing.assert_allclose(posts["train"][row][name], whole["train"][row][name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("damage", [lambda content: content[:-400], lambda content: b"", lambda content: b"x" * 99])
def test_a_damaged_shard_is_named(encode, corpus, tmp_path, damage):
    encode(corpus)
    path = next((tmp_path / "cache").glob("text-*/00000.arrow"))
    content = path.read_bytes()
    path.unlink()  # a new file: the old one is mapped
    path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=r"00000.arrow does not hold \d+ features .* Delete it"):
        encode(corpus)


SLOW = """
import sys, time, features, train
from mmsent.training.feature_cache import Images
encode = Images.encode
def slow(self, *args):
    time.sleep(0.2)
    return encode(self, *args)
Images.encode = slow
features.POSTS_A_SHARD = 32
train.main()
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path):
    settings = ["--output_dir", str(tmp_path / "run"), "--features_dir", str(tmp_path / "cache"), "--cache_features"]
    settings += ["--model_kwargs", "freeze_image=true", "--num_train_epochs", "1", "--report_to", "none"]
    command = [sys.executable, "-c", SLOW, *settings, "--per_device_eval_batch_size", "16"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    while len(shards(tmp_path / "cache")) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = shards(tmp_path / "cache")
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    after = shards(tmp_path / "cache")
    assert 3 <= len(before) < len(after) == 34 + 9 + 9
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path):
    entries = {}
    for processes, extra in ((1, ()), (2, ("--multi_gpu",))):
        command = [sys.executable, "-m", "accelerate.commands.launch", *extra, "--num_processes", str(processes)]
        folder = tmp_path / str(processes)
        command += ["train.py", "--cache_features", "--model_kwargs", "freeze_text=true", "freeze_image=true"]
        command += ["--output_dir", str(tmp_path / f"run{processes}"), "--features_dir", str(folder)]
        command += ["--num_train_epochs", "1", "--report_to", "none", "--disable_tqdm", "true"]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"ACCELERATE_USE_CPU": "true"}, check=True)
        entries[processes] = shards(folder)
    assert entries[1].keys() == entries[2].keys()
    assert len(entries[1]) == 2 * (5 + 2 + 2)
    for name in entries[1]:
        one, two = (
            np.array(Dataset.from_file(str(tmp_path / folder / name)).with_format("numpy")["features"][:])
            for folder in "12"
        )
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- refused


def test_a_trained_backbone_is_refused(encode, corpus):
    with pytest.raises(ValueError, match="cache_features needs a frozen encoder: .*freeze_text=true"):
        encode(corpus, freeze_text=False, freeze_image=False)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--image_augmentation", "flip", "--model_kwargs", "freeze_image=true"], "cannot be combined with augmentat"),
        (["--model_kwargs", "freeze_image=false"], "cache_features needs a frozen encoder"),
        ([], "cache_features needs a frozen encoder"),
    ],
)
def test_what_cannot_be_cached_is_refused_before_the_corpus_is_loaded(run, tmp_path, monkeypatch, argv, message):
    monkeypatch.setattr("train.load_dataset", None)
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", "--cache_features", *argv)


def test_a_trained_model_says_itself_what_it_freezes(run, tmp_path, monkeypatch, backbones):
    tiny.build("comn", "own", backbones, freeze_text=True)[1].save_pretrained(tmp_path / "trained")
    begin = ["--cache_features", "--init_from", str(tmp_path / "trained")]
    monkeypatch.setattr("train.load_dataset", None)
    with pytest.raises(TypeError):  # goes on to the corpus
        run(tmp_path / "run", *begin)
    with pytest.raises(ValueError, match="needs a frozen encoder"):
        run(tmp_path / "run", *begin, "--model_kwargs", "freeze_text=false")

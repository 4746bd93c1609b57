"""The cache of frozen encoders' output: its values, and when it is used again."""

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tiny
import torch
from datasets import Dataset
from PIL import Image
from torch.utils.data import DataLoader

from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.dataset_scripts.common_files import atomic_write, locked
from mmsent.dataset_scripts.common_schema import features as corpus_features
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_text import TEXT_STEPS
from mmsent.training import feature_cache
from mmsent.training.arguments import RunArguments
from mmsent.training.collator import PostCollator
from mmsent.training.feature_cache import encode_features
from mmsent.training.length_grouping import text_lengths


def make_corpus(texts: list[str | None], paths: list[list[Path]]) -> dict[str, Dataset]:
    rows = [
        {"id": str(row), "text": text or "", "images": list(map(str, images)), "aspect": None}
        | {"label": row % 3, "text_label": row % 3, "image_label": row % 2}
        for row, (text, images) in enumerate(zip(texts, paths, strict=True))
    ]
    return {"train": Dataset.from_list(rows, features=corpus_features())}


@pytest.fixture
def corpus(tmp_path) -> dict[str, Dataset]:
    """Eleven posts with texts of several lengths or none, and with up to three images in files."""
    (tmp_path / "pictures").mkdir()
    posts, paths = tiny.posts(11), []
    for row, images in enumerate(posts["images"]):
        paths.append([tmp_path / "pictures" / f"{row}-{slot}.png" for slot in range(len(images))])
        for path, image in zip(paths[-1], images, strict=True):
            image.save(path)
    return make_corpus(posts["text"], paths)


@pytest.fixture
def encode(tmp_path, backbones):
    """Return a function that encodes a corpus as a run does, and returns its posts, the model and the collator."""

    def encode(corpus, architecture="comn", encoders="timm", folder="cache", dtype="float32", change=None, **config):
        config = {"freeze_text": True, "freeze_image": True} | config
        processor, model = tiny.build(architecture, encoders, backbones, **config)
        collator = PostCollator(processor)
        if change is not None:
            change(model, processor, collator)
        args = RunArguments(output_dir=str(tmp_path / "run"), report_to="none", per_device_eval_batch_size=4)
        return encode_features(model, corpus, collator, args, tmp_path / folder, dtype), model, collator

    return encode


@pytest.fixture
def misses(encode, tmp_path):
    """Return a function that encodes a corpus and returns the modalities that the cache did not hold."""

    def misses(*args, **kwargs) -> set[str]:
        before = shards(tmp_path / "cache")
        encode(*args, **kwargs)
        after = shards(tmp_path / "cache")
        assert {name: after[name] for name in before} == before  # nothing is written twice
        return {name.partition("-")[0] for name in after if name not in before}

    return misses


def shards(folder: Path) -> dict[str, int]:
    """Return the time of every file of the cache."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.npy"))}


def check_logits(posts, corpus, model, collator, rows) -> dict:
    """Check that cached posts give the logits and the loss of the posts themselves, and return their batch."""
    batch = collator([posts["train"][row] for row in rows])
    with torch.no_grad():
        plain, cached = model.eval()(**collator([corpus["train"][row] for row in rows])), model(**batch)
    torch.testing.assert_close(cached.logits, plain.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(cached.loss, plain.loss, rtol=0, atol=1e-5)
    return batch


@pytest.mark.parametrize(("architecture", "encoders"), [(a, kind) for a in ARCHITECTURES for kind in tiny.kinds_of(a)])
def test_cached_posts_give_the_logits_and_losses_of_the_posts(monkeypatch, encode, corpus, architecture, encoders):
    monkeypatch.setattr(feature_cache, "POSTS_PER_SHARD", 4)
    posts, model, collator = encode(corpus, architecture, encoders)
    # The rows lie in several shards, in another order, with several images and without any.
    batch = check_logits(posts, corpus, model, collator, [0, 3, 5, 9, 2])
    assert {f"{modality}_features" for modality in tiny.reads(architecture)} <= set(batch)
    encoded = {"text": "input_ids", "image": "pixel_values"}
    raw = {encoded[modality] for modality in tiny.reads(architecture)}
    assert not (raw - {"input_ids"} if "lexicon" in ARCHITECTURES[architecture].reads else raw) & set(batch)


def test_features_are_those_of_this_version(encode, tmp_path):
    """If this fails, decoding or encoding has changed: raise FEATURES_VERSION and write the new numbers here."""

    def fix_weights(model, *_):
        for encoder in (model.base_model.text_encoder, model.base_model.image_encoder):
            for weight in (parameter for parameter in encoder.parameters() if parameter.ndim > 1):
                values = torch.sin(torch.arange(weight.numel(), dtype=torch.float64) ** 2)
                weight.data = (values / weight[0].numel() ** 0.5).float().reshape(weight.shape)

    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(40) * 6, np.arange(30)[:, None] * 8
    paths = [tmp_path / "picture.png", tmp_path / "picture.jpg"]
    for path in paths:
        Image.fromarray(pixels).save(path)
    features = encode(make_corpus(["Good day"], [paths]), encoders="own", change=fix_weights)[0]["train"][0]
    assert feature_cache.FEATURES_VERSION == 1
    text = [[-0.251929, 0.266718, -0.219895], [0.193265, -0.139263, -0.285174]]
    np.testing.assert_allclose(features["text_features"][:, :3], text, rtol=0, atol=1e-5)
    png, jpg = [0.108308, 0.029255, 0.038533], [0.108348, 0.028459, 0.038796]
    np.testing.assert_allclose(features["image_features"][:, 0, :3], [png, jpg], rtol=0, atol=1e-4)
    np.testing.assert_allclose(features["image_features"].mean((1, 2)), [0.031411, 0.031248], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("pooling", "regions"), [("mean", 1), ("flatten", 4)])
def test_pooled_regions_take_the_space_of_one(encode, corpus, pooling, regions):
    posts, *_ = encode(corpus, "gated_fusion", image_pooling=pooling)
    assert posts["train"][3]["image_features"].shape[:2] == (3, regions)


def test_padding_that_a_model_reads_is_cached(encode, corpus):
    fields = {"reading": "official", "contrastive_fused": False, "change": processor_setting("max_length", 16)}
    for length in (17, 16):  # each has an entry of its own
        posts, model, collator = encode(corpus, "mdse", "transformers", pad_to=length, **fields)
        assert posts["train"][0]["text_features"].shape == (length, model.config.hidden_size)
    assert posts["train"][5]["image_features"].shape[:2] == (1, 1 + 4)  # with the class token
    check_logits(posts, corpus, model, collator, [0, 3, 5])


def test_float16_is_half_as_large_and_close(encode, corpus):
    full, model, collator = encode(corpus)
    half, *_ = encode(corpus, dtype="float16")
    assert half["train"][0]["text_features"].dtype == np.float16
    batches = [collator(list(posts["train"])) for posts in (full, half)]
    assert batches[1]["image_features"].dtype == torch.float32
    logits = [model(**batch).logits for batch in batches]
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-2)
    assert not torch.equal(logits[1], logits[0])


def test_a_feature_beyond_float16_is_refused(encode, corpus):
    def enlarge(model, *_):
        model.base_model.text_encoder.backbone.encoder.layer[-1].output.LayerNorm.bias.data.fill_(1e6)

    with (
        pytest.warns(RuntimeWarning, match="overflow"),
        pytest.raises(ValueError, match="too large for float16.*--features_dtype float32"),
    ):
        encode(corpus, dtype="float16", change=enlarge)


@pytest.mark.parametrize("modality", ["text", "image"])
def test_one_modality_can_be_hidden(encode, corpus, modality):
    posts, model, collator = encode(corpus, change=lambda *parts: setattr(parts[-1], "modalities", modality))
    batch = check_logits(posts, corpus, model, collator, [0, 5])
    assert batch["attention_mask"].any() == (modality == "text")
    assert batch["image_mask"].any() == (modality == "image")


@pytest.mark.parametrize(
    ("frozen", "trained_input", "cached_input"),
    [("image", "input_ids", "pixel_values"), ("text", "pixel_values", "input_ids")],
)
def test_a_trained_encoder_reads_the_posts(encode, corpus, frozen, trained_input, cached_input):
    config = {f"freeze_{modality}": modality == frozen for modality in ("text", "image")}
    posts, model, collator = encode(corpus, **config)
    batch = check_logits(posts, corpus, model, collator, [0, 3])
    assert trained_input in batch
    assert cached_input not in batch


def test_cached_posts_have_the_lengths_of_their_texts(encode, corpus):
    assert text_lengths(encode(corpus)[0]["train"]) == text_lengths(corpus["train"])


def test_a_post_may_have_more_images_than_a_byte_counts(encode, corpus):
    row = corpus["train"][1]
    paths = [[undecoded(corpus)["train"][1]["images"][0]["path"]] * 260]
    posts, *_ = encode(make_corpus([row["text"]], paths), "gated_fusion", change=processor_setting("max_images", 300))
    assert len(posts["train"][0]["image_features"]) == 260


def test_a_tokenizer_without_pad_token_is_cached(encode, corpus):
    def remove(model, processor, _):
        processor.tokenizer.pad_token = None
        processor.text_kwargs = processor.text_kwargs | {"padding": False}

    same_length = make_corpus(["good day", "bad day"], [[], []])
    posts, *_ = encode(same_length, change=remove)
    expected, *_ = encode(same_length, folder="other")
    np.testing.assert_array_equal(posts["train"][0]["text_features"], expected["train"][0]["text_features"])


def test_data_workers_read_the_same(encode, corpus):
    posts, _, collator = encode(corpus)
    copy = pickle.loads(pickle.dumps(posts["train"]))
    here = DataLoader(posts["train"], 4, collate_fn=collator)
    in_worker = DataLoader(copy, 4, collate_fn=collator, num_workers=1)
    for one, other in zip(here, in_worker, strict=True):
        assert one.keys() == other.keys()
        assert one.pop("ids") == other.pop("ids")
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_trained_backbone_is_refused(encode, corpus):
    with pytest.raises(ValueError, match="cache_features needs a frozen encoder: .*freeze_text=true"):
        encode(corpus, freeze_text=False, freeze_image=False)


def test_another_architecture_uses_the_same_entries(misses, encode, corpus):
    set_length = processor_setting("max_length", 128)
    assert misses(corpus, "comn", change=set_length) == {"text", "image"}
    assert misses(corpus, "mdse") == misses(corpus, "mdse", freeze_text=False) == set()
    first, second = (encode(corpus, name, change=set_length)[0]["train"] for name in ("comn", "mdse"))
    for row in range(11):
        np.testing.assert_array_equal(first[row]["text_features"], second[row]["text_features"])


def test_labels_are_not_part_of_an_entry(misses, encode, corpus):
    encode(corpus)
    relabelled = {"train": corpus["train"].map(lambda post: {"label": 2})}
    assert misses(relabelled) == set()
    assert encode(relabelled)[0]["train"][0]["label"] == 2


def one_weight(modality: str):
    def change(model, *_):
        with torch.no_grad():
            parameter = list(getattr(model.base_model, f"{modality}_encoder").parameters())[1]
            parameter.flatten()[0] += 1e-6

    return change


def one_statistic(model, *_):
    next(buffer for buffer in model.base_model.image_encoder.buffers() if buffer.ndim).view(-1)[0] += 1e-3


def processor_setting(name: str, value):
    return lambda model, processor, _: setattr(processor, name, value)


@pytest.mark.parametrize(
    ("change", "modality"),
    [
        (one_weight("text"), "text"),
        (one_weight("image"), "image"),
        (one_statistic, "image"),
        (lambda _, processor, __: setattr(processor.image_processor, "resample", 2), "image"),
        (processor_setting("max_length", 3), "text"),
        (processor_setting("max_images", 2), "image"),
        (processor_setting("text_steps", ["own"]), "text"),
    ],
)
def test_one_change_of_encoder_or_processor_is_a_miss(monkeypatch, misses, encode, corpus, change, modality):
    monkeypatch.setitem(TEXT_STEPS, "own", lambda text: f"so {text}")
    encode(corpus)
    assert misses(corpus, change=change) == {modality}


def test_another_version_or_type_is_a_miss(monkeypatch, misses, encode, corpus):
    encode(corpus)
    assert misses(corpus, dtype="float16") == {"text", "image"}
    for name in ("FEATURES_VERSION", "POSTS_PER_SHARD"):
        monkeypatch.setattr(feature_cache, name, 7)
        assert misses(corpus) == {"text", "image"}


def change_file(rows):
    """Write another image to a file, but keep the file's time."""
    path = Path(rows[5]["images"][0]["path"])
    times = path.stat()
    tiny.picture(99).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def move_files(rows):
    folder = Path(rows[5]["images"][0]["path"]).parent
    folder.rename(folder.with_name("moved"))
    for row in rows:
        row["images"] = [image | {"path": image["path"].replace("/pictures/", "/moved/")} for image in row["images"]]


@pytest.mark.parametrize(
    ("change", "modalities"),
    [
        (lambda rows: rows[4].update(text="good"), {"text"}),
        (lambda rows: rows.insert(4, rows.pop(5)), {"text", "image"}),
        (lambda rows: rows.pop(), {"text", "image"}),
        (lambda rows: rows[6]["images"].insert(0, rows[5]["images"].pop()), {"image"}),
        (change_file, {"image"}),
        (move_files, set()),
    ],
)
def test_changes_of_the_posts(misses, encode, corpus, change, modalities):
    encode(corpus)
    rows = undecoded(corpus)["train"].to_list()
    change(rows)
    assert misses({"train": Dataset.from_list(rows, features=corpus["train"].features)}) == modalities


@pytest.mark.parametrize("damage", [lambda content: content[:-400], lambda content: b"", lambda content: b"x" * 99])
def test_a_damaged_shard_is_named(encode, corpus, tmp_path, damage):
    encode(corpus)
    path = next((tmp_path / "cache").glob("text-*/00000.npy"))
    content = path.read_bytes()
    path.unlink()  # the old file is still mapped, so its content must not change
    path.write_bytes(damage(content))
    with pytest.raises(ValueError, match=r"00000.npy does not hold \d+ features .* Delete the file"):
        encode(corpus)


def test_leftovers_are_removed_and_what_another_run_writes_is_not(encode, corpus, tmp_path):
    encode(corpus)
    shard = tmp_path / "cache" / next(iter(shards(tmp_path / "cache")))
    leftover = shard.with_name(f"tmp-0123abcd-{shard.name}")
    leftover.write_bytes(b"half")
    writing, kept = Event(), []

    def other_run():
        with locked(shard), atomic_write(shard) as temporary:
            temporary.write_bytes(shard.read_bytes())
            writing.set()
            time.sleep(0.3)
            kept.append(temporary.exists())

    with ThreadPoolExecutor() as pool:
        other = pool.submit(other_run)
        writing.wait()
        encode(corpus)
        other.result()
    assert kept == [True]
    assert sorted(path.name for path in shard.parent.iterdir()) == [shard.name]

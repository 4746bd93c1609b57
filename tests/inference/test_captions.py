"""`mmsent caption`: every kind of captioning model, tables of every format, bad images, and interruptions."""

import csv
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tiny
import torch
from datasets import Dataset, Features, Image, List, Value
from transformers import (
    AutoTokenizer,
    BertConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)

from mmsent.dataset_scripts import load_corpus
from mmsent.inference import captions
from mmsent.inference.captioner import Captioner

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
TEMPLATE = "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}"
TEMPLATE += "{% endif %}{% endfor %}{% endfor %}"


def pair(folder: Path, tokenizer) -> None:
    decoder = BertConfig(vocab_size=len(tokenizer), is_decoder=True, add_cross_attention=True, **SIZES)
    vit = ViTConfig(image_size=32, patch_size=16, **SIZES)
    model = VisionEncoderDecoderModel(VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, decoder))
    ids = {"decoder_start_token_id": tokenizer.cls_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config.update(**ids, eos_token_id=tokenizer.sep_token_id)
    model.config.decoder_start_token_id, model.config.pad_token_id = ids.values()
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def blip(folder: Path, tokenizer) -> None:
    text = {"vocab_size": len(tokenizer), "encoder_hidden_size": 16, "max_position_embeddings": 64, **SIZES}
    special = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    vision = {"image_size": 32, "patch_size": 16, **SIZES}
    config = BlipConfig(text_config=text | special, vision_config=vision, projection_dim=8, image_text_hidden_size=8)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)


def git(folder: Path, tokenizer) -> None:
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = {"image_size": 32, "patch_size": 16, **SIZES}
    config = GitConfig(vision_config=vision, vocab_size=len(tokenizer), max_position_embeddings=64, **ids, **SIZES)
    GitForCausalLM(config).save_pretrained(folder)
    GitProcessor(ViTImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)


def llava(folder: Path, tokenizer) -> None:
    tokenizer.add_tokens("<image>", special_tokens=True)
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2, **SIZES}
    vision = {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 16, "projection_dim": 8, **SIZES}
    parts = {"text_config": text, "vision_config": vision, "vision_feature_layer": -1}
    config = LlavaConfig(image_token_id=tokenizer.convert_tokens_to_ids("<image>"), **parts)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    settings = {"patch_size": 16, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    LlavaProcessor(images, tokenizer, chat_template=TEMPLATE, **settings).save_pretrained(folder)


MAKERS = {"pair": pair, "blip": blip, "git": git, "llava": llava}


@pytest.fixture(scope="module")
def models(backbones, tmp_path_factory):
    """Return a function that makes a captioning model of a kind, with random weights, and returns its folder."""
    made = {}

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            torch.manual_seed(1)
            MAKERS[kind](made[kind], AutoTokenizer.from_pretrained(backbones["bert"]))
        return made[kind]

    return make


@pytest.fixture
def run(models, monkeypatch, tmp_path, capsys):
    """Run the command in this process, and return what it prints, or the error in one line."""

    def run(source: Path, output: str, *argv: str, kind: str = "pair") -> str:
        words = ["--model", models(kind), "--input", source, "--output", tmp_path / output, "--max_new_tokens", "5"]
        monkeypatch.setattr(sys, "argv", ["mmsent caption", *map(str, [*words, *argv])])
        try:
            captions.main()
        except SystemExit:
            return capsys.readouterr().err.splitlines()[-1]
        return capsys.readouterr().out

    return run


@pytest.fixture
def table(tmp_path) -> Path:
    """Write a table of three posts, with one image, two and none."""
    for number in range(3):
        tiny.picture(number, 64, 40 + 20 * number).save(tmp_path / f"{number}.png")
    rows = [["a", "good day", "0.png", "x"], ["b", "", "1.png; 2.png", "y"], ["c", "bad", "", "z"]]
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text", "photo", "other"], *rows])
    return tmp_path / "posts.csv"


def read(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "pair" else pytest.mark.slow) for kind in MAKERS]
)
def test_a_batch_gives_what_each_image_gives(models, kind):
    captioner = Captioner(str(models(kind)), max_new_tokens=5)
    images = [tiny.picture(0), tiny.picture(1, 64, 64), tiny.picture(2, 20, 70)]
    together = captioner(images)
    assert together == [captioner([image])[0] for image in images]
    assert all(together)
    assert not any("image" in sentence.split() for sentence in together)
    assert captioner([]) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["blip", "git", "llava"])
def test_a_prompt(models, kind):
    sentences = Captioner(str(models(kind)), "the good day", 5)([tiny.picture(0), tiny.picture(1)])
    assert all(sentence.startswith("the good day") == (kind != "llava") for sentence in sentences)


def test_a_table_gets_a_column(run, table, models, tmp_path):
    printed = run(table, "captioned.csv", "--batch_size", "2")
    assert "images = photo" in printed
    assert "3 posts are in" in printed
    before, after = read(table), read(tmp_path / "captioned.csv")
    assert [{name: row[name] for name in before[0]} for row in after] == before
    one, two, three = Captioner(str(models("pair")), max_new_tokens=5)(
        [tiny.picture(n, 64, 40 + 20 * n) for n in range(3)]
    )
    assert [row["caption"] for row in after] == [one, f"{two} {three}", ""]
    assert not list(tmp_path.glob("*.part-*"))
    assert "captioned.csv exists already" in run(table, "captioned.csv")
    assert "has a column caption already" in run(tmp_path / "captioned.csv", "again.csv")
    assert "would replace its --input" in run(table, "posts.csv")


def test_other_formats(run, table, tmp_path):
    rows = [row | {"photo": list(filter(None, row["photo"].split("; ")))} for row in read(table)]
    (tmp_path / "posts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(tmp_path / "posts.jsonl", "captioned.jsonl")
    captioned = [json.loads(line) for line in (tmp_path / "captioned.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in rows[0]} for row in captioned] == rows
    columns = {"image": [[{"bytes": (tmp_path / name).read_bytes()} for name in row["photo"]] for row in rows]}
    features = Features({"image": List(Image()), "label": Value("string")})
    Dataset.from_dict(columns | {"label": ["x", "y", "x"]}, features).to_parquet(tmp_path / "posts.parquet")
    assert "must end with .parquet" in run(tmp_path / "posts.parquet", "captioned.csv")
    run(tmp_path / "posts.parquet", "captioned.parquet")
    assert pq.read_table(tmp_path / "captioned.parquet")["caption"].to_pylist() == [
        row["caption"] for row in captioned
    ]
    loaded = Dataset.from_parquet(str(tmp_path / "captioned.parquet"))
    assert loaded.features == features | {"caption": Value("string")}
    (tmp_path / "folder").mkdir()
    (tmp_path / "0.png").rename(tmp_path / "folder" / "7.png")
    assert "read the table with --image_dir" in run(tmp_path / "folder", "folder.csv")
    assert read(tmp_path / "folder.csv") == [
        {"id": "7", "text": "", "images": '["7.png"]', "caption": captioned[0]["caption"]}
    ]


def test_bad_images(run, table, tmp_path):
    (tmp_path / "1.png").write_bytes(b"damaged")
    assert "posts.csv, row 2:" in run(table, "captioned.csv")
    (tmp_path / "captioned.csv.part-0.jsonl").unlink()
    run(table, "missing.csv", "--on_bad_image", "missing")
    run(table, "skip.csv", "--on_bad_image", "skip")
    kept = read(tmp_path / "missing.csv")
    assert kept[1]["caption"]
    assert read(tmp_path / "skip.csv") == [kept[0], kept[2]]


def test_an_interrupted_command_continues(run, table, tmp_path, monkeypatch):
    run(table, "whole.csv", "--batch_size", "1")
    call, seen = Captioner.__call__, []

    def interrupted(self, images):
        seen.append(len(images))
        if len(seen) == 2:
            raise ValueError("interrupted")
        return call(self, images)

    monkeypatch.setattr(Captioner, "__call__", interrupted)
    assert "interrupted" in run(table, "captioned.csv", "--batch_size", "1")
    assert "was begun with other settings" in run(table, "captioned.csv", "--batch_size", "2")
    run(table, "captioned.csv", "--batch_size", "1")
    assert seen == [1, 2, 2, 0]
    assert read(tmp_path / "captioned.csv") == read(tmp_path / "whole.csv")


def test_models_that_cannot_describe(run, table, backbones, models, monkeypatch, tmp_path):
    monkeypatch.setitem(MAKERS, "bert", lambda folder, tokenizer: tokenizer)
    with pytest.raises(ValueError, match="is a model of the type bert: name one for image-text-to-text"):
        Captioner(backbones["bert"])
    with pytest.raises(ValueError, match="reads images only; leave it out"):
        Captioner(str(models("pair")), "a photo of")
    with pytest.raises(FileNotFoundError, match="looks like a path, so the Hub was not asked"):
        Captioner(str(tmp_path / "nowhere"))
    (tmp_path / "texts.csv").write_text("text\na\n")
    assert "has no column images or image" in run(tmp_path / "texts.csv", "captioned.csv")


def test_the_output_is_a_corpus_with_captions(run, tmp_path):
    rows = [[f"{n}.png", ["good", "bad"][n % 2]] for n in range(20)]
    for name, _ in rows:
        tiny.picture(int(name[:-4])).save(tmp_path / name)
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "label"], *rows])
    run(tmp_path / "posts.csv", "captioned.csv")
    assert all(load_corpus("posts", data_files=str(tmp_path / "captioned.csv"))["train"]["caption"])

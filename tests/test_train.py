"""train.py and its arguments: recipes, bad input, the run folder; as real processes where processes are the point."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import yaml
from datasets import load_dataset
from PIL import Image
from safetensors.torch import load_file
from tiny import ROOT
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor, AutoTokenizer

from mmsent.dataset_scripts.common_corpus import read_splits
from mmsent.dataset_scripts.mvsa.mvsa import SPLITS
from mmsent.hub.export import export
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_images import BadImageError
from mmsent.training.arguments import parse_arguments, parse_kwargs

RECIPES = [path for path in sorted(ROOT.glob("configs/*/*.yaml")) if path.parent.name != "accelerate"]


def parse(*argv: str):
    return parse_arguments(list(argv), "")


@pytest.fixture
def write_recipe(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return str(path)

    return write


# ------------------------------------------------------------------------------------------------------- arguments


def test_the_command_line_wins_over_the_recipe(write_recipe):
    recipe = write_recipe(
        "learning_rate: 5e-4\noptim: rmsprop\nmodel_kwargs: {hops: 3, cross: none, freeze_text: true}"
    )
    model_args, _, run_args = parse("--config", recipe, "--optim", "adamw_torch", "--model_kwargs", "hops=4")
    assert run_args.learning_rate == 5e-4
    assert run_args.optim == "adamw_torch"
    assert parse_kwargs(model_args.model_kwargs) == {"hops": 4, "cross": "none", "freeze_text": True}


def test_without_arguments():
    model_args, data_args, run_args = parse()
    assert (data_args.dataset, model_args.architecture) == ("sample_posts", "comn")
    assert run_args.output_dir == "runs/sample_posts-comn"
    assert parse("--output_dir", "elsewhere")[2].output_dir == "elsewhere"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("learning_rat: 1", "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ("hops: 3", "unknown key 'hops'; as a field of comn, mimn, co_memory_aspect it belongs under model_kwargs"),
        ("learning_rate: fast", "argument --learning_rate/--learning-rate: invalid float value: 'fast'"),
        ("on_bad_image: ignore", "invalid choice: 'ignore'"),
        ("just words", "holds no 'key: value' lines"),
        ("a: [1", "recipe.yaml"),
    ],
)
def test_a_bad_recipe_ends_with_a_message(write_recipe, capsys, recipe, message):
    with pytest.raises(SystemExit) as stop:
        parse("--config", write_recipe(recipe))
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config", "nowhere.yaml"], "recipe nowhere.yaml"),
        (["--datasett", "x"], "unknown key 'datasett'; did you mean 'dataset'?"),
    ],
)
def test_a_bad_command_line_ends_with_a_message(capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_kwargs_need_an_equals_sign():
    assert parse_kwargs(["a=1", "b=0.5", "c=x=y", "d=true"]) == {"a": 1, "b": 0.5, "c": "x=y", "d": True}
    with pytest.raises(ValueError, match="'hops' is not of the form NAME=VALUE"):
        parse_kwargs(["hops"])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_parses_and_says_where_its_figure_stands(path):
    model_args, data_args, _ = parse("--config", str(path), "--report_to", "none")
    assert data_args.dataset == path.parent.name
    header = path.read_text().split("\ndataset:")[0]
    assert "# Command:" in header
    assert "# Paper:" in header
    row = ARCHITECTURES[model_args.architecture]
    sizes = {"image_regions": 25, "image_hidden_size": 8}
    if model_args.text_encoder != "word_vectors":
        sizes["text_hidden_size"] = 768
    row.config(**parse_kwargs(model_args.model_kwargs) | sizes)
    assert set(parse_kwargs(model_args.model_kwargs)) <= set(row.config.__dataclass_fields__)


def test_the_paper_has_one_recipe_a_row():
    paths = ROOT.glob("configs/mvsa_single/comn_*.yaml")
    settings = {path.stem: yaml.safe_load(path.read_text())["model_kwargs"] for path in paths}
    rows = {name: (kwargs["hops"], kwargs.get("cross")) for name, kwargs in settings.items()}
    assert rows["comn_mn_hop1"] == (1, None)
    assert rows["comn_mn_hop2"] == (2, "none")
    assert rows["comn_mn_hop2_text2img"] == (2, "text2image")
    assert rows["comn_mn_hop2_img2text"] == (2, "image2text")
    for hops in range(2, 7):
        assert rows[f"comn_hop{hops}"] == (hops, "both")


# ---------------------------------------------------------------------------------------------------- the run folder


def test_the_run_folder(run, tmp_path):
    folder = tmp_path / "run"
    report = run(folder)
    assert report["posts"] == {"train": 1080, "validation": 270, "test": 270}
    assert report["majority"]["test"]["accuracy"] == pytest.approx(1 / 3)
    assert sum(map(sum, report["scores"]["test"]["confusion_matrix"])) == 270
    assert not [path.name for path in folder.rglob("*") if path.parent == folder and path.suffix == ".bin"]

    lines = [json.loads(line) for line in (folder / "predictions_test.jsonl").read_text().splitlines()]
    assert len(lines) == 270
    right = sum(line["label"] == line["prediction"] for line in lines)
    assert right / 270 == pytest.approx(report["scores"]["test"]["accuracy"])

    # what is on disk is what was scored
    from datasets import load_dataset

    posts = load_dataset("sample_posts", split="test")
    assert [line["id"] for line in lines] == list(posts["id"])
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**processor(text=list(posts["text"][:20]), images=list(posts["images"][:20]))).logits
    want = torch.tensor([list(line["scores"].values()) for line in lines[:20]])
    torch.testing.assert_close(logits.softmax(-1), want, rtol=0, atol=1e-5)

    with pytest.raises(SystemExit, match="holds a trained model"):
        run(folder)


@pytest.mark.parametrize("frozen_parts", [("freeze_text=true", "freeze_image=true"), ("freeze_image=true",)], ids=len)
def test_cached_features_give_the_same_run(run, tmp_path, backbones, standins, frozen_parts):
    without_dropout = AutoModel.from_pretrained(
        backbones["bert"], hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    without_dropout.save_pretrained(tmp_path / "bert")
    AutoTokenizer.from_pretrained(backbones["bert"]).save_pretrained(tmp_path / "bert")
    frozen = ["--text_encoder", str(tmp_path / "bert"), "--image_encoder", backbones["vit"]]
    frozen += ["--model_kwargs", *frozen_parts, "dropout=0.0"]
    frozen += ["--dataset", "twitter2015", "--data_dir", str(standins.write_twitter(tmp_path / "twitter2015"))]
    frozen += ["--num_train_epochs", "3", "--per_device_train_batch_size", "2"]
    plain = run(tmp_path / "plain", *frozen)
    cached = run(tmp_path / "cached", *frozen, "--cache_features")
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("plain", "cached")]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-4)
    assert cached["scores"] == plain["scores"]


def test_features_of_a_trained_encoder_are_not_cached(run, tmp_path):
    with pytest.raises(ValueError, match="needs a frozen encoder"):
        run(tmp_path / "run", "--cache_features")


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def release(tmp_path):
    """Six training and three validation posts of MVSA-Single in its layout, two pictures of which are damaged."""
    splits = read_splits(SPLITS / "mvsa_single" / "clmlf")
    ids = splits["train"][:6] + splits["validation"][:3]
    (tmp_path / "data").mkdir()
    rows = ["ID\ttext,image"]
    for number, post_id in enumerate(ids):
        label = ("negative", "neutral", "positive")[number % 3]
        rows.append(f"{post_id}\t{label},{label}")
        (tmp_path / "data" / f"{post_id}.txt").write_text("" if number == 4 else f"post number {number}")
        size = (1, 1) if number == 5 else (60, 40)
        Image.new("RGB", size, (20 * number, 0, 0)).save(tmp_path / "data" / f"{post_id}.jpg")
    (tmp_path / "labelResultAll.txt").write_text("\n".join(rows))
    truncated, text = (tmp_path / "data" / f"{post_id}.jpg" for post_id in (ids[0], ids[7]))
    truncated.write_bytes(truncated.read_bytes()[:-200])
    text.write_text("<html>404</html>")
    return tmp_path, truncated.name, text.name


def test_bad_images_stop_the_run_by_default(run, release, tmp_path):
    folder, truncated, text = release
    with pytest.raises(BadImageError, match="2 images cannot be decoded") as error:
        run(tmp_path / "run", "--dataset", "mvsa_single", "--data_dir", str(folder))
    assert truncated in str(error.value)
    assert text in str(error.value)


@pytest.mark.parametrize(("policy", "train_posts", "validation_posts"), [("skip", 5, 2), ("missing", 6, 3)])
def test_bad_images_are_counted_and_named(run, release, tmp_path, capsys, policy, train_posts, validation_posts):
    folder, truncated, text = release
    argv = ["--dataset", "mvsa_single", "--data_dir", str(folder), "--on_bad_image", policy]
    report = run(tmp_path / "run", *argv)
    assert report["posts"] == {"train": train_posts, "validation": validation_posts}
    assert [truncated in line for line in report["bad_images"]["train"]] == [True]
    assert [text in line for line in report["bad_images"]["validation"]] == [True]
    assert len(report["missing_posts"]["test"]) == 450
    printed = capsys.readouterr().out
    assert "train: 1 images could not be decoded" in printed
    assert "test: 450 posts are not in the release" in printed
    lines = (tmp_path / "run" / "predictions_validation.jsonl").read_text().splitlines()
    assert len(lines) == validation_posts


@pytest.mark.parametrize(
    ("argv", "error", "message"),
    [
        (["--dataset", "mvsa"], ValueError, "dataset 'mvsa' is none of msed, multi_zol, mvsa_multiple, mvsa_single"),
        (["--model_kwargs", "hop=3"], ValueError, "CoMNConfig has no field hop; it has aspects, cross, dropout"),
        (["--model_kwargs", "cross=sideways"], Exception, "sideways"),
        (["--dataset", "mvsa_single", "--data_dir", "nowhere"], FileNotFoundError, "nowhere does not exist"),
    ],
)
def test_bad_settings(run, tmp_path, argv, error, message):
    with pytest.raises(error, match=message):
        run(tmp_path / "run", *argv)


# --------------------------------------------------------------------------------------------------------- processes


def process(*argv: str, launcher: tuple[str, ...] = (sys.executable,), **environment: str) -> None:
    subprocess.run([*launcher, "train.py", *argv], cwd=ROOT, env=os.environ | environment, check=True)


def test_a_corpus_without_pictures_is_refused_until_one_says_so(run, tmp_path, standins, capsys):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    (folder / "images").rename(tmp_path / "elsewhere")
    argv = ["--dataset", "twitter2015", "--data_dir", str(folder), "--dataset_kwargs", "substitute_target=true"]
    with pytest.raises(ValueError, match="twitter2015 has no pictures here .no folder .*--modalities text"):
        run(tmp_path / "run", *argv)
    made = run(tmp_path / "run", *argv, "--on_bad_image", "missing")
    assert made["notes"] == [f"no folder {folder}/images: all posts are without their pictures, 5 in number"]
    assert "note: no folder" in capsys.readouterr().out
    assert made["posts"] == {"train": 4, "validation": 1, "test": 2}
    run(tmp_path / "text", *argv, "--modalities", "text")


def test_a_corpus_without_validation_split(run, tmp_path, standins):
    folder = standins.write_flickr_table(tmp_path / "vso")
    argv = ["--dataset", "vso", "--data_dir", str(folder)]
    with pytest.raises(
        ValueError, match=r"vso has no validation posts here, only train, test. \(Without .*--eval_strat"
    ):
        run(tmp_path / "run", *argv)
    argv += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
    made = run(tmp_path / "run", *argv, "--architecture", "deep_fusion", "--model_kwargs", "branch=text")
    assert set(made["scores"]) == {"test"}
    assert made["best_epoch"] == 1
    assert made["scores"]["test"]["confusion_matrix"]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_an_exported_corpus_trains(run, tmp_path, standins):
    folder = standins.write_twitter(tmp_path / "twitter2015")
    corpus = load_dataset("twitter2015", data_dir=str(folder))
    export(corpus, "twitter2015", "official", tmp_path / "parquet")
    made = run(tmp_path / "run", "--dataset", str(tmp_path / "parquet"))
    assert made["posts"] == {"train": 4, "validation": 1, "test": 2}
    assert made["missing_posts"] == {}


def test_every_aspect_has_a_word_of_its_own(run, tmp_path, standins):
    """The published code's vocabulary, of the texts alone, has one unknown word for five of the six aspects."""
    folder = standins.write_multi_zol(tmp_path / "zol")
    run(tmp_path / "run", "--dataset", "multi_zol", "--data_dir", str(folder))
    processor = AutoProcessor.from_pretrained(tmp_path / "run")
    ids = processor(text=[""] * 6, aspect=standins.ASPECTS)["aspect_input_ids"].tolist()
    assert len(set(map(tuple, ids))) == 6
    assert not any(processor.tokenizer.unk_token_id in row for row in ids)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert list(model.config.id2label.values()) == ["1", "2", "3", "4", "5", "6", "8", "10"]


@pytest.mark.slow
def test_two_processes_score_as_one(tmp_path):
    # 1,080 posts are nine whole batches of 120; half of one a process. Without dropout the two must agree.
    argv = [
        "--model_kwargs",
        "dropout=0.0",
        "--num_train_epochs",
        "2",
        "--report_to",
        "none",
        "--disable_tqdm",
        "true",
    ]
    launcher = (sys.executable, "-m", "accelerate.commands.launch")
    for processes, batch_size, extra in ((1, "120", ()), (2, "60", ("--multi_gpu",))):
        settings = ["--output_dir", str(tmp_path / str(processes)), "--per_device_train_batch_size", batch_size]
        process(
            *argv,
            *settings,
            launcher=(*launcher, *extra, "--num_processes", str(processes)),
            ACCELERATE_USE_CPU="true",
        )
    one, two = (json.loads((tmp_path / name / "run.json").read_text()) for name in "12")
    assert (one["processes"], two["processes"]) == (1, 2)
    for split in ("validation", "test"):
        assert two["scores"][split]["accuracy"] == pytest.approx(one["scores"][split]["accuracy"], abs=0.02)
        assert len((tmp_path / "2" / f"predictions_{split}.jsonl").read_text().splitlines()) == 270


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(tmp_path):
    brief = ["--num_train_epochs", "1", "--per_device_train_batch_size", "128", "--disable_tqdm", "true"]
    for name in ("a", "b"):
        process("--output_dir", str(tmp_path / name), *brief)
    process("--output_dir", str(tmp_path / "c"), *brief, "--seed", "7")
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.slow
def test_the_default_model_uses_both_modalities(tmp_path):
    """5/9 is the most that a text or a picture alone can score, whatever reads it (see the corpus's card)."""

    def accuracy_of(modalities: str) -> float:
        folder = tmp_path / modalities
        process(
            "--output_dir", str(folder), "--modalities", modalities, "--report_to", "none", "--disable_tqdm", "true"
        )
        return json.loads((folder / "run.json").read_text())["scores"]["test"]["accuracy"]

    names = ("both", "text", "image")
    with ThreadPoolExecutor(2) as pool:  # of processes that wait: one alone would leave a core idle
        accuracy = dict(zip(names, pool.map(accuracy_of, names), strict=True))
    assert accuracy["text"] <= 5 / 9 + 1e-9
    assert accuracy["image"] <= 5 / 9 + 1e-9
    # 7/9: what two readers of one modality each get who guess where both are needed
    assert accuracy["both"] > 7 / 9

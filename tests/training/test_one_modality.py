"""An architecture that reads one modality: what is hidden from it, and what is not built, read or cached."""

import pytest
import tiny

from mmsent.modeling import ARCHITECTURES
from mmsent.training import presets
from mmsent.training.build import planned_config
from mmsent.training.checks import check_model
from mmsent.training.recipes import parse_arguments


def parse(*argv: str):
    return parse_arguments(["--architecture", "lstm", *argv], "")


def test_the_other_modality_is_hidden(capsys):
    assert parse()[1].modalities == parse("--modalities", "text")[1].modalities == "text"
    with pytest.raises(SystemExit):
        parse("--modalities", "image")
    assert "modalities=image: lstm reads only text" in capsys.readouterr().err


def test_an_encoder_that_is_not_read_is_not_built(backbones):
    processor, model = tiny.build("lstm", "own", backbones)
    model = type(model).from_backbones("word_vectors", "nowhere", processor.tokenizer)
    assert model.base_model.image_encoder is None
    assert planned_config(parse("--image_encoder", "nowhere")[0]).image_config == model.config.image_config


def test_only_an_encoder_that_is_read_can_be_cached():
    check_model(*parse("--cache_features", "--model_kwargs", "freeze_text=true"))
    with pytest.raises(ValueError, match="cache_features needs a frozen encoder"):
        check_model(*parse("--cache_features", "--model_kwargs", "freeze_image=true"))


def test_a_preset_chooses_no_encoder_that_is_not_read(monkeypatch, capsys):
    monkeypatch.setattr(presets, "missing_encoders", lambda arguments: [])
    monkeypatch.setattr(presets, "load_posts", lambda *_: None)
    monkeypatch.setattr(presets.Facts, "of", lambda posts: presets.Facts(3600, 1, 1, 0, 1, 1, "cpu"))
    model_args, data_args, _ = presets.parse_with_preset(["--preset", "balanced", "--architecture", "lstm"], "")
    assert "MiniLM" in model_args.text_encoder
    assert (model_args.image_encoder, model_args.model_kwargs) == ("small_cnn", ["freeze_text=true"])
    assert data_args.modalities == "text"
    assert "--image_encoder small_cnn\n      is not read" in capsys.readouterr().out


def test_the_rows_say_what_the_classes_read():
    for row in ARCHITECTURES.values():
        kinds = {"aspect": row.model.reads_aspect, "lexicon": "lexicon_scores" in row.model.further_inputs}
        assert row.reads == (*row.model.input_modalities, *filter(kinds.get, kinds))

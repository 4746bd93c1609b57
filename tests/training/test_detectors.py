"""SentiBank+SentiStrength over detectors of adjective-noun pairs, from a corpus to predictions."""

import json

import pytest
import torch
from standins import write_flickr_folder, write_posts
from transformers import pipeline

from mmsent.modeling.common_pipeline import TASK


@pytest.mark.slow
def test_detectors_are_trained_and_then_read(tmp_path, run):
    """One run learns the ANPs of photos; the next takes it as its frozen image encoder, and a lexicon file."""
    photos, table = write_flickr_folder(tmp_path / "vso"), write_posts(tmp_path / "posts")
    words = tmp_path / "words.txt"
    words.write_text("day\t3\nbad\t-4\n")
    source = ["--dataset", "vso", "--dataset_config", "anps", "--data_dir", str(photos), "--modalities", "image"]
    run(tmp_path / "anps", *source, "--architecture", "gated_fusion", "--model_kwargs", "branch=image")
    detectors = pipeline(TASK, model=str(tmp_path / "anps"))
    names = set(detectors.model.config.label2id)
    assert names == {"beautiful_flower", "beautiful_sky", "drab_city", "plain_wall"}

    argv = ["--dataset", str(table / "posts.csv"), "--architecture", "sentibank_sentistrength"]
    argv += ["--image_encoder", str(tmp_path / "anps"), "--model_kwargs", "freeze_image=true", "--cache_features"]
    argv += ["--features_dir", str(tmp_path / "features"), "--processor_kwargs", f"lexicon={words}"]
    run(tmp_path / "scores", *argv)
    words.unlink()
    classify = pipeline(TASK, model=str(tmp_path / "scores"))
    model, photo = classify.model, {"image": str(table / "photos" / "0.png")}
    assert (model.config.image_config.model_type, model.config.image_hidden_size) == ("class_scores", len(names))
    batch = classify.processor(text="My day", images=[photo["image"]])
    with torch.no_grad():
        scores = model.base_model.image_encoder(batch["pixel_values"][:, 0]).flatten()
    expected = {row["label"]: row["score"] for row in detectors(photo)}
    order = [detectors.model.config.id2label[index] for index in range(len(names))]
    assert scores.tolist() == pytest.approx([expected[name] for name in order], abs=1e-5)
    assert batch["lexicon_scores"].tolist() == [[3, -1]]
    assert len(classify({"text": "My day", **photo})) == 3
    settings = json.loads((tmp_path / "scores" / "settings.json").read_text())
    assert settings["architecture"] == "sentibank_sentistrength"

"""The combined classifiers (f), (g) and (h) of the MVSO study, trained on a trained and frozen text model."""

import pytest
import tiny
import torch
from datasets import Dataset
from safetensors.torch import load_file

from mmsent.dataset_scripts.common_schema import features
from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_loading import load_model, load_processor
from mmsent.training.arguments import RunArguments
from mmsent.training.collator import PostCollator
from mmsent.training.feature_cache import encode_features


@pytest.mark.parametrize("architecture", ["gated_fusion", "early_fusion"])
def test_a_frozen_text_branch_is_cached_as_one_vector_per_text(backbones, tmp_path, architecture):
    """The last states of a BiLSTM, or the mean over the tokens."""
    for part in tiny.build("gated_fusion", "own", backbones, branch="text", text_hidden=5):
        part.save_pretrained(tmp_path / "text")
    row = ARCHITECTURES[architecture]
    processor = row.processor.from_backbones(tmp_path / "text", "small_cnn")
    arguments = (tmp_path / "text", "small_cnn", processor.tokenizer, processor.image_size)
    model = row.classifier.from_backbones(*arguments, freeze_text=True)
    texts = ["a good day", "", "the coffee was bad and not so plain", "red"]
    post = {"images": [], "aspect": None, "label": 1, "text_label": None, "image_label": None}
    rows = [{"id": str(number), "text": text} | post for number, text in enumerate(texts)]
    posts, collator = Dataset.from_list(rows, features=features()), PostCollator(processor)
    args = RunArguments(output_dir=str(tmp_path / "run"), report_to="none")
    cached = encode_features(model, {"train": posts}, collator, args, tmp_path / "cache")["train"]
    assert [cached[number]["text_features"].shape for number in range(4)] == [(1, 10), (0, 10), (1, 10), (1, 10)]
    with torch.no_grad():
        plain, fast = (model.eval()(**collator([source[number] for number in range(4)])) for source in (posts, cached))
    torch.testing.assert_close(fast.fused, plain.fused, rtol=0, atol=1e-6)
    torch.testing.assert_close(fast.logits, plain.logits, rtol=0, atol=1e-6)


def weights(run) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def text_branch(run) -> dict[str, bytes]:
    """Return the bytes of the weights of a run's text branch, by the names that they have in the text model."""
    branch = {}
    for name, tensor in weights(run).items():
        name = name.replace("text_encoder.backbone.backbone.", "text_encoder.backbone.")
        name = name.replace("text_encoder.backbone.lstm.", "lstm.")
        if ".text_encoder." in name or ".lstm." in name:
            branch[name] = tensor.numpy().tobytes()
    return branch


@pytest.mark.slow
def test_the_recipes_train_the_fusion_on_the_trained_text_model(run, standins, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text(f"negative{' -1' * 50}\npositive{' 1' * 50}\n")
    corpus = ["--data_dir", str(standins.WRITERS["mvso"](tmp_path / "mvso", 140)), "--dataset_kwargs", "english=false"]
    cache = ["--cache_features", "--features_dir", str(tmp_path / "features")]

    def train(name, recipe, *argv) -> None:
        recipe = tiny.ROOT / f"configs/mvso/gated_fusion_{recipe}.yaml"
        run(tmp_path / name, "--config", str(recipe), *corpus, *argv)

    train("text", "text", "--row", "classes")  # (d)
    text = text_branch(tmp_path / "text")
    assert any(".lstm." in name for name in text)
    encoders = ["--text_encoder", str(tmp_path / "text"), "--image_encoder", "small_cnn"]
    train("concat", "combined", "--row", "concat", *encoders)  # (f)
    train("gated", "combined", "--row", "gl1_gl2_compressed_dropout", *encoders, *cache)  # (g)
    (tmp_path / "text").rename(tmp_path / "elsewhere")  # the new models do not need the first
    words = ["--init_from", str(tmp_path / "gated"), "--model_kwargs", f"label_vectors={vectors}"]
    train("embedding", "combined_embedding", "--row", "mse_5_epochs", *words, *cache)  # (h)
    for name in ("concat", "gated", "embedding"):
        assert text_branch(tmp_path / name) == text, name
    gates = [weights(tmp_path / name)["gated_fusion.text_gate.weight"] for name in ("gated", "embedding")]
    assert not torch.equal(gates[0], torch.ones(600))  # the fusion is trained
    assert not torch.equal(*gates)
    assert len(list((tmp_path / "features").glob("text-*"))) == 3  # (g) and (h) share an entry per split

    model, processor = load_model(tmp_path / "gated"), load_processor(tmp_path / "gated")
    assert model.config.freeze_text
    batch = processor(text=["Photo 1. word", None], images=[tiny.picture(1), None])
    model.train()(**batch, labels=torch.tensor([0, 1])).loss.backward()
    trained = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained == {name for name, _ in model.named_parameters() if "_encoder." not in name}

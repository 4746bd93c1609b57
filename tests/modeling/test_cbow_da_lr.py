"""CBOW+DA+LR against its equations step by step, and what is random in it."""

import numpy as np
import pytest
import torch
from by_hand import WORDS, features, linear, numpy, random_model, sigmoid

from mmsent.modeling.cbow_da_lr import CBOWDALRConfig, CBOWDALRForSequenceClassification, context_means

SIZE, IMAGE_SIZE, LABELS = 5, 3, torch.tensor([0, 1, 2, 1])


def build(**fields) -> CBOWDALRForSequenceClassification:
    return random_model("cbow_da_lr", SIZE, IMAGE_SIZE, 0.7, **{"window": 2, "code_size": 4, "noise": 0.0} | fields)


def batch() -> dict[str, torch.Tensor]:
    """Return posts with 6, 3, 1 and no words, and one, two, no and two images."""
    attention_mask = [[int(place < length) for place in range(6)] for length in (6, 3, 1, 0)]
    inputs = features(SIZE, IMAGE_SIZE, attention_mask, [[1, 0], [1, 1], [0, 0], [1, 1]])
    del inputs["text_features"]
    generator = torch.Generator().manual_seed(2)
    return inputs | {"input_ids": torch.randint(1, WORDS, (4, 6), generator=generator)}


def slow_contexts(words: np.ndarray, window: int) -> tuple[list[np.ndarray], list[bool]]:
    """Return the mean of the context of each word, and whether there is one."""
    contexts = [
        [words[other] for other in range(len(words)) if other != place and abs(other - place) <= window]
        for place in range(len(words))
    ]
    means = [np.mean(context, 0) if context else words[place] for place, context in enumerate(contexts)]
    return means, [bool(context) for context in contexts]


def slow(model, inputs: dict[str, torch.Tensor], drawn: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the logits, the loss of CBOW with these words drawn (B, L, N), and the loss of the autoencoder."""
    base, config = model.cbow_da_lr, model.config
    table, outputs = numpy(base.text_encoder.backbone.weight), numpy(base.output_vectors.weight)
    logits, of_words, of_images = [], [], []
    for post in range(4):
        ids = inputs["input_ids"][post][inputs["attention_mask"][post].bool()].numpy()
        means, has_context = slow_contexts(table[ids], config.window)
        for place, (mean, has) in enumerate(zip(means, has_context, strict=True)):
            if has:
                others = [word for word in drawn[post, place] if word != ids[place]]
                loss = -np.log(sigmoid(outputs[ids[place]] @ mean))
                of_words.append(loss - sum(np.log(sigmoid(-outputs[word] @ mean)) for word in others))
        images = inputs["image_features"][post][inputs["image_mask"][post]].numpy()
        code = np.zeros(config.code_size)
        if len(images):
            image = images.mean((0, 1))
            code = sigmoid(linear(base.autoencoder.encoder, image))
            output = numpy(base.autoencoder.encoder.weight).T @ code + numpy(base.autoencoder.output_bias)
            of_images.append(((output - image) ** 2).mean())
        text = np.mean(means, 0) if means else np.zeros(SIZE)
        logits.append(linear(model.classifier, np.concatenate([text, code])))
    return np.array(logits), np.mean(of_words), np.mean(of_images)


def test_equations(monkeypatch):
    model, inputs = build(cbow_weight=0.3, autoencoder_weight=0.7), batch()
    drawn = torch.randint(0, 6, (4 * 6 * 5,), generator=torch.Generator().manual_seed(3))  # words of the first post
    monkeypatch.setattr(torch, "multinomial", lambda *args, **kwargs: drawn)
    logits, of_words, of_images = slow(model, inputs, inputs["input_ids"][0][drawn].view(4, 6, 5).numpy())
    inputs["image_features"] = inputs["image_features"].mean(2, keepdim=True)
    with torch.no_grad():
        output = model.train()(**inputs, labels=LABELS)
        regression = model.classification_loss(output.logits, LABELS)
        np.testing.assert_allclose(output.logits.numpy(), logits, rtol=1e-5, atol=1e-5)
        assert output.cbow_loss.item() == pytest.approx(of_words, rel=1e-5)
        assert output.autoencoder_loss.item() == pytest.approx(of_images, rel=1e-5)
        assert output.loss.item() == pytest.approx(regression.item() + 0.3 * of_words + 0.7 * of_images, rel=1e-5)
        assert model.eval()(**inputs, labels=LABELS).loss == regression


def test_words_are_drawn_from_the_texts_of_the_batch(monkeypatch):
    model, inputs, drawn = build().train(), batch(), []
    multinomial = torch.multinomial
    monkeypatch.setattr(
        torch, "multinomial", lambda *args, **kwargs: drawn.append(multinomial(*args, **kwargs)) or drawn[0]
    )
    model(**inputs)
    assert len(drawn[0]) == 4 * 6 * 5
    assert set(drawn[0].tolist()) == set(inputs["attention_mask"].flatten().nonzero().flatten().tolist())


def test_what_is_random_comes_from_torch_and_in_training_only():
    model, inputs = build(noise=0.5), batch()
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(model.train()(**inputs, labels=LABELS).loss.item())
    assert losses[0] == losses[1] != losses[2]
    output = model.eval()(**inputs)
    assert (output.cbow_loss, output.autoencoder_loss) == (None, None)
    state = torch.random.get_rng_state()
    assert torch.equal(model(**inputs).logits, output.logits)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_padding_is_in_no_context():
    tokens = torch.tensor([[[1.0], [2.0], [4.0], [100.0]], [[3.0], [100.0], [100.0], [100.0]]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool()
    means, has_context = context_means(tokens, mask, 1)
    assert means[mask].flatten().tolist() == [2, 2.5, 2, 3]
    assert has_context.tolist() == [[True, True, True, False], [False] * 4]


def test_a_frozen_or_contextual_text_encoder_has_no_cbow(backbones):
    assert build(freeze_text=True).cbow_da_lr.output_vectors is None
    config = CBOWDALRConfig(text_config={"model_type": "bert", "hidden_size": 16})
    assert not config.predicts_words


def test_the_noise_is_a_share():
    with pytest.raises(ValueError, match=r"noise=1\.0: give a share below 1"):
        CBOWDALRConfig(noise=1.0)

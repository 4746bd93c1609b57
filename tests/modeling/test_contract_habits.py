"""The contract of every architecture, part 3: it behaves as a model of transformers.

These are the properties that transformers' own `ModelTesterMixin` checks and that apply to a classifier of posts. What
the other two parts check already is named there: batching equivalence, loading, training, export.

| ModelTesterMixin | here |
|---|---|
| forward_signature, model_main_input_name | test_signature |
| determinism, model_outputs_equivalence | test_output |
| save_load, can_use_safetensors | test_sharded_weights |
| correct_missing_keys, can_init_all_missing_weights | test_a_base_model_gets_a_new_head |
| load_with_mismatched_shapes | test_another_number_of_classes |
| bc_torch_dtype, keep dtype | test_dtype, test_cast |
| sdpa_can_dispatch_composite_models, eager_matches_sdpa_inference | test_attention_implementation |
| device_map on a CPU | test_device_map |
| model_get_set_embeddings, resize_tokens_embeddings | test_token_embeddings, test_resized_token_embeddings |
| gradient_checkpointing_enable_disable, training_gradient_checkpointing | test_activation_checkpointing |
| num_parameters | test_number_of_parameters |
| push_to_hub | test_push_to_hub |

Not applicable: generation, caches, hidden states, tied weights, `inputs_embeds`, pruning, and chunking. Not tested:
model_parallelism, which needs GPUs, and cpu_offload, which some encoders do not support.
"""

import inspect
import json
import subprocess
import sys

import local_hub
import pytest
import tiny
import torch
from tiny import logits
from transformers import AutoModel, Trainer, TrainingArguments
from transformers import AutoModelForSequenceClassification as AutoClassifier

LABELS = torch.arange(6) % 3


def backbones_of(model) -> list[torch.nn.Module]:
    return [encoder.backbone for part in ("text", "image") for encoder in model.encoders(part).values()]


def is_checkpointing(backbone: torch.nn.Module) -> bool:
    timm_model = getattr(backbone, "timm_model", None)
    return backbone.is_activation_checkpointing if timm_model is None else timm_model.grad_checkpointing


@tiny.every_row()
def test_signature(built, model):
    inputs = ["input_ids", "attention_mask", "aspect_input_ids", "aspect_attention_mask", "pixel_values", "image_mask"]
    inputs += ["text_features", "image_features"]
    assert list(inspect.signature(model.base_model.forward).parameters) == [*inputs, "kwargs"]
    labels = ["labels", "text_labels", "image_labels"]
    assert list(inspect.signature(model.forward).parameters) == [*inputs, *labels, "kwargs"]
    assert set(built[0].model_input_names) <= {*inputs, *model.further_inputs}
    assert model.main_input_name == inputs[0]


@tiny.every_row()
@torch.no_grad()
def test_output(model, batch):
    """It is the same at every call, has a loss only with labels, and is a tuple on request."""
    output = model(**batch)
    assert output.loss is None
    assert torch.equal(output.logits, model(**batch).logits)
    labelled = model(**batch, labels=LABELS)
    as_tuple = model(**batch, labels=LABELS, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], labelled.loss)
    assert torch.equal(as_tuple[1], output.logits)
    model.config.return_dict = False
    assert torch.equal(model(**batch)[0], output.logits)
    base_output = model.base_model(**batch, return_dict=True)
    assert base_output.logits is None
    assert torch.equal(base_output.fused, output.fused)


@tiny.every_row()
def test_sharded_weights(model, batch, tmp_path):
    model.save_pretrained(tmp_path, max_shard_size=2 * model.num_parameters())  # half of its bytes
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert torch.equal(logits(AutoClassifier.from_pretrained(tmp_path), batch), logits(model, batch))


@tiny.every_row()
def test_a_base_model_gets_a_new_head(model, batch, tmp_path):
    model.base_model.save_pretrained(tmp_path)
    torch.manual_seed(0)
    loaded, info = AutoClassifier.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"]
    assert not [name for name in info["missing_keys"] if not name.startswith(("classifier.", "fused_layers."))]
    assert torch.equal(loaded.eval()(**batch).fused, model(**batch).fused)
    torch.manual_seed(0)
    again = AutoClassifier.from_pretrained(tmp_path)
    assert torch.equal(logits(again, batch), logits(loaded, batch))


@tiny.every_row()
def test_another_number_of_classes(folder, batch):
    model = AutoClassifier.from_pretrained(folder, num_labels=5, ignore_mismatched_sizes=True)
    assert logits(model, batch).shape == (6, 5)
    assert len(model.config.id2label) == len(model.config.label2id) == 5


@tiny.every_row()
@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_dtype(folder, model, batch, name):
    loaded = AutoClassifier.from_pretrained(folder, **{name: torch.bfloat16})
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(logits(loaded, batch).float(), logits(model, batch), rtol=0.1, atol=0.1)
    loaded.train()(**batch, labels=LABELS).loss.backward()
    assert all(p.grad.isfinite().all() for p in loaded.parameters() if p.grad is not None)


@tiny.every_row()
@pytest.mark.parametrize("cast", ["half", "bfloat16"])
def test_cast(model, batch, cast):
    assert logits(getattr(model, cast)(), batch).isfinite().all()


@tiny.every_row()
def test_device_map(folder, model, batch):
    assert torch.equal(logits(AutoClassifier.from_pretrained(folder, device_map="auto"), batch), logits(model, batch))


@tiny.every_row()
def test_attention_implementation(folder, model, batch):
    for implementation in ("eager", "sdpa"):
        loaded = AutoClassifier.from_pretrained(folder, attn_implementation=implementation)
        configs = [backbone.config for backbone in backbones_of(loaded) if hasattr(backbone, "config")]
        assert all(config._attn_implementation == implementation for config in configs)
        torch.testing.assert_close(logits(loaded, batch), logits(model, batch), rtol=0, atol=1e-5)


@tiny.every_row()
def test_number_of_parameters(architecture, model):
    count = sum(parameter.numel() for parameter in model.parameters())
    assert model.num_parameters() == model.num_parameters(only_trainable=True) == count
    assert (model.num_parameters(exclude_embeddings=True) < count) == ("text" in tiny.reads(architecture))
    modality = tiny.reads(architecture)[-1]
    setattr(model.config, f"freeze_{modality}", True)
    encoders = model.train().encoders(modality).values()
    frozen = sum(parameter.numel() for encoder in encoders for parameter in encoder.parameters())
    assert model.num_parameters(only_trainable=True) == count - frozen


@tiny.every_row(reading="text")
def test_token_embeddings(model, batch):
    embeddings = model.get_input_embeddings()
    assert embeddings.weight.shape == (model.config.text_config.vocab_size, model.config.text_hidden_size)
    before = logits(model, batch)
    replacement = torch.nn.Embedding(*embeddings.weight.shape)
    model.set_input_embeddings(replacement)
    assert model.get_input_embeddings().weight is model.base_model.get_input_embeddings().weight is replacement.weight
    assert not torch.equal(logits(model, batch), before)


@tiny.every_row(reading="text")
def test_resized_token_embeddings(model, batch, tmp_path):
    before, size = logits(model, batch), model.config.text_config.vocab_size
    assert model.resize_token_embeddings(size + 3).num_embeddings == size + 3
    model.save_pretrained(tmp_path)
    loaded = AutoClassifier.from_pretrained(tmp_path)
    assert loaded.config.text_config.vocab_size == loaded.get_input_embeddings().weight.shape[0] == size + 3
    batch["input_ids"][0, 0] = size + 2  # a new token
    assert torch.equal(logits(loaded, batch)[1:], before[1:])
    loaded.resize_token_embeddings(size)
    assert loaded.config.text_config.vocab_size == loaded.get_input_embeddings().num_embeddings == size


def test_a_model_that_does_not_read_text_has_no_token_embeddings(backbones):
    _, model = tiny.build("deep_fusion", "own", backbones, branch="image")
    with pytest.raises(NotImplementedError, match="does not read text"):
        model.get_input_embeddings()


@tiny.every_row()
def test_activation_checkpointing(model, batch, encoders):
    if encoders == "own":
        with pytest.raises(ValueError, match="trained transformer or timm backbone"):
            model.activation_checkpointing_enable()
        return
    gradients = []
    for change in (None, model.activation_checkpointing_enable, model.activation_checkpointing_disable):
        if change is not None:
            change()
        is_enabled = change == model.activation_checkpointing_enable
        assert {is_checkpointing(backbone) for backbone in backbones_of(model)} == {is_enabled}
        torch.manual_seed(0)
        model.train().zero_grad()
        model(**batch, labels=LABELS).loss.backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        for other in gradients[1:]:
            torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("argument", ["gradient_checkpointing", "activation_checkpointing"])
def test_trainer_enables_checkpointing(backbones, tmp_path, argument):
    processor, model = tiny.build("comn", "transformers", backbones)
    posts = [{name: values[row] for name, values in tiny.posts().items()} for row in range(6)]

    def collate(rows: list[dict]) -> dict:
        return dict(processor(**{name: [row[name] for row in rows] for name in rows[0]})) | {"labels": LABELS}

    options = {"max_steps": 1, "per_device_train_batch_size": 6, "remove_unused_columns": False, "use_cpu": True}
    args = TrainingArguments(tmp_path, **options, **{argument: True})
    Trainer(model, args, data_collator=collate, train_dataset=posts).train()
    assert all(is_checkpointing(backbone) for backbone in backbones_of(model))


PUSH = """
import json, sys
import mmsent, torch
from transformers import AutoModelForSequenceClassification as AutoClassifier
from transformers import AutoProcessor
folder, posts = sys.argv[1], json.loads(sys.argv[2])
torch.set_grad_enabled(False)
model, processor = AutoClassifier.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
model.push_to_hub("tester/model")
processor.push_to_hub("tester/model")
expected = model(**processor(**posts)).logits
for arguments in ({"revision": "main"}, {"local_files_only": True}):
    loaded = AutoClassifier.from_pretrained("tester/model", **arguments)
    batch = AutoProcessor.from_pretrained("tester/model", **arguments)(**posts)
    assert torch.equal(loaded(**batch).logits, expected)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "encoders"), [("mimn", "own"), ("mdse", "timm")])
def test_push_to_hub(built, folder, tmp_path):
    built[0].save_pretrained(folder)
    posts = json.dumps({"text": ["good day", "bad day"], "aspect": ["coffee", None]})
    with local_hub.Hub() as hub:
        environment = local_hub.environment(hub, tmp_path / "home", HF_TOKEN=local_hub.SECRET)
        subprocess.run([sys.executable, "-c", PUSH, str(folder), posts], env=environment, check=True)
        assert {"model.safetensors", "tokenizer.json"} <= set(hub.repositories["model", "tester/model"].files)
    assert AutoModel.from_pretrained(folder).config.model_type == built[1].config.model_type

"""Low-rank adapters (LoRA, Hu et al. 2021) on the attention of pretrained encoders; the rest is trained whole.

What is trained is small beside the backbones, so checkpoints hold it alone. A finished run has the model with the
adapter merged in, as any run does, and `adapter/`: the adapter beside the weights that it was trained on.
"""

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_encoders import OWN_ENCODERS

ADAPTER = "adapter"
# Queries and values, by the names that they have in BERT and RoBERTa, in DistilBERT, in ViT and CLIP; timm has all
# three in one.
ATTENTION = ("query", "value", "q_lin", "v_lin", "q_proj", "v_proj", "qkv")


def add_adapter(model: MultimodalPreTrainedModel, rank: int, alpha: float | None = None) -> PeftModel:
    """Put an adapter on every pretrained encoder with attention that is not frozen.

    Everything else but the backbones is trained as ever and becomes part of the adapter, encoders that begin from
    nothing included. A pretrained backbone without attention keeps its weights: its `freeze_` field is set.

    Args:
        rank: of the two matrices that are added to each query and value.
        alpha: the adapter's output counts alpha / rank; twice the rank unless given.

    Raises:
        ValueError: no encoder has attention to adapt.
    """
    base, config = model.base_model, model.config
    kept_whole = [encoder for encoder in (base.text_encoder, base.image_encoder) if encoder is not None]
    targets, statistics = [], []
    for part in ("text", "image"):
        encoder = getattr(base, f"{part}_encoder")
        if encoder is None or getattr(config, f"freeze_{part}"):
            continue
        if getattr(config, f"{part}_config").model_type in OWN_ENCODERS:
            kept_whole.remove(encoder)
            continue
        inside = [(name, module) for name, module in model.named_modules() if f"{part}_encoder.backbone." in name]
        found = [name for name, module in inside if name.rpartition(".")[2] in ATTENTION and _is_linear(module)]
        targets += found
        statistics += [name for name, module in inside if found and isinstance(module, _BatchNorm)]
        setattr(config, f"freeze_{part}", not found)
    if not targets:
        raise ValueError(
            f"lora_rank={rank}: no encoder that is trained has attention with layers named {', '.join(ATTENTION)}. "
            "Choose a transformer as text_encoder or image_encoder, or leave lora_rank out."
        )
    lora = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=targets,
        modules_to_save=[*_trained_whole(model, kept_whole), *statistics],
    )
    adapted = get_peft_model(model, lora)
    lora.base_model_name_or_path = None  # it is in the adapter's own folder
    return adapted.train()


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d)


def _trained_whole(module: nn.Module, but: list[nn.Module], prefix: str = "") -> list[str]:
    """Names of the largest modules with weights or statistics that contain none of `but`.

    Lists and dictionaries of modules are entered: peft cannot save them as they are.
    """
    names = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        divided = isinstance(child, nn.ModuleList | nn.ModuleDict) or any(part in but for part in child.modules())
        if child in but or not child.state_dict():
            continue
        names += _trained_whole(child, but, f"{path}.") if divided else [path]
    return names


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter and its base: `AutoModelForSequenceClassification.from_pretrained(folder)` reads both, and
    `adapter_model.safetensors` alone is what the training made.

    The base has the adapted model's classes and sizes; of what is trained whole, its weights are those before the
    training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = model.get_base_model()
    of_adapter = (".lora_", ".modules_to_save.")
    weights = {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): value
        for name, value in base.state_dict().items()
        if not any(part in name for part in of_adapter)
    }
    base.save_pretrained(folder, state_dict=weights)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()  # peft's, with nothing filled in

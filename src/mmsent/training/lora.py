"""Train low-rank adapters (LoRA, Hu et al. 2021) on the attention of pretrained encoders, and all other layers whole.

The trained weights are few beside those of the backbones, so checkpoints hold only the trained weights. A finished
run has the model with the adapter merged into it, and the folder `adapter/` with the adapter and its base model.
"""

from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_encoders import OWN_ENCODERS
from mmsent.modeling.common_loading import follow_umask

# The layers of queries and values in BERT and RoBERTa, in DistilBERT, in ViT and CLIP, and in timm, which has one
# layer for both and the keys.
ATTENTION = ("query", "value", "q_lin", "v_lin", "q_proj", "v_proj", "qkv")


def add_adapter(model: MultimodalPreTrainedModel, rank: int, alpha: float | None = None) -> PeftModel:
    """Add an adapter, scaled by alpha / rank, to every pretrained encoder that has attention and is not frozen.

    All layers outside of the pretrained backbones are trained whole and become part of the adapter. So do encoders
    that are not pretrained. A pretrained backbone without attention is frozen: its `freeze_` field is set.

    Raises:
        ValueError: If no encoder can be adapted, or if a part of the image encoders would have to be frozen.
    """
    config = model.config
    not_whole, targets, statistics = [], [], []
    for modality in ("text", "image"):
        encoders, is_trained = model.encoders(modality), {}
        not_whole += encoders.values()
        if getattr(config, f"freeze_{modality}"):
            continue
        for name, encoder in encoders.items():
            if getattr(config, f"{name}_config").model_type in OWN_ENCODERS:
                not_whole.remove(encoder)
                is_trained[name] = True
                continue
            layers = [(path, layer) for path, layer in model.named_modules() if f"{name}_encoder.backbone." in path]
            linear = [path for path, layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
            attention = [path for path in linear if path.rpartition(".")[2] in ATTENTION]
            targets += attention
            statistics += [path for path, layer in layers if attention and isinstance(layer, _BatchNorm)]
            is_trained[name] = bool(attention)
        if len(set(is_trained.values())) > 1:
            frozen = ", ".join(name for name in is_trained if not is_trained[name])
            raise ValueError(
                f"lora_rank={rank}: the encoder {frozen} has no attention and would be frozen, which only all image "
                "encoders can be together. Choose a transformer, or leave lora_rank out."
            )
        if is_trained:
            setattr(config, f"freeze_{modality}", not any(is_trained.values()))
    if not targets:
        raise ValueError(
            f"lora_rank={rank}: no encoder that is trained has attention with layers named {', '.join(ATTENTION)}. "
            "Choose a transformer as text_encoder or image_encoder, or leave lora_rank out."
        )
    lora = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=targets,
        modules_to_save=[*_whole_modules(model, not_whole), *statistics],
    )
    adapted = get_peft_model(model, lora)
    lora.base_model_name_or_path = None  # the base model is saved in the adapter's own folder
    return adapted.train()


def _whole_modules(module: nn.Module, excluded: list[nn.Module], prefix: str = "") -> list[str]:
    """Return the names of the largest modules that have weights or statistics and contain no excluded module.

    Lists and dictionaries of modules are named by their entries, because peft cannot save them as one.
    """
    names = []
    for name, child in module.named_children():
        if child in excluded or not child.state_dict():
            continue
        path = f"{prefix}{name}"
        is_container = isinstance(child, nn.ModuleList | nn.ModuleDict)
        if is_container or any(descendant in excluded for descendant in child.modules()):
            names += _whole_modules(child, excluded, f"{path}.")
        else:
            names.append(path)
    return names


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Save the adapter and its base model.

    `AutoModelForSequenceClassification.from_pretrained(folder)` loads both. The base model has the classes and sizes
    of the adapted model; the layers that are trained whole have their weights from before the training in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    base = model.get_base_model()
    weights = {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): value
        for name, value in base.state_dict().items()
        if not any(mark in name for mark in (".lora_", ".modules_to_save."))
    }
    base.save_pretrained(folder, state_dict=weights)
    model.save_pretrained(folder)
    follow_umask(folder)
    (folder / "README.md").unlink()  # peft's template, which nobody has filled in

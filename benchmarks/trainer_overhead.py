"""Compare a training step of Trainer with a plain PyTorch loop on the same batches of features.

    python benchmarks/trainer_overhead.py [--output benchmarks/trainer_overhead.json]

The batches are random features in the sizes of MiniLM (384) and EfficientNet-Lite0 (49 regions of 1,280). Both loops
clip gradients and use AdamW. They take turns within one process.
"""

import statistics
import tempfile
import time

import torch
from common_report import parser_of, write_report
from transformers import TrainerCallback

from mmsent.modeling import ARCHITECTURES
from mmsent.modeling.common_cnns import SmallCNNConfig
from mmsent.modeling.common_word_vectors import WordVectorsConfig
from mmsent.training.arguments import RunArguments
from mmsent.training.trainer import MultimodalTrainer

HEADS = {
    "mdse, batches of 64": ("mdse", 64, {"hidden_size": 384, "num_attention_heads": 8}, 12),
    "comn, batches of 64": ("comn", 64, {}, 12),
    "comn on small features, batches of 32": ("comn", 32, {}, 60),
}
REPEATS = 3


def make_batches(size: int, small: bool, count: int) -> list[dict[str, torch.Tensor]]:
    """Return batches of features, of which four differ. Trainer reads each as if it were one post."""
    generator = torch.Generator().manual_seed(0)
    text, regions, image = (100, 16, 128) if small else (384, 49, 1280)
    batches = [
        {
            "text_features": torch.randn(size, 24, text, generator=generator),
            "attention_mask": torch.ones(size, 24, dtype=torch.long),
            "image_features": torch.randn(size, 1, regions, image, generator=generator),
            "image_mask": torch.ones(size, 1, dtype=torch.bool),
            "labels": torch.randint(0, 3, (size,), generator=generator),
        }
        for _ in range(4)
    ]
    return [batches[index % 4] for index in range(count)]


class Clock(TrainerCallback):
    def __init__(self):
        self.times = []

    def on_step_end(self, args, state, control, **kwargs):
        self.times.append(time.perf_counter())


def trainer_steps(model: torch.nn.Module, batches: list[dict]) -> list[float]:
    """Return how many seconds each step of Trainer takes, the first one excepted."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
        settings |= {"logging_strategy": "no", "report_to": "none", "disable_tqdm": True, "use_cpu": True}
        args = RunArguments(folder, max_steps=len(batches), per_device_train_batch_size=1, **settings)
        collate = lambda rows: rows[0]  # noqa: E731
        MultimodalTrainer(model, args, collate, batches, callbacks=[clock]).train()
    return [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]


def bare_steps(model: torch.nn.Module, batches: list[dict]) -> list[float]:
    """Return how many seconds each step of the plain loop takes, the first one excepted."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer, times = torch.optim.AdamW(trained, lr=1e-3, fused=True), []
    for batch in batches:
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter())
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def measure(architecture: str, size: int, kwargs: dict, steps: int, small: bool) -> dict:
    row, batches = ARCHITECTURES[architecture], make_batches(size, small, steps + 1)
    text, channels = (100, (16, 32, 64, 128)) if small else (384, (16, 32, 64, 1280))
    torch.manual_seed(0)
    model = row.classifier(
        row.config(
            text_config=WordVectorsConfig(vocab_size=10, hidden_size=text),
            image_config=SmallCNNConfig(image_size=64 if small else 112, channels=channels),
            freeze_text=True,
            freeze_image=True,
            **kwargs,
        )
    )
    seconds = {"trainer": [], "bare": []}
    for _ in range(REPEATS):
        seconds["bare"].append(statistics.median(bare_steps(model, batches)))
        seconds["trainer"].append(statistics.median(trainer_steps(model, batches)))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "milliseconds_per_step": {name: round(1000 * value, 2) for name, value in medians.items()},
        "by_repeat": {name: [round(1000 * value, 2) for value in values] for name, values in seconds.items()},
        "overhead_percent": round(100 * (medians["trainer"] / medians["bare"] - 1), 1),
        "overhead_milliseconds": round(1000 * (medians["trainer"] - medians["bare"]), 2),
    }


def main() -> None:
    args = parser_of(__file__, __doc__).parse_args()
    figures = {
        name: measure(architecture, size, kwargs, steps, small="small" in name)
        for name, (architecture, size, kwargs, steps) in HEADS.items()
    }
    write_report(args, figures, repeats=REPEATS)


if __name__ == "__main__":
    main()

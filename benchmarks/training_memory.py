"""Measure how the peak memory of train.py grows with the posts of its corpus.

    python benchmarks/training_memory.py [--output benchmarks/training_memory.json]

The corpora are generated posts with one image each, in the layout of VSO. Each run has a process of its own, which
screens the images, counts the words of all training texts, trains 50 steps and predicts the whole test split. Memory
is the peak of the resident set, imports included.
"""

import io
import statistics
import tempfile
from pathlib import Path

from common_report import parser_of, run_child, write_report
from corpus_build import write_vso
from PIL import Image

ROOT = Path(__file__).parents[1]
SIZES = (5_000, 50_000)
REPEATS = 3
CHILD = """
import json, resource, sys
import train
imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
train.main()
print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "imports_mib": imports}))
"""
ARGUMENTS = ["--dataset", "vso", "--dataset_config", "deep_fusion", "--max_steps", "50", "--disable_tqdm", "true"]
ARGUMENTS += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]
ARGUMENTS += ["--processor_kwargs", "image_size=32", "--per_device_train_batch_size", "16", "--overwrite"]


def write_posts(folder: Path, posts: int) -> None:
    """Write the corpus of `write_vso` with images that can be decoded."""
    write_vso(folder, posts)
    buffer = io.BytesIO()
    Image.effect_noise((48, 32), 60).convert("RGB").save(buffer, format="JPEG")
    for post in range(posts):
        (folder / "images" / f"{post}.jpg").write_bytes(buffer.getvalue())


def measure(folder: Path, run: Path) -> dict:
    """Train in a new process and return the peak memory after imports and at the end, in MiB."""
    variables = {"PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(folder / "cache")}
    return run_child(CHILD, *ARGUMENTS, "--data_dir", folder, "--output_dir", run, **variables)


def main() -> None:
    args = parser_of(__file__, __doc__).parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        for size in SIZES:
            folder = Path(temporary, str(size))
            write_posts(folder, size)
            measure(folder, folder / "run")  # builds the corpus
            runs = [measure(folder, folder / "run") for _ in range(REPEATS)]
            figures[str(size)] = {
                name: round(statistics.median(run[name] for run in runs), 1) for name in ("peak_mib", "imports_mib")
            }
    small, large = (figures[str(size)]["peak_mib"] for size in SIZES)
    figures["ratio_of_peak_memory"] = round(large / small, 3)
    write_report(args, figures, repeats=REPEATS)


if __name__ == "__main__":
    main()

"""Choose the architecture, the encoders and the schedule of a run from its corpus and the hardware.

`--preset fast` needs no pretrained encoder, `balanced` reads a post with two small frozen ones, and `best` trains the
encoders too. A choice is printed as the arguments that say the same; the command line and a recipe override it.
"""

import math
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, constants, try_to_load_from_cache

from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.dataset_scripts.common_language import language
from mmsent.modeling import ARCHITECTURES

from .arguments import DataArguments, ModelArguments, RunArguments
from .posts import RunPosts, load_posts
from .recipes import parse_arguments

LANGUAGE_TEXTS = 500  # number of training texts that decide the language
ENGLISH = 0.9  # share of English texts from which an English encoder is chosen
FEW = 0.01  # A modality that fewer posts have is not read.
MAX_IMAGES = 6
LARGE = 50_000  # posts, from which training an encoder on a CPU takes days
TEXT_ENCODERS = {  # (preset on this hardware, whether the texts are English) -> Hub id
    ("small", True): "sentence-transformers/all-MiniLM-L6-v2",
    ("small", False): "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    ("base", True): "FacebookAI/roberta-base",
    ("base", False): "FacebookAI/xlm-roberta-base",
}
# (encoders, whether the model reads an aspect) -> number of steps, fewest and most epochs. Models that read an aspect
# learn later what text and images say together: see results/sample_posts.
SCHEDULES = {
    ("from scratch", False): (400, 3, 20),
    ("from scratch", True): (1000, 3, 20),
    ("frozen", False): (400, 3, 20),
    ("frozen", True): (1000, 3, 30),
    ("trained", False): (250, 2, 8),
    ("base", False): (1000, 3, 10),
    ("base", True): (1000, 3, 10),
}
IMAGE_ENCODERS = {"small": "timm/efficientnet_lite0.ra_in1k", "base": "google/vit-base-patch16-224-in21k"}


@dataclass
class Facts:
    """What a preset looks at.

    Attributes:
        posts: The number of training posts.
        with_text: The share of training posts with a text; `with_image` and `with_aspect` likewise.
        images: The number of images that 95 % of the posts with images do not exceed.
        english: The share of English among the texts that are long enough to tell.
        device: "cpu", or the type of the accelerator.
    """

    posts: int
    with_text: float
    with_image: float
    with_aspect: float
    images: int
    english: float
    device: str

    @classmethod
    def of(cls, posts: RunPosts) -> "Facts":
        """Count the training posts."""
        train = posts.outlines["train"]
        counts = sorted(filter(None, map(len, undecoded(train)["images"])))
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return cls(
            len(train),
            sum(bool((text or "").strip()) for text in train["text"]) / len(train),
            len(counts) / len(train),
            sum(map(bool, train["aspect"])) / len(train),
            counts[math.ceil(0.95 * len(counts)) - 1] if counts else 0,
            english_share(filter(None, train["text"])),
            "cpu" if accelerator is None else accelerator.type,
        )

    def __str__(self) -> str:
        parts = {"a text": self.with_text, "images": self.with_image, "an aspect": self.with_aspect}
        shares = ", ".join(f"{share:.0%} with {part}" for part, share in parts.items())
        return f"{self.posts:,} training posts ({shares}; {self.english:.0%} in English), device {self.device}"


def english_share(texts: Iterable[str]) -> float:
    """Return the share of English among the first texts without links and mentions; 1.0 if all are too short."""
    languages = Counter()
    for text in texts:
        if code := language(text):
            languages[code] += 1
        if languages.total() == LANGUAGE_TEXTS:
            break
    return languages["en"] / languages.total() if languages else 1.0


def epochs(encoders: str, aspect: bool, posts: int, batch_size: int = 32) -> tuple[float, str]:
    """Return the number of epochs of a schedule for a number of posts, and why."""
    steps, fewest, most = SCHEDULES[encoders, aspect]
    count = min(most, max(fewest, round(steps * batch_size / posts)))
    return float(count), f"about {steps} steps, and {fewest} to {most} epochs, for {posts:,} posts"


def choose(preset: str, facts: Facts) -> dict[str, tuple[Any, str]]:
    """Return the value of each argument that a preset sets, and why."""
    text, image = facts.with_text >= FEW, facts.with_image >= FEW
    if not text and not image:
        raise ValueError("preset: fewer than one training post in a hundred has a text or an image.")
    aspect = facts.with_aspect >= 0.5 and text
    size = "base" if preset == "best" and facts.device != "cpu" else "small"
    model = {}
    if not (text and image):
        branch = "text" if text else "image"
        choice = {
            "modalities": (branch, f"few posts have anything but {'a text' if text else 'images'}"),
            "architecture": ("gated_fusion", f"its branch {branch} reads nothing else"),
        }
        model |= {"branch": branch, "fused_hidden": "[]"}
    elif aspect:
        choice = {"architecture": ("mimn", "it reads an aspect, and several images")}
    elif preset == "fast":
        choice = {"architecture": ("comn", "it learns what text and image say together without pretrained encoders")}
    else:
        choice = {"architecture": ("mdse", "the highest accuracy on MVSA-Single dev, see docs/results.md")}
        model |= {"num_attention_heads": "8", "contrastive": "none"}
    if preset == "fast":
        choice |= {
            "text_encoder": ("word_vectors", "needs no download"),
            "image_encoder": ("small_cnn", "needs no download"),
            "num_train_epochs": epochs("from scratch", aspect, facts.posts),
        }
    else:
        choice |= _pretrained(preset, size, aspect, facts, model)
    if image and facts.images > 1:
        images = min(facts.images, MAX_IMAGES)
        choice["processor_kwargs"] = (
            [f"max_images={images}"],
            "95 % of the posts have no more, or memory for no more",
        )
    if model:
        words = [f"{name}={value}" for name, value in model.items()]
        choice["model_kwargs"] = (words, "settings of the architecture and of what is trained")
    return choice


def _pretrained(preset: str, size: str, aspect: bool, facts: Facts, model: dict) -> dict[str, tuple[Any, str]]:
    """Return the encoders and the schedule of a preset with pretrained encoders, and set what is frozen in `model`."""
    text, image = (share >= FEW for share in (facts.with_text, facts.with_image))
    english = facts.english >= ENGLISH
    language = "the texts are English" if english else "the texts are in several languages, or not in English"
    # With an aspect, a trained small encoder takes hours on a CPU and has not been better than a frozen one there.
    trains_text = preset == "best" and text and (size == "base" or (facts.posts < LARGE and not aspect))
    trains_image = preset == "best" and size == "base" and image
    # The encoder of a modality that is not read is not built, so that its name does not matter.
    choice = {
        "text_encoder": (TEXT_ENCODERS[size, english], language) if text else ("word_vectors", "is not read"),
        "image_encoder": (IMAGE_ENCODERS[size], f"of the size {size}") if image else ("small_cnn", "is not read"),
    }
    if text and not trains_text:
        model["freeze_text"] = "true"
    if image and not trains_image:
        model["freeze_image"] = "true"
    if (text and not trains_text) or (image and not trains_image):
        choice["cache_features"] = (True, "a frozen encoder runs once")
    encoders = "base" if size == "base" else "trained" if trains_text or trains_image else "frozen"
    choice |= {
        "num_train_epochs": epochs(encoders, aspect, facts.posts),
        "learning_rate": (5e-4, "of the layers above the encoders"),
        "weight_decay": (0.01, "usual for these encoders"),
        "lr_scheduler_type": ("linear", "usual for these encoders"),
    }
    rate = 2e-5 if size == "base" else 5e-5
    for name, trains in (("text_learning_rate", trains_text), ("image_learning_rate", trains_image)):
        if trains:
            choice[name] = (rate, "a pretrained encoder is trained gently")
    if trains_text or trains_image:
        choice["warmup_steps"] = (0.1, "a tenth of the steps, while the layers above the encoders are still random")
    if size == "base" and facts.device == "cuda" and torch.cuda.is_bf16_supported():
        choice["bf16"] = (True, "this accelerator computes it faster")
    return choice


def missing_encoders(arguments: ModelArguments) -> list[str]:
    """Return the encoders that are neither on this machine nor on a Hub that answers."""
    further = [word.partition("=")[2] for word in arguments.further_image_encoders]
    names = (arguments.text_encoder, arguments.image_encoder, *further)
    return [name for name in names if "/" in name and not Path(name).is_dir() and not _is_available(name)]


def _is_available(hub_id: str) -> bool:
    files = ("config.json", "model.safetensors")
    if all(isinstance(try_to_load_from_cache(hub_id, file), str) for file in files):
        return True
    if constants.is_offline_mode():
        return False
    try:
        return HfApi().file_exists(hub_id, files[0])
    except (OSError, ValueError):  # no network
        return False


def parse_with_preset(argv: list[str], description: str) -> tuple[ModelArguments, DataArguments, RunArguments]:
    """Parse the command line of train.py. A preset that it names loads the corpus and sets the defaults.

    Raises:
        ValueError: If a preset cannot count the posts, or its encoders cannot be had.
    """
    arguments = parse_arguments(argv, description)
    model_args, data_args, run_args = arguments
    preset = run_args.preset
    if preset is None:
        return arguments
    for name, is_set in (("streaming", data_args.streaming), ("init_from", model_args.init_from is not None)):
        if is_set:
            raise ValueError(f"preset cannot be combined with {name}: leave one of them out.")
    facts = Facts.of(load_posts(data_args, run_args))
    # What the user's architecture does not read might as well not be there.
    unread = {"text", "image"}.difference(ARCHITECTURES[model_args.architecture].reads)
    facts = replace(facts, **{f"with_{name}": 0.0 for name in unread})
    choice = choose(preset, facts)
    values = {name: value for name, (value, _) in choice.items()}
    arguments = parse_arguments(argv, description, values)
    if arguments[0].architecture != values["architecture"]:  # Its settings do not suit the user's architecture.
        common = [word for word in values.pop("model_kwargs", []) if word.startswith("freeze_")]
        arguments = parse_arguments(argv, description, values | {"model_kwargs": common})
    if run_args.process_index == 0:
        _print_choice(preset, facts, choice, arguments)
    if missing := missing_encoders(arguments[0]):
        raise ValueError(
            f"preset {preset} reads the posts with {' and '.join(missing)}, which are not on this machine, and the "
            "Hub cannot be reached or does not have them: download them where there is a network (`hf download ID`), "
            "name folders with --text_encoder and --image_encoder, or take --preset fast, which needs none."
        )
    return arguments


def _print_choice(preset: str, facts: Facts, choice: dict[str, tuple[Any, str]], arguments: tuple) -> None:
    """Print the value of every argument of a preset with the reason, and then all of them as one line."""
    final, words = {name: value for part in arguments for name, value in vars(part).items()}, []
    print(f"preset {preset}: {facts}")
    for name, (value, reason) in choice.items():
        actual = final[name]
        flag = [
            f"--{name}",
            *(str(getattr(a, "value", a)) for a in (actual if isinstance(actual, list) else [actual])),
        ]
        words += flag
        print(f"  {shlex.join(flag)}\n      {reason if actual == value else 'set by the command line or the recipe'}")
    print(f"The same without a preset: {shlex.join(words)}", flush=True)

"""Store the output of frozen encoders on the disk.

An entry of the cache holds the output of one encoder for one split: a folder of NumPy files whose name is a hash of
everything that the output depends on. All runs and architectures that need the same output share the entry. Labels
and aspects are not part of the hash. Entries can be deleted at any time.
"""

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedConfig

from mmsent.dataset_scripts.common_corpus import undecoded
from mmsent.dataset_scripts.common_files import atomic_write, locked, remove_leftovers
from mmsent.modeling.common_base import MultimodalPreTrainedModel
from mmsent.modeling.common_layers import last_states, masked_mean

from .arguments import RunArguments
from .collator import PostCollator

# Raise this number with every change of the code that decodes or encodes posts: entries of other versions are not
# used. tests/training/test_feature_cache.py fails after such a change.
FEATURES_VERSION = 1
PACKAGES = ("pillow", "timm", "torch", "torchvision", "transformers")  # their versions are part of the hash
NEEDS_FROZEN = "cache_features needs a frozen encoder: model_kwargs freeze_text=true, freeze_image=true."
POSTS_PER_SHARD = 256  # a killed run loses at most the posts of one shard


class CachedPosts(torch.utils.data.Dataset):
    """Posts for `PostCollator` with `text_features` (L, D) and `image_features` (K, R, D) from frozen encoders.

    The features replace the text and the images. L is 0 without a text, and K is 0 without images. Each further image
    encoder has features too, for example `scene_features` (K, R, D).
    """

    def __init__(self, posts: Dataset, features: dict[str, "Entry"]):
        self.posts = posts
        self.features = features

    def __len__(self) -> int:
        return len(self.posts)

    def __getitem__(self, row: int) -> dict:
        return self.posts[row] | {name: entry[row] for name, entry in self.features.items()}


def encode_features(
    model: MultimodalPreTrainedModel,
    corpus: dict[str, Dataset],
    collator: PostCollator,
    args: RunArguments,
    folder: str | Path,
    dtype: str = "float32",
) -> dict[str, CachedPosts]:
    """Run the frozen encoders once over a corpus, unless the cache in `folder` holds their output already.

    The inputs of an encoder that is trained stay in the posts. The processes of a distributed run share the work and
    need a `folder` that all of them can read. A killed run keeps the shards that it has finished. The name of an entry
    is a hash of the encoder's weights and config; of the token ids, or of the image processor's settings and the image
    files; of `dtype` and the pooling; and of `FEATURES_VERSION` and the versions of the packages.
    """
    frozen = model.frozen_encoders()
    if not frozen:
        raise ValueError(NEEDS_FROZEN)
    corpus = undecoded(corpus)
    columns = ["id", "text", "aspect", "label", "text_label", "image_label"]  # texts are grouped by length
    columns += [name for name in collator.processor.columns if name in corpus["train"].column_names]
    features: dict[str, dict[str, Entry]] = {split: {} for split in corpus}
    images = "image_features" if model.config.reads_vectors else "images"
    for modality, column, source_class in (("text", "text", Texts), ("image", images, Images)):
        for name, encoder in model.encoders(modality).items():
            if encoder not in frozen:
                columns += [column] if column not in columns else []
                continue
            encoder.to(args.device).eval()
            weights = _hash_encoder(encoder, getattr(model.config, f"{name}_config"))
            for split, posts in corpus.items():
                source = source_class(posts, collator, model, name)
                entry = Path(folder, f"{modality}-{_key(source, weights, dtype)}")
                entry.mkdir(parents=True, exist_ok=True)
                _fill(entry, source, encoder, args, dtype, f"{split}: encoding {name}")
                PartialState().wait_for_everyone()
                features[split][f"{name}_features"] = Entry(entry, source.counts, source.shape)
    return {split: CachedPosts(posts.select_columns(columns), features[split]) for split, posts in corpus.items()}


class Texts(torch.utils.data.Dataset):
    """The token ids of every post: the inputs of a text encoder.

    Attributes:
        counts: The number of vectors per post, one per token, of shape (N,). With `pad_to` of the encoder, texts have
            this number, because the model reads padding too. They have one if the model reads one vector per text.
        shape: The shape of one vector, (D,).
    """

    def __init__(self, posts: Dataset, collator: PostCollator, model: MultimodalPreTrainedModel, name: str):
        processor = collator.processor
        self.pad_token_id = processor.tokenizer.pad_token_id or 0  # A tokenizer may have no such token.
        self.pad_to, self.pool = model.encoders("text")[name].pad_to, model.pools_tokens
        self.ids: list[torch.Tensor] = []
        for start in range(0, len(posts), 1000):
            texts = collator.texts([{"text": text} for text in posts[start : start + 1000]["text"]])
            encoded = processor.encode_text(texts, processor.max_length)
            lengths = encoded["attention_mask"].sum(1)
            self.ids += [ids[:length].clone() for ids, length in zip(encoded["input_ids"], lengths, strict=True)]
        fixed = 1 if self.pool else self.pad_to
        self.counts = np.array([len(ids) if fixed is None else min(len(ids), 1) * fixed for ids in self.ids])
        self.shape = (model.config.text_hidden_size,)

    def content(self) -> Iterator[bytes]:
        """Return everything that the features depend on, except the encoder."""
        settings = [] if self.pad_to is None else [f"padded to {self.pad_to}".encode()]
        settings += {None: [], "last": [b"pooled"], "mean": [b"mean"]}[self.pool]
        return chain(settings, (ids.numpy().tobytes() for ids in self.ids))

    def items(self, rows: range) -> list[int]:
        """Return the items of these posts, sorted by decreasing length: batches of similar length need no padding."""
        return sorted((row for row in rows if self.counts[row]), key=lambda row: -len(self.ids[row]))

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.ids[row]

    def collate(self, ids: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        padded = pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id)
        lengths = torch.tensor([len(post_ids) for post_ids in ids])
        return padded, (torch.arange(padded.shape[1]) < lengths.unsqueeze(1)).long()

    def encode(self, encoder: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each item of a batch, each of shape (L, D)."""
        features = encoder(ids, mask)  # (N, L, D)
        if self.pool is not None:
            pooled = (last_states if self.pool == "last" else masked_mean)(features, mask.bool())  # (N, D)
            return list(pooled.unsqueeze(1))
        if self.pad_to is not None:
            return list(features)
        return [vectors[:length] for vectors, length in zip(features, mask.sum(1), strict=True)]


class Images(torch.utils.data.Dataset):
    """Every image of every post: the inputs of an image encoder.

    Attributes:
        counts: The number of images per post, of shape (N,).
        shape: The shape of the features of one image, (R, D); R is 1 if the model reads the mean of the regions.
    """

    def __init__(self, posts: Dataset, collator: PostCollator, model: MultimodalPreTrainedModel, name: str):
        self.posts, self.processor, self.pool = posts.select_columns("images"), collator.processor, model.pools_regions
        max_images = 0 if collator.modalities == "text" else self.processor.max_images
        self.counts = np.array([min(max_images, len(images)) for images in self.posts["images"]])
        self.places = [(row, slot) for row, count in enumerate(self.counts) for slot in range(count)]
        regions = 1 if self.pool else getattr(model.config, f"{name}_regions")
        encoder = model.encoders("image")[name]
        if encoder.keeps_prefix:
            device = next(encoder.parameters()).device
            with torch.no_grad():
                regions = encoder(torch.zeros(1, 3, *self.processor.image_size, device=device)).shape[1]
        self.shape = (regions, getattr(model.config, f"{name}_hidden_size"))

    def content(self) -> Iterator[bytes]:
        """Return everything that the features depend on, except the encoder. This reads all image files."""
        yield f"{self.processor.image_processor.to_json_string()} pooled: {self.pool}".encode()
        for post, count in zip(self.posts, self.counts, strict=True):
            yield int(count).to_bytes(8 if count > 255 else 1)
            for image in post["images"][:count]:
                yield Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]

    def items(self, rows: range) -> range:
        """Return the items of these posts."""
        return range(self.counts[: rows.start].sum(), self.counts[: rows.stop].sum())

    def __getitem__(self, item: int) -> dict:
        row, slot = self.places[item]
        return self.posts[row]["images"][slot]

    def collate(self, images: list[dict]) -> tuple[torch.Tensor]:
        return (self.processor.encode_images([[image] for image in images])["pixel_values"].squeeze(1),)

    def encode(self, encoder: nn.Module, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each item of a batch, each of shape (1, R, D)."""
        regions = encoder(pixel_values)  # (N, R, D)
        return list((regions.mean(1, keepdim=True) if self.pool else regions).unsqueeze(1))


def _hash_encoder(encoder: nn.Module, config: PreTrainedConfig) -> bytes:
    """Return a hash of the encoder's weights and config, and of the versions of what runs it."""
    versions = {name: version(name) for name in PACKAGES} | {"features": FEATURES_VERSION}
    fields = config.to_dict() | {"dtype": None}  # which only a loaded model states; the weights' own are below
    digest = hashlib.sha256(json.dumps([fields, versions], sort_keys=True).encode())
    for name, tensor in chain(encoder.named_parameters(), encoder.named_buffers()):
        tensor = tensor.detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.digest()


def _key(source: Texts | Images, weights: bytes, dtype: str) -> str:
    digest = hashlib.sha256(weights)
    digest.update(json.dumps([dtype, source.shape, POSTS_PER_SHARD]).encode())
    for content in source.content():
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _shards(entry: Path, posts: int) -> dict[Path, range]:
    """Return the file of each shard with the row numbers of its posts."""
    rows = range(posts)
    starts = enumerate(rows[::POSTS_PER_SHARD])
    return {entry / f"{index:05d}.npy": rows[start : start + POSTS_PER_SHARD] for index, start in starts}


def _fill(
    entry: Path, source: Texts | Images, encoder: nn.Module, args: RunArguments, dtype: str, description: str
) -> None:
    """Write the missing shards of an entry; every process of a distributed run writes its share of them."""
    shards = list(_shards(entry, len(source.counts)).items())[args.process_index :: args.world_size]
    if any(entry.glob("tmp-*")):  # of a killed run, or of another run that is writing its shard
        for path, _ in shards:
            with locked(path, wait=True):
                remove_leftovers(path)
    items = {path: list(source.items(rows)) for path, rows in shards if not path.exists()}
    if not items:
        return
    size = args.per_device_eval_batch_size
    batches = {
        path: [rows[start : start + size] for start in range(0, len(rows), size)] for path, rows in items.items()
    }
    loader = iter(
        DataLoader(
            source,
            batch_sampler=list(chain.from_iterable(batches.values())),
            collate_fn=source.collate,
            num_workers=args.dataloader_num_workers,
            generator=torch.Generator(),  # the default generator is the one that training uses
        )
    )
    total = sum(map(len, items.values()))
    with torch.no_grad(), tqdm(total=total, desc=description, disable=not args.should_log) as progress:
        for path, shard_batches in batches.items():
            encoded: dict[int, np.ndarray] = {}
            for batch in shard_batches:
                inputs = [tensor.to(args.device) for tensor in next(loader)]
                features = [tensor.float().cpu().numpy().astype(dtype) for tensor in source.encode(encoder, *inputs)]
                encoded |= zip(batch, features, strict=True)
                progress.update(len(batch))
            arrays = [encoded[item] for item in sorted(encoded)] or [np.empty((0, *source.shape), dtype)]
            shard = np.concatenate(arrays)
            if not np.isfinite(shard).all():
                raise ValueError(f"{path}: a feature is too large for {dtype}; use --features_dtype float32.")
            with locked(path, wait=True), atomic_write(path) as temporary:  # other runs may fill the same entry
                np.save(temporary, shard)


class Entry:
    """An open entry of the cache: `entry[row]` is the encoder's output for a post, of shape (n, *shape).

    The arrays are views of memory-mapped files.
    """

    def __init__(self, folder: Path, counts: np.ndarray, shape: tuple[int, ...]):
        self.folder, self.counts, self.shape = folder, counts, shape
        shards = _shards(folder, len(counts)).items()
        self.shards = [self._map(path, counts[rows.start : rows.stop].sum()) for path, rows in shards]

    def _map(self, path: Path, count: int) -> np.ndarray:
        try:
            features = np.load(path, mmap_mode="r").view(np.ndarray)
            if features.shape != (count, *self.shape):
                raise ValueError(f"it holds an array of shape {features.shape}")
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(
                f"{path} does not hold {count} features of shape {self.shape}: {error}. Delete the file: the next run "
                "writes it again. (Several machines need a --features_dir that all of them can read.)"
            ) from error
        return features

    def __getitem__(self, row: int) -> np.ndarray:
        shard, position = divmod(row, POSTS_PER_SHARD)
        start = self.counts[row - position : row].sum()
        return self.shards[shard][start : start + self.counts[row]]

    def __reduce__(self):  # a worker process that is not forked opens the shards itself
        return Entry, (self.folder, self.counts, self.shape)

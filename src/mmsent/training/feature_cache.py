"""How posts become batches, and the cache on disk of what frozen encoders make of them.

An entry of the cache is what one encoder makes of one split: a folder of Arrow shards, named by a hash of all that its
content depends on, so that every run and every architecture that would compute the same finds it, and nothing else
does. Labels and aspects are no part of it. Entries can be deleted at any time.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from datasets import Dataset, Features, Image, List, Value
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedConfig

from mmsent.modeling import common_encoders, common_images, common_processing
from mmsent.modeling.common_base import MultimodalPreTrainedModel

from .arguments import RunArguments
from .collator import PostCollator

NEEDS_FROZEN = "cache_features needs a frozen encoder: model_kwargs freeze_text=true, freeze_image=true."
POSTS_A_SHARD = 256  # what a killed run has to do again, at most


class CachedPosts(torch.utils.data.Dataset):
    """Posts for `PostCollator`, with `text_features` (L, D) and `image_features` (K, R, D) in place of what the frozen
    encoders would read; L is 0 without text and K without images."""

    def __init__(self, posts: Dataset, features: dict[str, "Entry"]):
        self.posts = posts
        self.features = features

    def __len__(self) -> int:
        return len(self.posts)

    def __getitem__(self, row: int) -> dict:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: list[int]) -> list[dict]:
        posts = self.posts.__getitems__(rows)
        for name, entry in self.features.items():
            for row, post in zip(rows, posts, strict=True):
                post[name] = entry[row]
        return posts


def encode_features(
    model: MultimodalPreTrainedModel,
    corpus: dict[str, Dataset],
    collator: PostCollator,
    args: RunArguments,
    folder: str | Path,
    dtype: str = "float32",
) -> dict[str, CachedPosts]:
    """Run the frozen encoders once over a corpus, as far as the cache in `folder` lacks their output.

    An encoder that is trained goes on reading its part of the posts. The processes of a distributed run share the work
    and need a `folder` that all of them see; what a killed run has finished is kept. The key of an entry is made of
    the encoder's weights and config; of token ids, which say all that tokenizer and text steps do, or of the image
    processor's settings and the content of the image files; of their order; of `dtype` and pooling; and of the code
    and the packages that do the work.

    Args:
        corpus: by split, posts of this project's schema.
        dtype: float32, or float16 for half the space.

    Raises:
        ValueError: no encoder is frozen; a feature is too large for float16; or a shard is damaged.
    """
    frozen = model.frozen_encoders()
    if not frozen:
        raise ValueError(NEEDS_FROZEN)
    corpus = {split: posts.cast_column("images", List(Image(decode=False))) for split, posts in corpus.items()}
    columns = ["aspect", "label", "text_label", "image_label"]
    features: dict[str, dict[str, Entry]] = {split: {} for split in corpus}
    base, config = model.base_model, model.config
    parts = (
        ("text", "text", base.text_encoder, config.text_config, Texts),
        ("image", "images", base.image_encoder, config.image_config, Images),
    )
    for modality, column, encoder, encoder_config, source_class in parts:
        if encoder in frozen:
            encoder.to(args.device).eval()
            weights = _hash_encoder(encoder, encoder_config)
            for split, posts in corpus.items():
                source = source_class(posts, collator, model)
                entry = Path(folder, f"{modality}-{_key(source, weights, dtype)}")
                entry.mkdir(parents=True, exist_ok=True)
                _fill(entry, source, encoder, args, dtype, f"{split}: encoding {modality}")
                PartialState().wait_for_everyone()
                features[split][f"{modality}_features"] = Entry(entry, source.counts, source.shape)
        elif encoder is not None:
            columns.append(column)
    return {split: CachedPosts(posts.select_columns(columns), features[split]) for split, posts in corpus.items()}


class Texts(torch.utils.data.Dataset):
    """The token ids of every post that has a text: the items that a text encoder reads.

    `counts` (N,): vectors that come of each post, one a token; `shape`: of a vector.
    """

    def __init__(self, posts: Dataset, collator: PostCollator, model: MultimodalPreTrainedModel):
        processor = collator.processor
        self.pad_token_id = processor.tokenizer.pad_token_id
        self.ids: list[torch.Tensor] = []
        for start in range(0, len(posts), 1000):
            texts = collator.texts([{"text": text} for text in posts[start : start + 1000]["text"]])
            encoded = processor.encode_text(texts, processor.max_length)
            rows = zip(encoded["input_ids"], encoded["attention_mask"].sum(1), strict=True)
            self.ids += [ids[:length].clone() for ids, length in rows]
        self.counts = np.array([len(ids) for ids in self.ids])
        self.shape = (model.config.text_hidden_size,)

    def content(self) -> Iterator[bytes]:
        """All that the features depend on, beside the encoder."""
        return (ids.numpy().tobytes() for ids in self.ids)

    def items(self, rows: range) -> list[int]:
        """The items of some posts, the longest first: a batch of neighbours has little padding."""
        return sorted((row for row in rows if self.counts[row]), key=lambda row: -self.counts[row])

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.ids[row]

    def collate(self, ids: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        padded = pad_sequence(ids, batch_first=True, padding_value=self.pad_token_id)
        lengths = torch.tensor([len(row) for row in ids])
        return padded, (torch.arange(padded.shape[1]) < lengths.unsqueeze(1)).long()

    def encode(self, encoder: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """The features of each item of a batch, (L, D)."""
        return [row[:length] for row, length in zip(encoder(ids, mask), mask.sum(1), strict=True)]


class Images(torch.utils.data.Dataset):
    """Every image of every post: the items that an image encoder reads.

    `counts` (N,): images of each post; `shape`: (R, D) of the regions of one, (1, D) where the model takes their mean.
    """

    def __init__(self, posts: Dataset, collator: PostCollator, model: MultimodalPreTrainedModel):
        self.posts, self.processor, self.pool = posts.select_columns("images"), collator.processor, model.pools_regions
        self.most = 0 if collator.modalities == "text" else self.processor.max_images
        self.counts = np.array([min(self.most, len(images)) for images in self.posts["images"]])
        self.places = [(row, slot) for row, count in enumerate(self.counts) for slot in range(count)]
        self.shape = (1 if self.pool else model.config.image_regions, model.config.image_hidden_size)

    def content(self) -> Iterator[bytes]:
        """All that the features depend on, beside the encoder; reads every file."""
        yield f"{self.processor.image_processor.to_json_string()} pooled: {self.pool}".encode()
        for post, count in zip(self.posts, self.counts, strict=True):
            yield bytes([count])
            for image in post["images"][:count]:
                yield Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]

    def items(self, rows: range) -> range:
        """The items of some posts."""
        return range(self.counts[: rows.start].sum(), self.counts[: rows.stop].sum())

    def __getitem__(self, item: int) -> dict:
        row, slot = self.places[item]
        return self.posts[row]["images"][slot]

    def collate(self, images: list[dict]) -> tuple[torch.Tensor]:
        return (self.processor.encode_images([[image] for image in images])["pixel_values"].squeeze(1),)

    def encode(self, encoder: nn.Module, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """The features of each item of a batch, (1, R, D)."""
        regions = encoder(pixel_values)  # (N, R, D)
        return list((regions.mean(1, keepdim=True) if self.pool else regions).unsqueeze(1))


def _hash_encoder(encoder: nn.Module, config: PreTrainedConfig) -> bytes:
    """Of its weights and config, and of the code and the packages that run it."""
    code = [Path(module.__file__).read_bytes() for module in (common_encoders, common_images, common_processing)] + [
        Path(__file__).read_bytes()
    ]
    packages = {name: version(name) for name in ("pillow", "timm", "torch", "torchvision", "transformers")}
    digest = hashlib.sha256(json.dumps([config.to_dict(), packages], sort_keys=True).encode())
    for content in code:
        digest.update(hashlib.sha256(content).digest())
    for name, tensor in chain(encoder.named_parameters(), encoder.named_buffers()):
        tensor = tensor.detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.digest()


def _key(source: Texts | Images, weights: bytes, dtype: str) -> str:
    digest = hashlib.sha256(weights)
    digest.update(json.dumps([dtype, source.shape, POSTS_A_SHARD]).encode())
    for content in source.content():
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _shards(entry: Path, posts: int) -> dict[Path, range]:
    """The file of each shard, and the rows of its posts."""
    starts = range(0, posts, POSTS_A_SHARD)
    return {
        entry / f"{index:05d}.arrow": range(start, min(start + POSTS_A_SHARD, posts))
        for index, start in enumerate(starts)
    }


def _fill(
    entry: Path, source: Texts | Images, encoder: nn.Module, args: RunArguments, dtype: str, description: str
) -> None:
    """Make the shards of an entry that are missing, of those that fall to this process."""
    shards = list(_shards(entry, len(source.counts)).items())[args.process_index :: args.world_size]
    items = {path: list(source.items(rows)) for path, rows in shards}
    size = args.per_device_eval_batch_size
    missing = {
        path: [numbers[start : start + size] for start in range(0, len(numbers), size)]
        for path, numbers in items.items()
        if not path.exists()
    }
    if not missing:
        return
    loader = iter(
        DataLoader(
            source,
            batch_sampler=list(chain.from_iterable(missing.values())),
            collate_fn=source.collate,
            num_workers=args.dataloader_num_workers,
            generator=torch.Generator(),  # else it draws from the generator that training uses
        )
    )
    done = sum(len(items[path]) for path in items if path not in missing)
    total = sum(map(len, items.values()))
    with torch.no_grad(), tqdm(total=total, initial=done, desc=description, disable=not args.should_log) as progress:
        for path, batches in missing.items():
            encoded: dict[int, np.ndarray] = {}
            for batch in batches:
                inputs = [part.to(args.device) for part in next(loader)]
                features = [row.float().cpu().numpy().astype(dtype) for row in source.encode(encoder, *inputs)]
                encoded |= zip(batch, features, strict=True)
                progress.update(len(batch))
            rows = [encoded[item] for item in sorted(encoded)] or [np.empty((0, *source.shape), dtype)]
            _write(path, np.concatenate(rows), dtype)


def _write(path: Path, features: np.ndarray, dtype: str) -> None:
    """Write a shard beside its place and move it there: it is complete or not there, and two runs do no harm."""
    if not np.isfinite(features).all():
        raise ValueError(
            f"{path}: a feature is no finite {dtype} number; --features_dtype float32 has the widest range."
        )
    width = int(np.prod(features.shape[1:]))
    schema = Features({"features": List(Value(dtype), length=width)}).arrow_schema
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), type=schema.field(0).type)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    with pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        stream.write_batch(pa.record_batch([column], schema=schema))
    part.replace(path)


class Entry:
    """An entry of the cache, open: `entry[row]` is what the encoder made of a post, (n, *shape), in the memory map.

    Raises:
        ValueError: a shard is damaged or missing.
    """

    def __init__(self, folder: Path, counts: np.ndarray, shape: tuple[int, ...]):
        self.folder, self.counts, self.shape = folder, counts, shape
        self.starts = np.zeros_like(counts)  # of each post in its shard
        self.shards: list[np.ndarray] = []
        for path, rows in _shards(folder, len(counts)).items():
            ends = counts[rows.start : rows.stop].cumsum()
            self.starts[rows.start + 1 : rows.stop] = ends[:-1]
            self.shards.append(self._open(path, int(ends[-1])))

    def _open(self, path: Path, count: int) -> np.ndarray:
        try:
            numbers = Dataset.from_file(str(path)).data.column("features").chunk(0).flatten()
            return numbers.to_numpy(zero_copy_only=True).reshape(count, *self.shape)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ValueError(
                f"{path} does not hold {count} features of shape {self.shape}: {error}. Delete it, and it is made "
                "again. (Several machines need a --features_dir that all of them see.)"
            ) from error

    def __getitem__(self, row: int) -> np.ndarray:
        start = self.starts[row]
        return self.shards[row // POSTS_A_SHARD][start : start + self.counts[row]]

    def __reduce__(self):  # a worker process that is not forked opens the shards itself
        return Entry, (self.folder, self.counts, self.shape)

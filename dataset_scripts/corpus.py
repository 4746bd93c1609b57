"""What the corpora share: columns, split files, text decoding, the folder check, missing posts."""

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from datasets import ClassLabel, Features, GeneratorBasedBuilder, Image, List, SplitGenerator, Value

logger = logging.getLogger(__name__)

LABELS = ["negative", "neutral", "positive"]
SPLIT_FILES = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
CHECKSUMS = "SHA256SUMS"  # in the format of sha256sum, so that `sha256sum -c SHA256SUMS` works too
CHUNK = 256  # posts a shard: the unit that num_proc and DataLoader workers share out


def features(**extra) -> Features:
    """The columns of every corpus, and after them those that one corpus adds. `aspect`, `text_label` and
    `image_label` are None where a corpus has none."""
    text, label = Value("string"), ClassLabel(names=LABELS)
    columns = {"id": text, "text": text, "images": List(Image()), "aspect": text}
    return Features(columns | {"label": label, "text_label": label, "image_label": label} | extra)


def read_splits(folder: Path) -> dict[str, list[str]]:
    """The ids of each split, from the split files in `folder`.

    Raises:
        ValueError: a split file is not the one that its checksum in SHA256SUMS was made from.
    """
    sums = {}
    for line in (folder / CHECKSUMS).read_text().splitlines():
        checksum, name = line.split(maxsplit=1)
        sums[name] = checksum
    splits = {}
    for split, name in SPLIT_FILES.items():
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise ValueError(
                f"{folder / name} does not match its checksum in {CHECKSUMS}: results on it could not be "
                "compared with others; restore the file from the repository"
            )
        splits[split] = content.decode().split()
    return splits


def write_splits(folder: Path, splits: Mapping[str, Iterable[str]]) -> None:
    """Write the split files and their checksums: how a split is made, once, before it is committed."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = ""
    for split, name in SPLIT_FILES.items():
        content = "".join(f"{post_id}\n" for post_id in splits[split]).encode()
        (folder / name).write_bytes(content)
        sums += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    (folder / CHECKSUMS).write_bytes(sums.encode())


def decode_text(raw: bytes) -> str:
    """UTF-8 where the bytes are UTF-8, else GB18030, else Latin-1, which fits any bytes; a byte order mark is
    dropped. Releases mix encodings from file to file and say nowhere which one a file has."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            pass
    return raw.decode("latin-1")


def release_folder(name: str, data_dir: str | None, index: Iterable[str]) -> Path:
    """The folder of an unpacked release, checked to hold the entries of `index`.

    Raises:
        ValueError: no `data_dir` was given.
        NotADirectoryError: it is a file, such as the archive of the release.
        FileNotFoundError: there is no such folder, or an entry of `index` is not in it.
    """
    wanted = f"the folder of the unpacked release, which holds {' and '.join(index)}"
    if data_dir is None:
        raise ValueError(f'{name} is not downloaded: give load_dataset("{name}", data_dir=...) {wanted}')
    folder = Path(data_dir)
    if folder.is_file():
        raise NotADirectoryError(f"data_dir {folder} is a file; unpack the archive and give {wanted}")
    if not folder.is_dir():
        raise FileNotFoundError(f"data_dir {folder} does not exist; give {wanted}")
    for entry in index:
        if not (folder / entry).exists():
            raise FileNotFoundError(f"data_dir {folder} has no {entry}; give {wanted}")
    return folder


class Corpus(GeneratorBasedBuilder):
    """Base of the builders. `INDEX` names what the cache key depends on, relative to `data_dir`: label files
    (time and content) and folders of posts (their own time, so that added and removed files count)."""

    INDEX: tuple[str, ...] = ()

    def generators(self, splits: Mapping[str, list[str]], posts: Mapping[str, object], **gen_kwargs):
        """A SplitGenerator for each split that has posts; `_generate_examples` gets `chunks`, lists of
        (id, `posts[id]`), and `gen_kwargs`.

        Ids of a split that are not in `posts` are left out, warned about, and written into
        `info.description`, which stays with the built corpus: `missing_report` reads them back.

        Raises:
            FileNotFoundError: none of the posts is there.
        """
        if not any(post_id in posts for ids in splits.values() for post_id in ids):
            raise FileNotFoundError(
                f"data_dir {self.config.data_dir} holds none of the posts of {self.dataset_name}, "
                f"split {self.config.name}: is it the right release, and is it unpacked completely?"
            )
        report, generators = "", []
        for split, ids in splits.items():
            missing = [post_id for post_id in ids if post_id not in posts]
            if missing:
                left_out = f"Left out of {split}: {len(missing)} of {len(ids)} posts that are not in data_dir"
                more = ", ..." if len(missing) > 10 else ""
                logger.warning("%s, %s: %s%s", self.dataset_name, left_out, ", ".join(missing[:10]), more)
                report += f"\n{left_out}: {', '.join(missing)}"
            kept = [(post_id, posts[post_id]) for post_id in ids if post_id in posts]
            if kept:
                chunks = [kept[start : start + CHUNK] for start in range(0, len(kept), CHUNK)]
                generators.append(SplitGenerator(split, gen_kwargs={"chunks": chunks, **gen_kwargs}))
        self.info.description = self._info().description + report
        return generators


def missing_report(dataset_dict: Mapping) -> dict[str, list[str]]:
    """The ids that each split lacks because `data_dir` lacked them, from what `load_dataset` gave
    (DatasetDict or IterableDatasetDict); {} when nothing is missing. A split without any post is not in the
    DatasetDict, but is in the report."""
    description = next(iter(dataset_dict.values())).info.description
    found = re.findall(r"^Left out of (\w+): .*: (.+)$", description, re.MULTILINE)
    return {split: ids.split(", ") for split, ids in found}

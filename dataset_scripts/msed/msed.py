"""MSED: English posts with title, caption and picture (Jia et al., Beyond Emotion: A Multi-Modal Dataset for Human
Desire Understanding, NAACL 2022). An independent test corpus: no model of the five papers was built on it."""

from pathlib import Path

from datasets import BuilderConfig, DatasetInfo, Value
from datasets.builder import Key

from ..common_corpus import LABELS, Corpus, features, with_clean
from ..common_files import find_pictures, picture_paths, release_folder
from ..common_tables import read_rows_at, read_table

# The folder of each split; copies call the second one by several names.
FOLDERS = {"train": ("train",), "validation": ("dev", "valid", "validation", "val"), "test": ("test",)}
COUNTS = {"train": 6127, "validation": 1021, "test": 2042}
COLUMNS = ("Title", "Caption", "Sentiment", "Emotion", "Desire", "Inference Sequence")


class MSED(Corpus):
    """MSED; the text is the title and, on a line of its own, the caption.

    More columns: `emotion`, `desire` and `inference_sequence`, as released.

    Raises:
        ValueError: an unknown sentiment (names the file and the line), and what `read_table`, `list_files`,
            `release_folder` raise.
    """

    INDEX = tuple(path for names in FOLDERS.values() for n in names for path in (f"{n}/{n}.csv", f"{n}/images"))
    REDISTRIBUTION = ("forbidden", "its authors give it for research on request and forbid to pass it on")
    BUILDER_CONFIGS = with_clean(BuilderConfig("official", "1.0.0", description="The three files of the release."))
    DEFAULT_CONFIG_NAME = "official"

    def _info(self):
        text = Value("string")
        return DatasetInfo(
            description="MSED: posts with title, caption and picture; sentiment, emotion and desire.",
            homepage="https://github.com/MSEDdataset/MSED",
            features=features(emotion=text, desire=text, inference_sequence=text),
        )

    def _split_generators(self, dl_manager):
        tables = [f"{name}/{name}.csv" for names in FOLDERS.values() for name in names[:1]]
        folder = release_folder(self.dataset_name, self.config.data_dir, tables, complete=False)
        notes, splits, posts, pictures = [], {split: [] for split in FOLDERS}, {}, {}
        for split, names in FOLDERS.items():
            name = next((name for name in names if (folder / name / f"{name}.csv").exists()), None)
            if name is None:
                notes.append(f"data_dir has no {names[0]}/{names[0]}.csv: there is no {split} split")
                continue
            path = folder / name / f"{name}.csv"
            for row, (offset, line, cells) in enumerate(read_table(path, COLUMNS), start=1):
                label = cells["Sentiment"].strip().lower()
                if label not in LABELS:
                    allowed = ", ".join(LABELS)
                    raise ValueError(f"{path}, line {line}: sentiment {label!r} is none of {allowed}; correct it")
                splits[split].append(f"{split}-{row}")
                posts[f"{split}-{row}"] = (name, offset, f"{row}.jpg")
            count = len(splits[split])
            if count != COUNTS[split]:
                notes.append(f"{path} has {count} posts, the release {COUNTS[split]}")
            pictures[name], absent = find_pictures(
                path.parent / "images", (f"{row}.jpg" for row in range(1, count + 1))
            )
            notes += absent
        return self.generators(splits, posts, notes, folder=str(folder), pictures=pictures)

    def _generate_examples(self, chunks, folder, pictures):
        for shard, posts in enumerate(chunks):
            name = posts[0][1][0]  # the posts of a split are in one table
            rows = read_rows_at(Path(folder, name, f"{name}.csv"), [offset for _, (_, offset, _) in posts])
            for number, ((post_id, (_, _, picture)), cells) in enumerate(zip(posts, rows, strict=True)):
                post = {
                    "id": post_id,
                    "text": "\n".join(cells[name].strip() for name in ("Title", "Caption") if cells[name].strip()),
                    "images": picture_paths(pictures[name], [picture]),
                    "aspect": None,
                    "label": cells["Sentiment"].strip().lower(),
                    "text_label": None,
                    "image_label": None,
                    "emotion": cells["Emotion"].strip(),
                    "desire": cells["Desire"].strip(),
                    "inference_sequence": cells["Inference Sequence"].strip(),
                }
                yield Key(shard, number), post

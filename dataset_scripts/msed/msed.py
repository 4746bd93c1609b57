"""MSED: English posts with title, caption and image (Jia et al., Beyond Emotion: A Multi-Modal Dataset for Human
Desire Understanding, NAACL 2022). The five papers do not use it, so that it is an independent test corpus."""

import os
from dataclasses import dataclass
from pathlib import Path

from datasets import BuilderConfig, Value

from ..common_corpus import Corpus, with_clean
from ..common_files import find_images, image_paths, release_folder
from ..common_schema import LABELS, features
from ..common_tables import decode_utf8_or_gb18030, read_rows_at, read_table, require_posts

# The possible folders of each split: copies of the release give the validation split different names.
FOLDERS = {"train": ("train",), "validation": ("dev", "valid", "validation", "val"), "test": ("test",)}
COUNTS = {"train": 6127, "validation": 1021, "test": 2042}
COLUMNS = ("Title", "Caption", "Sentiment", "Emotion", "Desire", "Inference Sequence")


@dataclass
class MSEDConfig(BuilderConfig):
    """Options of the corpus.

    Args:
        caption_apart: Whether the text is the title alone, and the caption is in the column `caption`, for
            architectures that read one. By default the text is the title, followed by the caption on a new line.
    """

    caption_apart: bool = False


class MSED(Corpus):
    """MSED. The text is the title, followed by the caption on a new line, unless `caption_apart` is set.

    It adds the columns `emotion`, `desire` and `inference_sequence` as released.
    """

    DESCRIPTION = "MSED: posts with title, caption and image; sentiment, emotion and desire."
    HOMEPAGE = "https://github.com/MSEDdataset/MSED"
    INDEX = tuple(path for names in FOLDERS.values() for n in names for path in (f"{n}/{n}.csv", f"{n}/images"))
    REDISTRIBUTION = ("forbidden", "its authors give it for research on request and forbid publication")
    BUILDER_CONFIG_CLASS = MSEDConfig
    BUILDER_CONFIGS = with_clean(MSEDConfig("official", "1.0.0", description="The three files of the release."))
    DEFAULT_CONFIG_NAME = "official"

    def columns(self):
        names = ["emotion", "desire", "inference_sequence", *(["caption"] if self.config.caption_apart else [])]
        return features(**dict.fromkeys(names, Value("string")))

    def _split_generators(self, dl_manager):
        tables = [f"{names[0]}/{names[0]}.csv" for names in FOLDERS.values()]
        folder = release_folder(self.dataset_name, self.config.data_dir, tables, complete=False)
        notes, splits, sources, image_folders = [], {split: [] for split in FOLDERS}, {}, {}
        for split, names in FOLDERS.items():
            name = next((name for name in names if os.path.lexists(folder / name / f"{name}.csv")), None)
            if name is None:
                notes.append(f"data_dir has no {names[0]}/{names[0]}.csv: there is no {split} split")
                continue
            path = folder / name / f"{name}.csv"
            rows = read_table(path, COLUMNS, decode_utf8_or_gb18030)
            for number, (offset, line, cells) in enumerate(rows, start=1):
                label = cells["Sentiment"].strip().lower()
                if label not in LABELS:
                    allowed = ", ".join(LABELS)
                    raise ValueError(f"{path}, line {line}: sentiment {label!r} is not one of {allowed}; correct it")
                splits[split].append(f"{split}-{number}")
                sources[f"{split}-{number}"] = (name, offset, f"{number}.jpg")
            count = len(splits[split])
            require_posts(path, count)
            if count != COUNTS[split]:
                notes.append(f"{path} has {count} posts, the release {COUNTS[split]}")
            images = [f"{number}.jpg" for number in range(1, count + 1)]
            image_folders[name], absent = find_images(path.parent / "images", images)
            notes += absent
        return self.generators(splits, sources, notes, folder=str(folder), image_folders=image_folders)

    def read_chunk(self, posts, folder, image_folders):
        name = posts[0][1][0]  # All posts of a split are in one table.
        offsets = [offset for _, (_, offset, _) in posts]
        rows = read_rows_at(Path(folder, name, f"{name}.csv"), offsets, decode_utf8_or_gb18030)
        for (post_id, (_, _, image)), cells in zip(posts, rows, strict=True):
            caption = cells["Caption"].strip()
            texts = [cells["Title"].strip()] if self.config.caption_apart else [cells["Title"].strip(), caption]
            extra = {"caption": caption or None} if self.config.caption_apart else {}
            yield extra | {
                "id": post_id,
                "text": "\n".join(filter(None, texts)),
                "images": image_paths(image_folders[name], [image]),
                "label": cells["Sentiment"].strip().lower(),
                "emotion": cells["Emotion"].strip(),
                "desire": cells["Desire"].strip(),
                "inference_sequence": cells["Inference Sequence"].strip(),
            }

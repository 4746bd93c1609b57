"""Write tiny releases in the layouts that the authors of the corpora ship."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

ASPECTS = ["性价比", "性能配置", "外观手感", "拍照效果", "电池续航", "屏幕效果"]
SCORES = ["10.0", "8.0", "6.0", "5.0", "4.0", "3.0", "2.0", "1.0"]


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 18)) -> None:
    """Draw smooth blobs that depend on the seed, so that two images are not nearly the same."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    blobs.resize(size, Image.Resampling.BICUBIC).save(path)


def write_multi_zol(folder: Path, counts: dict[str, int] | None = None) -> Path:
    """Write reviews of three aspects each. Review r has r % 3 images."""
    for number, (split, reviews) in enumerate((counts or {"Train": 6, "Dev": 2, "Test": 2}).items()):
        lines = []
        for review in range(reviews):
            names = [f"{split}_{review}_{slot}.jpg" for slot in range(review % 3)]
            for slot, name in enumerate(names):
                draw(folder / "img" / name, 1000 * number + 10 * review + slot)
            for sample in range(3):
                score = SCORES[(review * 3 + sample) % len(SCORES)]
                text = f"{split} 第 {review} 台 手机 屏幕 很 好 ， 电池 一般"
                lines += [text, str(names), ASPECTS[(review + sample) % 6], score]
        (folder / "img").mkdir(parents=True, exist_ok=True)
        (folder / f"zol_{split}_jieba.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


# index, label, image, tweet, target
TWEETS = {
    "train": [
        ("1", "2", "1860693.jpg", "RT @ ltsChuckBass : $T$ is everything # MCM", "Chuck Bass"),
        ("2", "1", "1860693.jpg", "RT @ ltsChuckBass : Chuck Bass is everything $T$", "# MCM"),
        ("3", "0", "17_06_4705.jpg", 'He said " $T$ lost again', "Arsenal"),
        ("4", "1", "3.jpg", "A line\u2028separator and $T$", "Paris"),
    ],
    "dev": [("1", "0", "4.jpg", "$T$ at the sea", "Rome")],
    "test": [("1", "2", "5.jpg", "I love $T$", "Oslo"), ("2", "1", "5.jpg", "I love Oslo in $T$", "May")],
}


def write_twitter(folder: Path) -> Path:
    """Write `TWEETS` and their images."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in TWEETS.items():
        # As in the releases, the header of test.tsv names only four of the five columns.
        header = "index\t#1 Label\t#2 ImageID\t#3 String" + "\t#3 String" * (split != "test")
        (folder / f"{split}.tsv").write_text("".join(f"{line}\n" for line in [header, *map("\t".join, rows)]))
    for seed, name in enumerate(sorted({row[2] for rows in TWEETS.values() for row in rows})):
        draw(folder / "images" / name, seed)
    return folder


VSO_LIST = """The sentiment value of each ANP is created by merging the two values. A description is in our paper.

1. beautiful [sentiment: 1.00] [#images: 18,487,527]
\tbeautiful_flower [sentiment: 1.77] [#imgs: 2,380,000]
\tbeautiful_sky [sentiment: 2.00] [#imgs: 703,000]
2. drab [sentiment: -1.00] [#images: 338]
\tdrab_city [sentiment: -1.35] [#imgs: 312]
3. plain [sentiment: 0.00] [#images: 12]
\tplain_wall [sentiment: 0.00] [#imgs: 12]"""
MVSO_LIST = (
    "beautiful_flower,1.5\nbeautiful_sky,0.16\ndrab_city,-1.2\nplain_wall,0.034\nold_books,0.035\nlong_race,-0.1\n"
)
ANPS = ["beautiful_flower", "beautiful sky", "Drab_City", "plain_wall", "old_books", "long_race", "no_such"]


def flickr_posts(count: int) -> list[dict[str, str]]:
    """Return posts that cycle through all ANPs, with descriptions of 1 to 20 words."""
    return [
        {
            "id": f"p{number}",
            "title": f"Photo {number}",
            "description": "word " * (number % 20) + f'no "{number}", here',
            "tags": "sky blue",
            "anp": ANPS[number % len(ANPS)],
            "image": f"p{number}.jpg",
        }
        for number in range(count)
    ]


def write_anp_lists(folder: Path) -> None:
    """Write the ANP lists of VSO and MVSO."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "3244ANPs.txt").write_text(VSO_LIST)
    (folder / "english.csv").write_text(MVSO_LIST)


def write_flickr_table(folder: Path, count: int = 70, rows: list[dict[str, str]] | None = None) -> Path:
    """Write the ANP lists, and posts as a table with a folder of images."""
    write_anp_lists(folder)
    rows = rows or flickr_posts(count)
    with (folder / "posts.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for seed, row in enumerate(rows):
        draw(folder / "images" / row["image"], seed)
    return folder


def write_flickr_folder(folder: Path, count: int = 70) -> Path:
    """Write the ANP lists, and the same posts, each in the folder of its ANP."""
    write_anp_lists(folder)
    for seed, row in enumerate(flickr_posts(count)):
        write_flickr_post(folder, row["anp"], row["id"], seed, row | {"tags": row["tags"].split()})
    return folder


def write_flickr_post(folder: Path, anp: str, post_id: str, seed: int, content: dict) -> None:
    """Write a post into the folder of its ANP: an image, and a JSON file with the texts in `content`."""
    path = folder / "posts" / anp / post_id
    draw(path.with_suffix(".jpg"), seed)
    texts = {field: content[field] for field in ("title", "description", "tags") if field in content}
    path.with_suffix(".json").write_text(json.dumps(texts))


def write_msed(folder: Path) -> Path:
    """Write one table with images per split."""
    header = "Title,Caption,Sentiment,Emotion,Desire,Inference Sequence"
    for number, (split, count) in enumerate({"train": 5, "dev": 2, "test": 3}.items()):
        rows = [header]
        for row in range(1, count + 1):
            label = ["positive", "neutral", "negative"][row % 3]
            rows.append(f'"Title {row}, of {split}","A caption\nof two lines {row}",{label},happiness,family,"a; b"')
            draw(folder / split / "images" / f"{row}.jpg", 1000 * number + row)
        (folder / split / f"{split}.csv").write_text("".join(f"{row}\n" for row in rows))
    return folder


def write_posts(folder: Path, count: int = 60, header: str = "tweet,photo,sentiment") -> Path:
    """Write a table as users have one, with an image in a folder beside it for each post."""
    rows = [header]
    for number in range(count):
        label = ["positive", "negative", "neutral"][number % 3]
        rows.append(f'"My day {number}, with\nlines",photos/{number}.png,{label}')
        draw(folder / "photos" / f"{number}.png", number)
    (folder / "posts.csv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


WRITERS = {
    "msed": write_msed,
    "multi_zol": write_multi_zol,
    "mvso": write_flickr_table,
    "posts": write_posts,
    "twitter2015": write_twitter,
    "twitter2017": write_twitter,
    "vso": write_flickr_folder,
}

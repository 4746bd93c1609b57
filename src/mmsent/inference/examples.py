"""Examples for model cards and the demo."""

from pathlib import Path

from mmsent.dataset_scripts import load_corpus

EXAMPLES = 3


def example_posts(folder: Path) -> list[dict]:
    """Return posts of the embedded corpus, which may be redistributed, and write their images into a new folder.

    Returns:
        For each post its text, the path of its image and its aspect, which may be None.
    """
    posts = load_corpus("sample_posts", split="test")
    folder.mkdir()
    examples = []
    for number in range(EXAMPLES):
        post = posts[number * len(posts) // EXAMPLES]
        path = folder / f"{number}.png"
        post["images"][0].save(path)
        examples.append({"text": post["text"], "image": path, "aspect": post["aspect"]})
    return examples

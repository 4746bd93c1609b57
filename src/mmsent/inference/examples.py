"""Examples for model cards and the demo."""

from pathlib import Path

from mmsent.dataset_scripts import load_corpus
from mmsent.modeling.common_base import MultimodalPreTrainedModel

EXAMPLES = 3


def example_posts(folder: Path, model: MultimodalPreTrainedModel) -> list[dict]:
    """Return posts of the embedded corpus, which may be redistributed, and write their images into a new folder.

    Returns:
        For each post its text and the path of its image and, if the model reads one, its aspect, or the most frequent
        aspect of the model's training.
    """
    posts = load_corpus("sample_posts", split="test")
    folder.mkdir()
    examples = []
    for number in range(EXAMPLES):
        post = posts[number * len(posts) // EXAMPLES]
        path = folder / f"{number}.png"
        post["images"][0].save(path)
        example = {"text": post["text"], "image": path}
        if model.reads_aspect and (aspects := list(filter(None, [post["aspect"], *(model.config.aspects or [])]))):
            example["aspect"] = aspects[0]
        examples.append(example)
    return examples

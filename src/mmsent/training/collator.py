"""Turn posts into batches of model inputs."""

import numpy as np
import torch

from mmsent.modeling.common_processing import MultimodalProcessor


class PostCollator:
    """Turn posts of a corpus, or of `CachedPosts`, into a batch of model inputs, and the `ids` of the posts.

    The `modalities` `"text"` or `"image"` hide the other part of every post.
    """

    def __init__(self, processor: MultimodalProcessor, modalities: str = "both"):
        self.processor = processor
        self.modalities = modalities

    def texts(self, posts: list[dict]) -> list[str | None]:
        """Return the texts that the model may read."""
        return [None if self.modalities == "image" else post["text"] for post in posts]

    def vectors(self, posts: list[dict]) -> list[list | None]:
        """Return the vectors that the model may read in place of images."""
        return [None if self.modalities == "text" else post["image_features"] for post in posts]

    def __call__(self, posts: list[dict]) -> dict[str, torch.Tensor]:
        batch, processor = {"ids": [post["id"] for post in posts]}, self.processor
        if "text_features" in posts[0]:
            batch["text_features"], mask = _pad([post["text_features"] for post in posts])
            batch["attention_mask"] = mask.long()
        elif "text" in posts[0]:
            batch |= processor.encode_text(self.texts(posts), processor.max_length)
        if processor.image_feature_size is not None:
            batch |= processor.encode_images(self.vectors(posts))
        elif isinstance(posts[0].get("image_features"), np.ndarray):  # and those of further image encoders
            for name, features in posts[0].items():  # those of a table are lists
                if isinstance(features, np.ndarray) and name != "text_features":
                    batch[name], batch["image_mask"] = _pad([post[name] for post in posts])
        elif "images" in posts[0]:
            images = [[] if self.modalities == "text" else post["images"] for post in posts]
            batch |= processor.encode_images(images)
        aspects = [post["aspect"] for post in posts]
        if any(aspects):
            batch |= processor.encode_aspect(aspects)
        if processor.further_inputs:
            names = ("aspect", *processor.columns)
            further = [{name: post.get(name) for name in names} for post in posts]
            texts = [{"text": text} for text in self.texts(posts)]
            batch |= processor.encode_further([one | other for one, other in zip(further, texts, strict=True)])
        for name in ("label", "text_label", "image_label"):
            values = [post[name] for post in posts]
            if None not in values:
                batch["labels" if name == "label" else f"{name}s"] = torch.tensor(values)
        return batch


def _pad(features: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad the features (n, ...) of B posts with zeros to float32 (B, N, ...), where N is the largest n and at least 1.

    Also return the mask (B, N) of the features that are not padding.
    """
    counts = torch.tensor([len(post_features) for post_features in features])
    longest = max(1, int(counts.max()))
    padded = np.empty((len(features), longest, *features[0].shape[1:]), np.float32)
    for target, source in zip(padded, features, strict=True):
        target[: len(source)], target[len(source) :] = source, 0
    return torch.from_numpy(padded), torch.arange(longest) < counts.unsqueeze(1)

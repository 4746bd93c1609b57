"""Change the posts of the training split at random."""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import v2

from mmsent.modeling.common_images import load_image

from .synonyms import load_synonyms, replace_words


class AugmentedPosts(Dataset):
    """The posts of a training split with changes that are drawn anew in each epoch, as CLMLF and MDSE do.

    The changes depend only on the seed, the epoch and the row. They are therefore the same in every process and data
    worker, and after an interruption.

    Args:
        image_augmentation: The changes of the images: `"flip"` mirrors half of them; `"crop"` pads the image by a
            tenth on every side, with its mirrored border, and cuts a random part of the old size out; `"erase"` makes
            a rectangle of 2 to 33 % black in half of them; `"rand_augment"` makes two random changes of colour or
            shape of magnitude 14 of 30, as MDSE's code does, with torchvision's list of changes.
        text_augmentation: A column with a paraphrase of the text, for example a back-translation, which replaces the
            text with a probability of one half.
        synonyms: Source of the synonyms that replace a tenth of the words of the text, see `load_synonyms`.
    """

    def __init__(
        self,
        posts,
        image_augmentation: list[str],
        text_augmentation: str | None,
        seed: int,
        synonyms: str | None = None,
    ):
        self.posts = posts
        self.image_augmentation = image_augmentation
        self.text_augmentation = text_augmentation
        self.seed = seed
        self.synonyms = None if synonyms is None else load_synonyms(synonyms)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # persistent data workers read it too

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.posts)

    def __getitem__(self, row: int) -> dict:
        post = dict(self.posts[row])
        entropy = np.random.SeedSequence([self.seed, int(self._epoch), row]).generate_state(1, np.uint64)
        # Dropout draws from the same generator and must not depend on how many posts were read ahead.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(entropy[0]))  # torch.manual_seed would seed the GPUs too
            if self.image_augmentation:
                post["images"] = [self._change(load_image(image)) for image in post["images"]]
            if self.text_augmentation is not None and post[self.text_augmentation] and torch.rand(()) < 0.5:
                post["text"] = post[self.text_augmentation]
            if self.synonyms is not None and post["text"]:
                post["text"] = replace_words(post["text"], self.synonyms)
        return post

    def _change(self, image: Image.Image) -> Image.Image:
        pixels = v2.functional.pil_to_tensor(image)  # (3, H, W) uint8
        height, width = pixels.shape[1:]
        changes = {
            "flip": v2.RandomHorizontalFlip(),
            "crop": v2.RandomCrop((height, width), padding=(width // 10, height // 10), padding_mode="symmetric"),
            "erase": v2.RandomErasing(),
            "rand_augment": v2.RandAugment(num_ops=2, magnitude=14),
        }
        for name in self.image_augmentation:
            pixels = changes[name](pixels)
        return v2.functional.to_pil_image(pixels)

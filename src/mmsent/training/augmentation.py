"""What training, and only training, does to a post."""

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

from mmsent.modeling.common_images import load_image


class AugmentedPosts(Dataset):
    """The posts of a training split, changed a little and anew in each epoch, as CLMLF and MDSE do.

    The change depends on seed, epoch and row alone, so it is the same in any process, in any data worker, and after an
    interruption.

    Args:
        posts: rows of a corpus.
        image_augmentation: any of `"flip"` (left to right, every second time), `"crop"` (a tenth of the picture is
            added around it, mirrored, and the old size cut out of that somewhere), `"erase"` (a rectangle of 2 to 33 %
            is made black, every second time).
        text_augmentation: a column with the text in other words (back-translated, say), which stands in for the text
            every second time; None for none.
        seed: of the changes.

    Raises:
        ValueError: the corpus has no such column.
    """

    def __init__(self, posts, image_augmentation: list[str], text_augmentation: str | None, seed: int):
        if text_augmentation is not None and text_augmentation not in posts.column_names:
            raise ValueError(
                f"text_augmentation={text_augmentation}: the corpus has no such column, only "
                f"{', '.join(posts.column_names)}."
            )
        self.posts = posts
        self.image_augmentation = image_augmentation
        self.text_augmentation = text_augmentation
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # data workers that persist see it change

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.posts)

    def __getitem__(self, row: int) -> dict:
        post = dict(self.posts[row])
        state = torch.get_rng_state()  # dropout's, which must not depend on how many posts were read ahead
        entropy = np.random.SeedSequence([self.seed, int(self._epoch), row]).generate_state(1, np.uint64)
        torch.default_generator.manual_seed(int(entropy[0]))  # torch.manual_seed would reset GPUs too
        if self.image_augmentation:
            post["images"] = [self._change(load_image(image)) for image in post["images"]]
        if self.text_augmentation is not None and post[self.text_augmentation] and torch.rand(()) < 0.5:
            post["text"] = post[self.text_augmentation]
        torch.set_rng_state(state)
        return post

    def _change(self, image):
        pixels = v2.functional.pil_to_tensor(image)  # (3, H, W) uint8
        height, width = pixels.shape[1:]
        steps = {
            "flip": v2.RandomHorizontalFlip(),
            "crop": v2.RandomCrop((height, width), padding=(width // 10, height // 10), padding_mode="symmetric"),
            "erase": v2.RandomErasing(),
        }
        for name in self.image_augmentation:
            pixels = steps[name](pixels)
        return v2.functional.to_pil_image(pixels)

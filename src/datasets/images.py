"""Images and labels as tensors, and splits of them that share the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F


@dataclass(frozen=True, eq=False)
class Images:
    """Decoded images."""

    pixels: Tensor  # (count, channels, height, width), uint8
    labels: Tensor  # (count,), int64, from 0

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, wanted: Sequence[int]) -> "Images":
        """The images with the wanted labels, relabelled 0, 1, ... in the order of `wanted`."""
        if list(wanted) == list(range(int(self.labels.max()) + 1)):
            return self
        new_labels = torch.full((max(int(self.labels.max()), *wanted) + 1,), -1)
        new_labels[torch.tensor(wanted)] = torch.arange(len(wanted))
        labels = new_labels[self.labels]
        kept = labels >= 0
        return Images(self.pixels[kept], labels[kept])


@dataclass(frozen=True, eq=False)
class OfficialSets:
    """The official training and test sets, and where they were found."""

    train: Images
    test: Images
    source: str

    def only(self, wanted: Sequence[int]) -> "OfficialSets":
        """Both sets, filtered and relabelled by `Images.only`."""
        return OfficialSets(self.train.only(wanted), self.test.only(wanted), self.source)


@dataclass(frozen=True, eq=False)
class Split:
    """Some of the images of a set. The splits of a set share its pixels."""

    images: Images  # the whole set
    rows: Tensor  # indices of the split's images, (count,), int64

    def __len__(self) -> int:
        return len(self.rows)


# The jobs of a sweep share the results; images are compared by identity. The caches are small to limit memory.
@lru_cache(maxsize=2)  # the training and test set of one data set
def resized(images: Images, size: int) -> Images:
    """Resizes images to `size` x `size` pixels (bilinear, antialiased)."""
    return Images(resized_pixels(images.pixels, size), images.labels)


def resized_pixels(pixels: Tensor, size: int) -> Tensor:
    resized: Tensor = F.resize(pixels, [size, size], antialias=True)
    return resized


@lru_cache(maxsize=4)  # two data sets
def resident(images: Images, device: torch.device) -> Images:
    """Copies images to another device."""
    return Images(images.pixels.to(device), images.labels.to(device))

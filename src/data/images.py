"""What every source delivers: a split's images and labels as two tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Images:
    """Images of one split, decoded.

    Attributes:
        pixels: (count, channels, height, width), uint8.
        labels: (count,), int64, from 0.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> "Images":
        return Images(self.pixels[rows], self.labels[rows])

    def only(self, wanted: Sequence[int]) -> "Images":
        """The images with a wanted label, relabelled 0, 1, ... in the order of `wanted`."""
        if list(wanted) == list(range(int(self.labels.max()) + 1)):
            return self
        new_labels = torch.full((max(int(self.labels.max()), *wanted) + 1,), -1)
        new_labels[torch.tensor(wanted)] = torch.arange(len(wanted))
        labels = new_labels[self.labels]
        kept = labels >= 0
        return Images(self.pixels[kept], labels[kept])


@dataclass(frozen=True)
class Splits:
    """The official training and test sets, and where they were found."""

    train: Images
    test: Images
    source: str

    def only(self, wanted: Sequence[int]) -> "Splits":
        """Both sets, filtered and relabelled by `Images.only`."""
        return Splits(self.train.only(wanted), self.test.only(wanted), self.source)

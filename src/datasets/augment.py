"""Augmentation of whole batches on the training device: random shifts and horizontal flips."""

import torch
from numpy.random import Generator
from torch import Tensor

from src.datasets.images import Split

CHUNK = 1000  # images copied at a time


class Augmented:
    """Images of a split, each randomly shifted and mirrored in every epoch.

    A fully connected network is not translation invariant (Deep Learning with PyTorch, chapter 7): a shifted image is a
    different input to it, so training must show it shifted images.

    The images are stored once with a black border and, with `flip`, a second time mirrored. A shifted image is then a
    window into this storage, and a batch is copied window by window, without arithmetic on pixels.

    Args:
        split: the images, on the device for the batches.
        shift: largest shift in pixels, left, right, up and down; the gap is black (0).
        flip: whether to mirror images left to right, with probability 1/2.
    """

    def __init__(self, split: Split, *, shift: int, flip: bool) -> None:
        self.count, (self.channels, *self.side) = len(split), split.images.pixels.shape[1:]
        self.shift = shift
        self.flip = flip
        self.width = self.side[1] + 2 * shift
        self.plane = (self.side[0] + 2 * shift) * self.width
        stored = bordered(split, shift=shift, flip=flip).flatten()
        # Number of bytes from the first to the last pixel of a window, over all channels.
        self.span = (self.channels - 1) * self.plane + (self.side[0] - 1) * self.width + self.side[1]
        self.windows = stored.as_strided((len(stored) - self.span + 1, self.span), (1, 1))

    def draw(self, generator: Generator) -> Tensor:
        """Draws the start of each image's window for one epoch, (count,), int64.

        An image's draw does not depend on the order, the batch size or the number of processes.
        """
        down, right = generator.integers(0, 2 * self.shift, (2, self.count), endpoint=True)
        starts = down * self.width + right
        if self.flip:
            starts += generator.integers(0, 1, self.count, endpoint=True) * self.count * self.channels * self.plane
        starts = torch.from_numpy(starts) + torch.arange(self.count) * self.channels * self.plane
        return starts.to(self.windows.device)

    def pixels(self, starts: Tensor) -> Tensor:
        """The windows at these starts, (batch, channels, height, width), uint8."""
        spans = self.windows.index_select(0, starts)
        return spans.as_strided((len(starts), self.channels, *self.side), (self.span, self.plane, self.width, 1))


def bordered(split: Split, *, shift: int, flip: bool) -> Tensor:
    """The images of a split with a black border, and mirrored if `flip`: (1 or 2, count, channels, height, width)."""
    _, channels, height, width = split.images.pixels.shape
    size = (1 + flip, len(split), channels, height + 2 * shift, width + 2 * shift)
    stored = torch.zeros(size, dtype=torch.uint8, device=split.rows.device)
    inner = stored[..., shift : shift + height, shift : shift + width]
    for start in range(0, len(split), CHUNK):  # in chunks, so that memory never holds a second copy of all images
        pixels = split.images.pixels.index_select(0, split.rows[start : start + CHUNK])
        inner[0, start : start + CHUNK] = pixels
        if flip:
            inner[1, start : start + CHUNK] = pixels.flip(-1)
    return stored


def augmented(split: Split, *, shift: int, flip: bool) -> Augmented | None:
    """The split, augmented; None if neither `shift` nor `flip` is set."""
    return Augmented(split, shift=shift, flip=flip) if shift or flip else None

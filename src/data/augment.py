"""Augmentation of whole batches on the training device: random shifts and horizontal flips."""

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import pad

from src.data.images import Split


class Augmented:
    """Images of a split, each shifted and mirrored by a draw of its own in every epoch.

    A fully connected network sees a shifted image as another one (Deep Learning with PyTorch, chapter 7: it is not
    translation invariant), so it has to be shown shifted images.

    The split is kept once with a black border, and mirrored beside it where `flip` is wanted: a shifted image is then a
    window of neighbouring bytes, and a batch is copied window by window without any arithmetic on pixels.

    Args:
        split: the images, on the device where batches are wanted.
        shift: largest shift in pixels, left, right, up and down; what is shifted in is black (0).
        flip: whether an image is mirrored left to right, half of the time.
    """

    def __init__(self, split: Split, *, shift: int, flip: bool) -> None:
        pixels = pad(split.images.pixels.index_select(0, split.rows), (shift,) * 4)
        self.count, self.channels, height, self.width = pixels.shape
        self.shift = shift
        self.flip = flip
        self.side = (height - 2 * shift, self.width - 2 * shift)
        self.plane = height * self.width
        stored = (torch.cat([pixels, pixels.flip(-1)]) if flip else pixels).flatten()
        # From the first to the last byte of a window, over all channels.
        self.span = (self.channels - 1) * self.plane + (self.side[0] - 1) * self.width + self.side[1]
        self.windows = stored.as_strided((len(stored) - self.span + 1, self.span), (1, 1))

    def draw(self, generator: Generator) -> Tensor:
        """Where the window of each image starts in one epoch, (count,), int64.

        A draw belongs to an image, whatever the order, batch size or number of processes.
        """
        down, right = generator.integers(0, 2 * self.shift, (2, self.count), endpoint=True)
        starts = down * self.width + right
        if self.flip:
            starts += generator.integers(0, 1, self.count, endpoint=True) * self.count * self.channels * self.plane
        starts = torch.from_numpy(starts) + torch.arange(self.count) * self.channels * self.plane
        return starts.to(self.windows.device)

    def pixels(self, starts: Tensor) -> Tensor:
        """The windows that start there, (batch, channels, height, width), uint8."""
        spans = self.windows.index_select(0, starts)
        return spans.as_strided((len(starts), self.channels, *self.side), (self.span, self.plane, self.width, 1))


def augmented(split: Split, *, shift: int, flip: bool) -> Augmented | None:
    """The split as `data.augment` wants it, None for as it is."""
    return Augmented(split, shift=shift, flip=flip) if shift or flip else None

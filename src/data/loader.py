"""Batches made by indexing tensors on the training device: no per-image Python, no workers, no copies."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy
import torch
from torch import Tensor

from src.data.images import Images

EVAL_BATCH_SIZE = 1024  # images scored at once where nothing is learned; a result does not depend on it


class Shuffle:
    """The order of the images in each epoch: a permutation that depends on the seed and the epoch alone."""

    def __init__(self, count: int, *, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, counted from 0."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Every index once, (count,)."""
        # A counter-based generator (Salmon et al., 2011): the seed is its key, and each epoch, from 1, has a far
        # part of its counter to itself. No state is carried from epoch to epoch.
        generator = numpy.random.Generator(numpy.random.Philox(key=self.seed, counter=[0, 0, 0, self.epoch + 1]))
        return torch.from_numpy(generator.permutation(self.count))


class Batches:
    """Iterates over (images, labels): float32 (batch, channels, height, width) and int64 (batch,).

    The pixels are those of torchvision's `ToTensor` and `Normalize`: divided by 255, minus mean, over std.

    In a distributed run each process sees its share of every batch, so the batch size means the same on any number of
    processes. Training shares are equal: what does not divide by the number of processes (of the last batch only, where
    it divides the batch size) sits out the epoch. In evaluation every image is seen exactly once.

    Args:
        images: the split, on the device where batches are wanted.
        batch_size: images a step over all processes, or `full`.
        normalize: mean and std of each channel, or None to leave the pixels in 0..1.
        shuffle: the order of each epoch, or None for the order on disk.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int | Literal["full"],
        normalize: tuple[Sequence[float], Sequence[float]] | None,
        shuffle: Shuffle | None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.images = images
        self.batch_size = len(images) if batch_size == "full" else batch_size
        self.sampler, self.batch_sampler = shuffle, None  # the names by which Lightning finds set_epoch
        self.rank = rank
        self.world_size = world_size
        self.mean_and_std: list[Tensor] | None = None
        if normalize is not None:
            self.mean_and_std = [
                torch.tensor(channel_values, device=images.pixels.device).view(-1, 1, 1) for channel_values in normalize
            ]

    def __len__(self) -> int:
        if self.sampler is None:
            return -(-len(range(self.rank, len(self.images), self.world_size)) // self.batch_size)
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest >= self.world_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in self.rows():
            yield self.scaled(self.images.pixels[rows]), self.images.labels[rows]

    def rows(self) -> Iterator[Tensor]:
        """The rows that make each batch of this epoch, for this process."""
        device = self.images.labels.device
        if self.sampler is None:
            mine = torch.arange(self.rank, len(self.images), self.world_size, device=device)
            yield from torch.split(mine, self.batch_size)
            return
        for rows in torch.split(self.sampler.order().to(device), self.batch_size):
            share = len(rows) // self.world_size
            if share:
                yield rows[self.rank * share : (self.rank + 1) * share]

    def scaled(self, pixels: Tensor) -> Tensor:
        """Bytes to the floats that the network sees."""
        images = pixels.float().div_(255)
        if self.mean_and_std is not None:
            mean, std = self.mean_and_std
            images.sub_(mean).div_(std)
        return images

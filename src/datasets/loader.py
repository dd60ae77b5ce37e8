"""Makes batches by indexing tensors on the training device: no Python code per image, and no worker processes."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy
import torch
from torch import Tensor

from src.datasets.augment import Augmented
from src.datasets.images import Split

EVAL_BATCH_SIZE = 1024  # images scored at once; results do not depend on it


class Shuffle:
    """The random draws of an epoch. They depend only on the seed and the epoch, so checkpoints need not store them."""

    def __init__(self, count: int, *, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Starts an epoch, counted from 0.

        Private: lightning 2.6.6 calls it before each epoch on a loader's `sampler`, or its `batch_sampler`'s.
        """
        self.epoch = epoch

    def generator(self, stream: int) -> numpy.random.Generator:
        """A random generator for this epoch; each purpose has its own `stream`."""
        # Philox (Salmon et al., 2011) is counter-based: the seed is its key, and each stream and epoch, from 1, has its
        # own range of the counter. No state is carried from epoch to epoch.
        return numpy.random.Generator(numpy.random.Philox(key=self.seed, counter=[0, 0, stream, self.epoch + 1]))

    def order(self) -> Tensor:
        """A random order of all indices, (count,)."""
        return torch.from_numpy(self.generator(0).permutation(self.count))


class Batches:
    """Iterates over (images, labels): float32 (batch, channels, height, width) and int64 (batch,).

    Pixels are scaled as by torchvision's `ToTensor` and `Normalize`: divided by 255, minus mean, over std.

    In a distributed run each process trains on its share of every batch, so that the batch size does not depend on the
    number of processes. Shares are equal: a batch's remainder after division by the number of processes is skipped in
    that epoch. (If that number divides the batch size, only the last batch has a remainder.) Evaluation uses each image
    exactly once.

    Args:
        split: the images, on the device for the batches.
        batch_size: images per step, in training over all processes; `full` for the whole split.
        normalize: mean and std of each channel; None to leave the pixels in 0..1.
        shuffle: draws the order of each training epoch; None for evaluation, in the order of the split.
        augmented: the same split, randomly shifted and mirrored in every epoch; needs `shuffle`.
        drop_last: leave out the last batch of an epoch if it is smaller.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int | Literal["full"],
        normalize: tuple[Sequence[float], Sequence[float]] | None,
        shuffle: Shuffle | None,
        augmented: Augmented | None = None,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.split = split
        self.batch_size = len(split) if batch_size == "full" else batch_size
        self.sampler, self.batch_sampler = shuffle, None  # Lightning looks here for set_epoch
        self.augmented = augmented
        self.drop_last = drop_last
        self.rank = rank
        self.world_size = world_size
        self.position = {"epoch": 0, "batches": 0}  # of the last batch yielded
        self.resume_at = self.position
        self.mean_and_std: list[Tensor] | None = None
        if normalize is not None:
            self.mean_and_std = [torch.tensor(row, device=split.rows.device).view(-1, 1, 1) for row in normalize]

    def __len__(self) -> int:
        if self.sampler is None:
            return -(-len(range(self.rank, len(self.split), self.world_size)) // self.batch_size)
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest >= self.world_size and not self.drop_last)

    @property
    def epoch(self) -> int:
        return self.sampler.epoch if self.sampler is not None else 0

    def batches_done(self) -> int:
        """Number of batches of this epoch that were yielded before the checkpoint."""
        return self.resume_at["batches"] if self.resume_at["epoch"] == self.epoch else 0

    def batches_left(self) -> int:
        return len(self) - self.batches_done()

    def state_dict(self) -> dict[str, int]:
        """The position of an iteration: its epoch and the number of batches yielded so far."""
        return dict(self.position)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration continue after this position, if it is in the same epoch."""
        self.resume_at = state

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, done = self.epoch, self.batches_done()
        self.resume_at = {"epoch": 0, "batches": 0}
        order = self.order()
        index = self.index().index_select(0, order)
        labels = self.split.images.labels.index_select(0, self.split.rows.index_select(0, order))
        for number, batch in enumerate(zip(self.shares(index), self.shares(labels), strict=True), start=1):
            if number <= done:
                continue
            self.position = {"epoch": epoch, "batches": number}
            yield scaled(self.pixels(batch[0]), self.mean_and_std), batch[1]

    def order(self) -> Tensor:
        """The order of the images in this epoch, (count,); in evaluation, only of this process's images."""
        device = self.split.rows.device
        if self.sampler is None:
            return torch.arange(self.rank, len(self.split), self.world_size, device=device)
        return self.sampler.order().to(device)

    def shares(self, ordered: Tensor) -> Iterator[Tensor]:
        """This process's share of each batch."""
        if self.sampler is None:
            yield from torch.split(ordered, self.batch_size)
            return
        for batch in torch.split(ordered, self.batch_size):
            share = len(batch) // self.world_size
            if share and not (self.drop_last and len(batch) < self.batch_size):
                yield batch[self.rank * share : (self.rank + 1) * share]

    def index(self) -> Tensor:
        """Where each image's pixels are in this epoch: its row, or its window if augmented, (count,)."""
        if self.augmented is None or self.sampler is None:
            return self.split.rows
        return self.augmented.draw(self.sampler.generator(1))

    def pixels(self, index: Tensor) -> Tensor:
        if self.augmented is None:
            return self.split.images.pixels.index_select(0, index)
        return self.augmented.pixels(index)


def scaled(pixels: Tensor, mean_and_std: Sequence[Tensor] | None) -> Tensor:
    """Converts bytes to normalized float32. Mean and std are (channels, 1, 1); with None, pixels stay in 0..1."""
    images = pixels.float().div_(255)
    if mean_and_std is not None:
        mean, std = mean_and_std
        images.sub_(mean).div_(std)
    return images

"""The data module behind every data set: splits, normalizes and batches images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torch import Tensor

from src.datasets.augment import augmented
from src.datasets.facts import DataSet
from src.datasets.images import Images, OfficialSets, Split, resident, resized, resized_pixels
from src.datasets.loader import EVAL_BATCH_SIZE, Batches, Shuffle
from src.errors import DataError
from src.steps.executions import Executions, check_same_executions


class ImageDataModule(LightningDataModule, ABC):
    """Splits, normalizes and batches the images of one data set.

    Only testing uses the official test set; with `validation="test"`, as in the books, validation uses it too.

    Args:
        batch_size: training images per step; `full` for all.
        classes: names of the classes to keep, labelled 0, 1, ... in this order; None for all.
        validation: `train` holds out `val_size` training images; `test` validates on the official test set.
        split_seed: seed of the random choice of validation and training images.
        train_size: number of training images to use; None for all that are not held out.
        resize: side length in pixels to resize to (bilinear, antialiased); None for no resizing.
        normalize: subtract `mean` and divide by `std`; else pixels are in 0..1.
        mean: mean of each channel, in 0..1.
        std: standard deviation of each channel, in 0..1.
        augment: `shift` in pixels and `flip` of the training images, see `Augmented`.
        drop_last: leave out the last batch of a training epoch if it is smaller.
        seed: seed of the order and augmentation of the training images.

    Attributes:
        class_names: in the order of the labels.
        steps_per_execution: number of batches that the trainer gets at once.
        source: where the images were found; known after `setup`.
    """

    source: str

    def __init__(
        self,
        data_set: DataSet,
        *,
        batch_size: int | Literal["full"],
        classes: Sequence[str] | None,
        validation: Literal["train", "test"],
        val_size: int,
        split_seed: int,
        train_size: int | None,
        resize: int | None,
        normalize: bool,
        mean: Sequence[float],
        std: Sequence[float],
        augment: dict[str, Any],
        drop_last: bool,
        seed: int,
    ) -> None:
        super().__init__()
        self.data_set = data_set
        self.batch_size = batch_size
        self.class_names = tuple(classes or data_set.class_names)
        self.validation = validation
        self.val_size = val_size
        self.split_seed = split_seed
        self.train_size = train_size
        self.resize = resize
        self.normalize = (mean, std) if normalize else None
        self.augment = augment
        self.drop_last = drop_last
        self.seed = seed
        self.splits: dict[str, Split] = {}
        self.train_batches: Batches | None = None
        self.resume_at: dict[str, int] = {}
        self.steps_per_execution = 1

    @abstractmethod
    def read(self) -> OfficialSets:
        """The official training and test sets with labels 0, 1, ... in the order of `class_names`."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        size = self.resize or self.data_set.size
        return (self.data_set.channels, size, size)

    @property
    def images_per_step(self) -> int:
        """Images in a training batch. For `full`, the official size: the actual one is unknown before `setup`."""
        return self.num_classes * self.data_set.train_per_class if self.batch_size == "full" else self.batch_size

    def prepare_data(self) -> None:
        """Downloads missing files. Lightning calls this in one process of a distributed run, before `setup`."""
        self.read()

    def setup(self, stage: str | None = None) -> None:
        """Reads, resizes and splits the images, once for all stages.

        Raises:
            DataError: the images cannot be found, or there are too few for `val_size` and `train_size`.
        """
        if self.splits:
            return
        official = self.read()
        self.source = official.source
        self.check_every_class_has_images(official)
        train, test = official.train, official.test
        if self.resize not in (None, self.data_set.size):
            train, test = resized(train, self.resize), resized(test, self.resize)
        self.splits = self.split(train, test)

    def check_every_class_has_images(self, official: OfficialSets) -> None:
        for split, images in (("training", official.train), ("test", official.test)):
            for name, count in zip(self.class_names, images.labels.bincount(minlength=self.num_classes), strict=True):
                if count == 0:
                    raise DataError(
                        f"class '{name}' has no {split} images in {official.source}. Replace the data there."
                    )

    def split(self, official_train: Images, official_test: Images) -> dict[str, Split]:
        """The splits of a run; `split_seed` shuffles the official training set before it is split."""
        val_size = self.val_size if self.validation == "train" else 0
        available = len(official_train)
        if val_size + (self.train_size or 1) > available:
            raise DataError(
                f"data.val_size={val_size} and data.train_size={self.train_size} ask for more than the {available} "
                f"training images in {self.source}. Try smaller ones."
            )
        order = torch.arange(available)
        if val_size or self.train_size is not None:
            order = torch.randperm(available, generator=torch.Generator().manual_seed(self.split_seed))
        test = Split(official_test, torch.arange(len(official_test)))
        return {
            "train": Split(official_train, order[val_size:][: self.train_size]),
            "val": Split(official_train, order[:val_size]) if val_size else test,
            "test": test,
        }

    def train_dataloader(self) -> Batches | Executions:
        split = self.on_device("train")
        self.train_batches = self.batches(
            split,
            batch_size=self.batch_size,
            shuffle=Shuffle(len(split), seed=self.seed),
            augmented=augmented(split, **self.augment),
            drop_last=self.drop_last,
        )
        if self.resume_at:
            check_same_executions(self.resume_at, self.steps_per_execution, num_batches=len(self.train_batches))
            self.train_batches.load_state_dict(self.resume_at)
        if self.steps_per_execution == 1:
            return self.train_batches
        return Executions(self.train_batches, self.steps_per_execution)

    # Lightning also saves the state of loaders, but restores it only to loaders that are made after the checkpoint is
    # read. Ours is made before, because the scheduler needs its length.
    def state_dict(self) -> dict[str, int]:
        """The position of training within its epoch, for a checkpoint."""
        position = self.train_batches.state_dict() if self.train_batches else {}
        return position | {"steps_per_execution": self.steps_per_execution}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Makes the next training loader continue from this position."""
        self.resume_at = state_dict

    def val_dataloader(self) -> Batches:
        return self.batches(self.on_device("val"), batch_size=EVAL_BATCH_SIZE, shuffle=None)

    def test_dataloader(self) -> Batches:
        return self.batches(self.on_device("test"), batch_size=EVAL_BATCH_SIZE, shuffle=None)

    def on_device(self, split: str) -> Split:
        """A split on the trainer's device, where it stays; on the CPU without a trainer."""
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if device.type == "cpu":
            return self.splits[split]
        return Split(resident(self.splits[split].images, device), self.splits[split].rows.to(device))

    def batches_of(self, pixels: Tensor) -> Batches:
        """Batches of other images (count, channels, size, size), uint8, prepared as in training; labels are 0."""
        if self.resize not in (None, self.data_set.size):
            pixels = resized_pixels(pixels, self.resize)
        images = Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
        split = Split(images, torch.arange(len(images)))
        return Batches(split, batch_size=EVAL_BATCH_SIZE, normalize=self.normalize, shuffle=None)

    def batches(self, split: Split, **settings: Any) -> Batches:
        """Batches of a split, or this process's share of them in a distributed run."""
        share: dict[str, Any] = {}
        if self.trainer is not None:
            share = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        return Batches(split, normalize=self.normalize, **settings, **share)

"""LightningDataModules: a data set's sources, splits and batches behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torchvision.transforms.v2 import functional as F

from src.data import catalog, cifar10, fashion_mnist, synthetic
from src.data.images import Images, Splits
from src.data.loader import EVAL_BATCH_SIZE, Batches, Shuffle
from src.errors import DataError


class ImageDataModule(LightningDataModule, ABC):
    """Splits, normalizes and batches the images of one data set.

    The official test set is touched only by testing; with `validation="test"`, as the books do, by validation too.

    Args:
        data_set: what is known before any file is read.
        batch_size: training images a step, or `full`.
        classes: names of the classes to keep, labelled 0, 1, ... in this order; None for all.
        validation: `train` holds `val_size` training images out, `test` validates on the official test set.
        val_size: number of images held out.
        split_seed: decides which ones.
        train_size: number of training images to use; None for all that are left.
        resize: side length in pixels to resize to (bilinear, antialiased); None to leave the images as they are.
        normalize: subtract `mean` and divide by `std`; else pixels are in 0..1.
        mean: of each channel, in 0..1.
        std: of each channel, in 0..1.
        seed: order of the training images.

    Attributes:
        class_names: in the order of the labels.
        source: where the images were found; known after `setup`.
    """

    source: str

    def __init__(
        self,
        data_set: catalog.DataSet,
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
        self.seed = seed
        self.splits: dict[str, Images] = {}

    @abstractmethod
    def read(self) -> Splits:
        """The official training and test sets with labels 0, 1, ... in the order of `class_names`."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        size = self.resize or self.data_set.size
        return (self.data_set.channels, size, size)

    def prepare_data(self) -> None:
        """Downloads what is missing; in a distributed run Lightning calls this in one process, before `setup`."""
        self.read_or_explain()

    def read_or_explain(self) -> Splits:
        try:
            return self.read()
        except OSError as error:
            raise DataError(f"could not read {error.filename}: {error.strerror}. Try another data.root.") from error

    def setup(self, stage: str | None = None) -> None:
        """Reads, splits and resizes the images once, whichever stage asks first.

        Raises:
            DataError: the images cannot be had, or there are fewer than `val_size` or `train_size` ask for.
        """
        if self.splits:
            return
        official = self.read_or_explain()
        self.source = official.source
        self.check_every_class_has_images(official)
        train, val = self.divide(official)
        self.splits = {"train": self.resized(train), "val": self.resized(val), "test": self.resized(official.test)}

    def check_every_class_has_images(self, official: Splits) -> None:
        for split, images in (("training", official.train), ("test", official.test)):
            for name, count in zip(self.class_names, images.labels.bincount(minlength=self.num_classes), strict=True):
                if count == 0:
                    raise DataError(
                        f"class '{name}' has no {split} images in {official.source}. Replace the data there."
                    )

    def divide(self, official: Splits) -> tuple[Images, Images]:
        """Training and validation images; those held out of the official training set are drawn by `split_seed`."""
        val_size = self.val_size if self.validation == "train" else 0
        available = len(official.train)
        if val_size + (self.train_size or 1) > available:
            raise DataError(
                f"data.val_size={val_size} and data.train_size={self.train_size} ask for more than the {available} "
                f"training images in {self.source}. Try smaller ones."
            )
        if not val_size and self.train_size is None:
            return official.train, official.test
        order = torch.randperm(available, generator=torch.Generator().manual_seed(self.split_seed))
        train = official.train[order[val_size:][: self.train_size]]
        return train, official.train[order[:val_size]] if val_size else official.test

    def resized(self, images: Images) -> Images:
        if self.resize in (None, images.pixels.shape[-1]):
            return images
        size = [self.resize, self.resize]
        return Images(F.resize(images.pixels, size, antialias=True), images.labels)

    def train_dataloader(self) -> Batches:
        return self.batches("train", self.batch_size, Shuffle(len(self.splits["train"]), seed=self.seed))

    def val_dataloader(self) -> Batches:
        return self.batches("val", EVAL_BATCH_SIZE, None)

    def test_dataloader(self) -> Batches:
        return self.batches("test", EVAL_BATCH_SIZE, None)

    def batches(self, split: str, batch_size: int | Literal["full"], shuffle: Shuffle | None) -> Batches:
        """Batches of a split on the trainer's device (the CPU without a trainer), where its bytes stay."""
        images, rank, world_size = self.splits[split], 0, 1
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            images = Images(images.pixels.to(device), images.labels.to(device))
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return Batches(
            images,
            batch_size=batch_size,
            normalize=self.normalize,
            shuffle=shuffle,
            rank=rank,
            world_size=world_size,
        )


class FashionMNIST(ImageDataModule):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): ten kinds of clothing in grey, 28x28.

    Args:
        root: folder where torchvision keeps, or would keep, its data sets.
        source: `auto` for the real images, `synthetic` for generated ones of the same shape.
        settings: those of `ImageDataModule`.
    """

    def __init__(self, *, root: str, source: Literal["auto", "synthetic"], **settings: Any) -> None:
        super().__init__(catalog.FASHION_MNIST, **settings)
        self.root = Path(str(root)).expanduser()
        self.generate = source == "synthetic"

    def read(self) -> Splits:
        if self.generate:
            return synthetic.generate(self.data_set, self.class_names)
        return fashion_mnist.read(self.root, self.class_names)


class CIFAR10(ImageDataModule):
    """CIFAR-10 (Krizhevsky, 2009), or any selection of its ten classes, in colour, 32x32.

    Args:
        root: folder where torchvision keeps, or would keep, its data sets.
        source: `auto` for the real images, `synthetic` for generated ones of the same shape.
        settings: those of `ImageDataModule`.
    """

    def __init__(self, *, root: str, source: Literal["auto", "synthetic"], **settings: Any) -> None:
        super().__init__(catalog.CIFAR10, **settings)
        self.root = Path(str(root)).expanduser()
        self.generate = source == "synthetic"

    def read(self) -> Splits:
        if self.generate:
            return synthetic.generate(self.data_set, self.class_names)
        return cifar10.read(self.root, self.class_names)


class CIFAR2(CIFAR10):
    """CIFAR-10 filtered to two classes: airplanes and birds in Deep Learning with PyTorch, chapter 7."""


class Synthetic(ImageDataModule):
    """Generated images, a noisy pattern for each class: needs no files, and its accuracies mean nothing.

    Args:
        num_classes: number of patterns.
        channels: of the images.
        size: side length in pixels.
        train_per_class: training images of each class.
        test_per_class: test images of each class.
        settings: those of `ImageDataModule`.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int,
        size: int,
        train_per_class: int,
        test_per_class: int,
        **settings: Any,
    ) -> None:
        data_set = catalog.generated(
            num_classes=num_classes,
            channels=channels,
            size=size,
            train_per_class=train_per_class,
            test_per_class=test_per_class,
        )
        super().__init__(data_set, classes=None, **settings)

    def read(self) -> Splits:
        return synthetic.generate(self.data_set, self.class_names)

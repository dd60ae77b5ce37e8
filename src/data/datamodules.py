"""LightningDataModules: a data set's sources, splits and batches behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningDataModule
from torch import Tensor

from src.data import cache, catalog, cifar10, fashion_mnist, sources, synthetic
from src.data.augment import augmented
from src.data.images import Images, OfficialSets, Split, resident, resized, resized_pixels
from src.data.loader import EVAL_BATCH_SIZE, Batches, Shuffle, column, scaled
from src.errors import DataError
from src.executions import Executions, check_same_executions


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
        augment: `shift` in pixels and `flip`, see `Augmented`: of training images alone.
        drop_last: leave out the last batch of a training epoch if it is smaller.
        seed: order and augmentation of the training images.

    Attributes:
        class_names: in the order of the labels.
        steps_per_execution: batches that the trainer gets at once.
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
        """Images in a training batch; of `full` ones those of the official training set, as more is not known yet."""
        return self.num_classes * self.data_set.train_per_class if self.batch_size == "full" else self.batch_size

    def prepare_data(self) -> None:
        """Downloads what is missing; in a distributed run Lightning calls this in one process, before `setup`."""
        self.read()

    def setup(self, stage: str | None = None) -> None:
        """Reads, resizes and divides the images once, whichever stage asks first.

        Raises:
            DataError: the images cannot be had, or there are fewer than `val_size` or `train_size` ask for.
        """
        if self.splits:
            return
        official = self.read()
        self.source = official.source
        self.check_every_class_has_images(official)
        train, test = official.train, official.test
        if self.resize not in (None, self.data_set.size):
            train, test = resized(train, self.resize), resized(test, self.resize)
        self.splits = self.divided(train, test)

    def check_every_class_has_images(self, official: OfficialSets) -> None:
        for split, images in (("training", official.train), ("test", official.test)):
            for name, count in zip(self.class_names, images.labels.bincount(minlength=self.num_classes), strict=True):
                if count == 0:
                    raise DataError(
                        f"class '{name}' has no {split} images in {official.source}. Replace the data there."
                    )

    def divided(self, official_train: Images, official_test: Images) -> dict[str, Split]:
        """The splits of a run; what is held out of the official training set is drawn by `split_seed`."""
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

    # Lightning asks loaders for their state too, but gives it back only to those that are made after the checkpoint is
    # read: not to ours, whose length the scheduler needs before.
    def state_dict(self) -> dict[str, int]:
        """Where training stands within its epoch, for a checkpoint."""
        position = self.train_batches.state_dict() if self.train_batches else {}
        return position | {"steps_per_execution": self.steps_per_execution}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Lets the next training loader go on from there."""
        self.resume_at = state_dict

    def val_dataloader(self) -> Batches:
        return self.batches(self.on_device("val"), batch_size=EVAL_BATCH_SIZE, shuffle=None)

    def test_dataloader(self) -> Batches:
        return self.batches(self.on_device("test"), batch_size=EVAL_BATCH_SIZE, shuffle=None)

    def on_device(self, split: str) -> Split:
        """A split on the trainer's device (the CPU without a trainer), where its bytes stay."""
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        if device.type == "cpu":
            return self.splits[split]
        return Split(resident(self.splits[split].images, device), self.splits[split].rows.to(device))

    def prepared(self, pixels: Tensor) -> Tensor:
        """Other images as the network sees those of the data set.

        Args:
            pixels: (count, channels, height, width), uint8, of the data set's own size.

        Returns:
            float32, resized and normalized as for training.
        """
        if self.resize not in (None, self.data_set.size):
            pixels = resized_pixels(pixels, self.resize)
        mean_and_std = self.normalize and [column(values, pixels.device) for values in self.normalize]
        return scaled(pixels, mean_and_std)

    def batches(self, split: Split, **settings: Any) -> Batches:
        """Batches of a split, or this process's share of them."""
        share: dict[str, Any] = {}
        if self.trainer is not None:
            share = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        return Batches(split, normalize=self.normalize, **settings, **share)


class FromFiles(ImageDataModule):
    """A data set from files: those of `data.sources`, decoded once into `data.cache`.

    Args:
        root: folder where torchvision keeps, or would keep, its data sets; downloads go there.
        source: `auto` for the real images, `synthetic` for generated ones of the same shape.
        sources: folders, files and addresses of the real images, tried in turn.
        cache: folder for the decoded images; None to decode them in every run.
        settings: those of `ImageDataModule`.
    """

    kind: sources.Kind

    def __init__(
        self,
        *,
        root: str,
        source: Literal["auto", "synthetic"],
        sources: Sequence[str],
        cache: str | None,
        **settings: Any,
    ) -> None:
        super().__init__(self.kind.DATA_SET, **settings)
        self.root = Path(str(root)).expanduser()
        self.generate = source == "synthetic"
        self.sources = tuple(str(place) for place in sources)
        self.cache = None if cache is None else Path(str(cache)).expanduser()

    def read(self) -> OfficialSets:
        if self.generate:
            return synthetic.generate(self.data_set, self.class_names)
        return sources.read(self.kind, self.class_names, sources=self.sources, root=self.root, cache_folder=self.cache)

    def found(self) -> sources.Copy | None:
        """The copy on disk that would be read; None if it has to be downloaded."""
        return sources.find(self.kind, self.class_names, sources=self.sources, root=self.root)

    def cached(self) -> tuple[Path, int] | None:
        """The folder and size in bytes of what is decoded of that copy, if anything is."""
        copy, name = self.found(), sources.cache_name(self.kind, self.class_names)
        stamp = copy.stamp() if copy else None
        if self.cache is None or stamp is None or cache.load(self.cache, name, stamp) is None:
            return None
        return self.cache, sum(path.stat().st_size for path in cache.split_files(self.cache, name).values())


class FashionMNIST(FromFiles):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): ten kinds of clothing in grey, 28x28."""

    kind = fashion_mnist


class CIFAR10(FromFiles):
    """CIFAR-10 (Krizhevsky, 2009), or any selection of its ten classes, in colour, 32x32."""

    kind = cifar10


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

    def read(self) -> OfficialSets:
        return synthetic.generate(self.data_set, self.class_names)

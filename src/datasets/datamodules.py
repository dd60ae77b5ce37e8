"""LightningDataModules: Fashion-MNIST, CIFAR-10 and CIFAR-2 from files, and generated images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from src.datasets import cache, sources, synthetic
from src.datasets.cifar_files import CifarFiles
from src.datasets.facts import described
from src.datasets.idx_files import IdxFiles
from src.datasets.image_data import ImageDataModule
from src.datasets.images import OfficialSets


class FromFiles(ImageDataModule):
    """A data set that is read from `sources` and decoded once into `cache`. conf/data/ explains the parameters."""

    reader_class: ClassVar[type[IdxFiles] | type[CifarFiles]]

    def __init__(
        self,
        *,
        facts: Mapping[str, Any],
        root: str,
        source: Literal["auto", "synthetic"],
        sources: Sequence[str],
        cache: str | None,
        **settings: Any,
    ) -> None:
        super().__init__(described({"facts": facts}), **settings)
        self.reader = self.reader_class(self.data_set)
        self.root = Path(str(root)).expanduser()
        self.generate = source == "synthetic"
        self.sources = tuple(str(place) for place in sources)
        self.cache = None if cache is None else Path(str(cache)).expanduser()

    def read(self) -> OfficialSets:
        if self.generate:
            return synthetic.generate(self.data_set, self.class_names)
        return sources.read(
            self.reader, self.class_names, sources=self.sources, root=self.root, cache_folder=self.cache
        )

    def found(self) -> sources.Copy | None:
        """The copy on disk that would be read; None if it has to be downloaded."""
        return sources.find(self.reader, self.class_names, sources=self.sources, root=self.root)

    def cached(self) -> tuple[Path, int] | None:
        """The folder of the cached, decoded images and their size in bytes; None if they are not cached."""
        copy, name = self.found(), sources.cache_name(self.data_set, self.class_names)
        stamp = copy.stamp() if copy else None
        if self.cache is None or stamp is None or cache.load(self.cache, name, stamp) is None:
            return None
        return self.cache, sum(path.stat().st_size for path in cache.split_files(self.cache, name).values())


class FromIDX(FromFiles):
    """Any data set in MNIST's file format, described by its facts alone."""

    reader_class = IdxFiles


class FashionMNIST(FromIDX):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): ten kinds of clothing in grey, 28x28."""


class CIFAR10(FromFiles):
    """CIFAR-10 (Krizhevsky, 2009), or any selection of its ten classes, in colour, 32x32."""

    reader_class = CifarFiles


class CIFAR2(CIFAR10):
    """CIFAR-10 filtered to two classes, such as airplanes and birds in Deep Learning with PyTorch, chapter 7."""


class Synthetic(ImageDataModule):
    """Generated images, a noisy pattern for each class. It needs no files, and its accuracies mean nothing."""

    def __init__(
        self, *, num_classes: int, channels: int, size: int, train_per_class: int, test_per_class: int, **settings: Any
    ) -> None:
        sizes = {"num_classes": num_classes, "channels": channels, "size": size}
        counts = {"train_per_class": train_per_class, "test_per_class": test_per_class}
        super().__init__(described(sizes | counts), classes=None, **settings)

    def read(self) -> OfficialSets:
        return synthetic.generate(self.data_set, self.class_names)

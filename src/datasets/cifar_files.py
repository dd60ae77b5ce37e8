"""Finds, verifies and reads CIFAR-10: the official archive, its unpacked folder or a folder of image files."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
import torch

from src.datasets import image_folder
from src.datasets.download import download
from src.datasets.facts import DataSet
from src.datasets.images import Images, OfficialSets
from src.datasets.sources import Copy
from src.errors import DataError

TEST_BATCH = "test_batch"
MOST_MEMBER_BYTES = 64 << 20


@dataclass(frozen=True)
class CifarFiles:
    """Finds, downloads and reads the batches of CIFAR-10, or the same images as a folder of image files.

    The digests are md5 sums of the batches, as in torchvision.
    """

    data_set: DataSet

    @property
    def expected(self) -> str:
        facts = self.data_set
        return f"{facts.folder}/, {facts.archive} or {facts.image_folder}/{{train,test}}/<class>/*.{{png,jpg}}"

    @property
    def md5(self) -> dict[str, str]:
        return dict(self.data_set.digests)

    def find(self, place: Path, class_names: tuple[str, ...]) -> Copy | None:
        """Looks in `place`, and at `place` itself, for a folder of batches, then the archive, then an image folder."""
        facts = self.data_set
        first_batch = next(iter(self.md5))
        for folder in (place / facts.folder, place):
            if (folder / first_batch).is_file() or (folder.name == facts.folder and folder.is_dir()):
                files = [str(folder / name) for name in self.md5]
                return Copy(str(folder), files, "md5", partial(self.read_folder, folder, class_names))
        for archive in (place / facts.archive, place):
            if archive.is_file():
                return Copy(str(archive), [str(archive)], "sha256", partial(self.read_archive, archive, class_names))
        for folder in (place / facts.image_folder, place):
            if any((folder / "train" / name).is_dir() for name in class_names):
                files = list(chain(*image_folder.image_files(folder, class_names).values()))
                return Copy(str(folder), files, None, partial(image_folder.read, folder, facts, class_names))
        return None

    def fetch(self, urls: Sequence[str], root: Path) -> None:
        """Downloads the archive, unless it or its unpacked folder is already in `root`."""
        archive = root / self.data_set.archive
        if (root / self.data_set.folder).is_dir() or archive.is_file():
            return
        try:
            download(urls, archive, self.check_file, max_bytes=self.data_set.archive_bytes)
        except DataError as error:
            raise DataError(f"{archive.name} {error}") from error

    def check_file(self, path: Path) -> None:
        with path.open("rb") as file:
            self.check_digest(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)

    def check_digest(self, found: str, num_bytes: int) -> None:
        expected = self.data_set.archive_sha256
        if found != expected:
            raise DataError(f"its sha256 is {found}, expected {expected} ({num_bytes:,} bytes)")

    def read_folder(self, folder: Path, class_names: tuple[str, ...]) -> OfficialSets:
        way_out = f"Unpack {self.data_set.archive} there again."

        def content(name: str) -> bytes:
            path = folder / name
            if not path.is_file():
                raise DataError(f"{path} is missing. {way_out}")
            if path.stat().st_size > MOST_MEMBER_BYTES:
                raise DataError(f"{path} is damaged: it has more than {MOST_MEMBER_BYTES:,} bytes. {way_out}")
            content = path.read_bytes()
            found = hashlib.md5(content, usedforsecurity=False).hexdigest()
            if found != self.md5[name]:
                raise DataError(f"{path} is damaged: its md5 is {found}, expected {self.md5[name]}. {way_out}")
            return content

        return self.sets_of(content, class_names, source=str(folder))

    def read_archive(self, path: Path, class_names: tuple[str, ...]) -> OfficialSets:
        """Reads the batches in memory: nothing is unpacked to disk, and other members are ignored."""
        num_bytes = path.stat().st_size  # a sparse file may claim more than there is memory
        content = path.read_bytes() if num_bytes <= self.data_set.archive_bytes else b""
        try:
            if not content:
                raise DataError(f"it has {num_bytes:,} bytes, expected {self.data_set.archive_bytes:,}")
            self.check_digest(hashlib.sha256(content).hexdigest(), len(content))
        except DataError as error:
            way_out = (
                "Delete it and run again" if path.name == self.data_set.archive else "Name another in data.sources"
            )
            raise DataError(f"{path} is not a complete {self.data_set.archive}: {error}. {way_out}.") from error
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = {member.name: member for member in archive}

            def member_content(name: str) -> bytes:
                full_name = f"{self.data_set.folder}/{name}"
                member = members.get(full_name)
                if member is None or not member.isreg() or member.size > MOST_MEMBER_BYTES:
                    raise DataError(f"{path} has no regular file {full_name}. Delete it and run again.")
                file = archive.extractfile(member)
                assert file is not None, "a regular file can be read"
                return file.read()

            return self.sets_of(member_content, class_names, source=str(path))

    def sets_of(self, content: Callable[[str], bytes], class_names: tuple[str, ...], *, source: str) -> OfficialSets:
        """The images of some classes from the official batches; `content` returns the bytes of a batch."""
        labels = [self.data_set.class_names.index(name) for name in class_names]
        batches = {name: self.images_of(content(name)) for name in self.md5}
        test = batches.pop(TEST_BATCH)
        pixels = torch.cat([batch.pixels for batch in batches.values()])
        train = Images(pixels, torch.cat([batch.labels for batch in batches.values()]))
        return OfficialSets(train, test, source).only(labels)

    def images_of(self, content: bytes) -> Images:
        """Decodes an official batch: a pickled dict with `data` (count, 3072) and `labels`."""
        batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        shape = (-1, self.data_set.channels, self.data_set.size, self.data_set.size)
        return Images(torch.from_numpy(batch[b"data"]).view(shape), torch.tensor(batch[b"labels"]))


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles only NumPy arrays and plain values; refuses anything else that a pickle may run."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy", "ndarray"): numpy.ndarray,
            ("numpy", "dtype"): numpy.dtype,
            ("numpy.core.multiarray", "_reconstruct"): empty_array,
        }
        if (module, name) not in allowed:
            raise DataError(f"refused to unpickle {module}.{name}: a CIFAR-10 batch holds arrays only")
        return allowed[module, name]


def empty_array(kind: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An empty array, which the unpickler then fills; NumPy's own function for this is private."""
    if kind is not numpy.ndarray:
        raise DataError("refused to unpickle an array of another class")
    return numpy.ndarray.__new__(numpy.ndarray, shape, dtype)

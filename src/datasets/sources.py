"""Reads a data set from the first of its sources that has it, on disk or after a download."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Protocol

from src.datasets.cache import load_or_make
from src.datasets.facts import DataSet, is_address
from src.datasets.images import OfficialSets
from src.errors import DataError


@dataclass(frozen=True)
class Copy:
    """A copy of a data set on disk, not yet read."""

    place: str  # its file or folder
    files: Sequence[str]  # all files that it consists of
    verified_by: str | None  # the digest that verifies the files; None if they may differ from the official ones
    decode: Callable[[], OfficialSets]  # verifies and decodes the files; raises `DataError` if one is damaged

    def read(self) -> OfficialSets:
        """Decodes the images."""
        with readable():
            return self.decode()

    def stamp(self) -> str | None:
        """A digest that changes with the name, size or modification time of any file; None if a file is missing."""
        digest = hashlib.sha256(str(Path(self.place).resolve()).encode())
        try:
            for path in self.files:
                found = os.stat(path)  # noqa: PTH116 - there may be tens of thousands, looked at in every run
                digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
        except OSError:
            return None
        return digest.hexdigest()


@contextmanager
def readable() -> Iterator[None]:
    """Turns an OSError of the block into a DataError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"could not read {error.filename}: {error.strerror}. Try another data.root or data.sources."
        ) from error


class Reader(Protocol):
    """Finds and fetches a data set in one format. Equal for equal facts, so that the jobs of a sweep share images."""

    @property
    def data_set(self) -> DataSet: ...
    @property
    def expected(self) -> str: ...  # the files it looks for, in words
    def __hash__(self) -> int: ...

    def find(self, place: Path, class_names: tuple[str, ...]) -> Copy | None:
        """The copy at a place, or None. Looks only at file names, and reads nothing."""

    def fetch(self, urls: Sequence[str], root: Path) -> None:
        """Downloads the official files that are missing in `root`."""


@lru_cache(maxsize=4)  # the jobs of a sweep read each data set once
def read(
    reader: Reader, class_names: tuple[str, ...], *, sources: tuple[str, ...], root: Path, cache_folder: Path | None
) -> OfficialSets:
    """The images of some classes, labelled in this order, from the first source that has them."""
    copy = find_or_fetch(reader, class_names, sources=sources, root=root)
    stamp = copy.stamp()
    if cache_folder is None or stamp is None:
        return copy.read()
    return load_or_make(cache_folder, cache_name(reader.data_set, class_names), stamp=stamp, make=copy.read)


def cache_name(data_set: DataSet, class_names: tuple[str, ...]) -> str:
    """`cifar-10_airplane+bird`, or the data set's name alone if all classes are kept in their order."""
    selection = "" if class_names == data_set.class_names else "_" + "+".join(class_names).replace(" ", "-")
    return data_set.name.lower() + selection


def find(reader: Reader, class_names: tuple[str, ...], *, sources: Sequence[str], root: Path) -> Copy | None:
    """The first copy on disk. An address stands for its download in `root`."""
    places = [root if is_address(source) else Path(os.path.expanduser(source)) for source in sources]  # noqa: PTH111
    with readable():
        return next((copy for place in places if (copy := reader.find(place, class_names))), None)


@cache
def fetch_failure(reader: Reader, urls: tuple[str, ...], root: Path) -> str | None:
    """Downloads missing files; returns the reason of a failure, or None. The jobs of a sweep try only once."""
    try:
        with readable():
            reader.fetch(urls, root)
    except DataError as error:
        return str(error)
    return None


def find_or_fetch(reader: Reader, class_names: tuple[str, ...], *, sources: Sequence[str], root: Path) -> Copy:
    """The copy from the first source that has one. Consecutive addresses are mirrors of one download."""
    tried = []
    for are_addresses, group in groupby(sources, key=is_address):
        some = list(group)
        if are_addresses and (failure := fetch_failure(reader, tuple(some), root)):
            tried.append(failure)
            continue
        if copy := find(reader, class_names, sources=some, root=root):
            return copy
        tried += [f"{place} has no {reader.expected}" for place in some]
    facts = reader.data_set
    way_out = f"{facts.way_out}, " if facts.way_out else ""
    raise DataError(
        f"{facts.name} was not found: {'; '.join(tried)}. Put the files into {root}, name a folder, file or "
        f"address in data.sources, {way_out}or try data.source=synthetic (generated images)."
    )

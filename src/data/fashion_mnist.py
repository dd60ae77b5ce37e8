"""Fashion-MNIST from its four IDX files: where they may lie, how they are verified and read."""

import hashlib
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from src.data.catalog import FASHION_MNIST
from src.data.download import download
from src.data.images import Images, OfficialSets
from src.data.sources import Copy
from src.errors import DataError
from src.files import whole

DATA_SET = FASHION_MNIST
SHA256 = {  # of the unpacked files, so that any repackaging of the same bytes passes
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
MOST_BYTES = 64 << 20  # of a file, packed or unpacked
PIECE_BYTES = 1 << 20
RAW = Path("FashionMNIST", "raw")  # where torchvision puts them
EXPECTED = "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]"
WAY_OUT = "install Debian's package dataset-fashion-mnist, "


def find(place: Path, class_names: tuple[str, ...]) -> Copy | None:
    """The first folder with all four files, packed or not: what torchvision makes in `place`, or `place` itself."""
    for folder in (place / RAW, place):
        files = [existing_file(folder, name) for name in SHA256]
        if all(files):
            return Copy(
                place=str(folder),
                files=[str(path) for path in files],
                verified_by="sha256",
                decode=partial(read_folder, folder, class_names),
            )
    return None


def existing_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def fetch(urls: Sequence[str], root: Path) -> None:
    """Downloads what is missing from folders on the web, and unpacks it."""
    for name in SHA256:
        if existing_file(root / RAW, name):
            continue
        try:
            download(
                [f"{url.rstrip('/')}/{name}.gz" for url in urls],
                root / RAW / name,
                partial(unpack, name),
                max_bytes=MOST_BYTES,
            )
        except DataError as error:
            raise DataError(f"{name} {error}") from error


def unpack(name: str, path: Path) -> None:
    """Replaces a downloaded file by what it holds."""
    content = verified(path, name)
    with whole(path) as part:
        part.write_bytes(content)


def read_folder(folder: Path, class_names: tuple[str, ...]) -> OfficialSets:
    def images(prefix: str) -> Images:
        pixels = idx_content(folder, f"{prefix}-images-idx3-ubyte", header=16)
        labels = idx_content(folder, f"{prefix}-labels-idx1-ubyte", header=8)
        return Images(pixels.view(-1, 1, DATA_SET.size, DATA_SET.size), labels.long())

    sets = OfficialSets(images("train"), images("t10k"), source=str(folder))
    return sets.only([DATA_SET.class_names.index(name) for name in class_names])


def idx_content(folder: Path, name: str, *, header: int) -> Tensor:
    """The bytes after the header of a verified IDX file (magic number, then sizes; LeCun's format)."""
    path = existing_file(folder, name)
    assert path is not None  # it was found
    try:
        return torch.frombuffer(verified(path, name), dtype=torch.uint8, offset=header)
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}. Replace it, or delete it and run again.") from error


def verified(path: Path, name: str) -> bytearray:
    """The bytes of an IDX file, unpacked if need be; they are in memory once."""
    try:
        content = unpacked(path)
    except (EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error}), expected sha256 {SHA256[name]} unpacked") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise DataError(f"its sha256 is {found}, expected {SHA256[name]} ({len(content):,} bytes)")
    return content


def unpacked(path: Path) -> bytearray:
    content = bytearray()
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        is_packed = file.peek(2).startswith(b"\x1f\x8b")  # gzip's mark; an IDX file begins with zeros
        while len(content) <= MOST_BYTES and (piece := file.read(PIECE_BYTES)):
            # A few bytes can unpack to any number of them.
            content += unpacker.decompress(piece, MOST_BYTES) if is_packed else piece
    if is_packed and not unpacker.eof:
        raise EOFError("it ends early, or is far too long")
    return content

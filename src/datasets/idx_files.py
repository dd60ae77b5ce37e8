"""Finds, verifies and reads data sets in four IDX files, the format of MNIST and Fashion-MNIST."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from src.datasets.download import download
from src.datasets.facts import DataSet
from src.datasets.images import Images, OfficialSets
from src.datasets.sources import Copy
from src.errors import DataError
from src.files import whole

MOST_BYTES = 64 << 20  # of a file, packed or unpacked
PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class IdxFiles:
    """Finds, downloads and reads the files of a data set: `{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]`.

    The digests are sha256 sums of the unpacked files, so that the compression does not matter.
    """

    data_set: DataSet

    @property
    def expected(self) -> str:
        return f"{self.data_set.folder}/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte[.gz]"

    @property
    def sha256(self) -> dict[str, str]:
        return dict(self.data_set.digests)

    def find(self, place: Path, class_names: tuple[str, ...]) -> Copy | None:
        """The first folder with all files, packed or not: torchvision's folder in `place`, or `place` itself."""
        for folder in (place / self.data_set.folder, place):
            files = [existing_file(folder, name) for name in self.sha256]
            if all(files):
                return Copy(
                    place=str(folder),
                    files=[str(path) for path in files],
                    verified_by="sha256",
                    decode=partial(self.read, folder, class_names),
                )
        return None

    def fetch(self, urls: Sequence[str], root: Path) -> None:
        """Downloads and unpacks the missing files; each URL is a folder that has the files."""
        folder = root / self.data_set.folder
        for name, sha256 in self.data_set.digests:
            if existing_file(folder, name):
                continue
            packed = [f"{url.rstrip('/')}/{name}.gz" for url in urls]
            try:
                download(packed, folder / name, partial(unpack, sha256), max_bytes=MOST_BYTES)
            except DataError as error:
                raise DataError(f"{name} {error}") from error

    def read(self, folder: Path, class_names: tuple[str, ...]) -> OfficialSets:
        size = self.data_set.size

        def images(prefix: str) -> Images:
            pixels = self.content(folder, f"{prefix}-images-idx3-ubyte", header=16)
            labels = self.content(folder, f"{prefix}-labels-idx1-ubyte", header=8)
            return Images(pixels.view(-1, 1, size, size), labels.long())

        sets = OfficialSets(images("train"), images("t10k"), source=str(folder))
        return sets.only([self.data_set.class_names.index(name) for name in class_names])

    def content(self, folder: Path, name: str, *, header: int) -> Tensor:
        """The bytes after the header of a verified file. It has a magic number and sizes (LeCun's IDX format)."""
        path = existing_file(folder, name)
        assert path is not None, "`find` looks for all files"
        try:
            return torch.frombuffer(verified(path, self.sha256[name]), dtype=torch.uint8, offset=header)
        except DataError as error:
            raise DataError(f"{path} is damaged: {error}. Replace it, or delete it and run again.") from error


def existing_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def unpack(sha256: str, path: Path) -> None:
    """Replaces a downloaded file by its verified, unpacked content."""
    content = verified(path, sha256)
    with whole(path) as part:
        part.write_bytes(content)


def verified(path: Path, sha256: str) -> bytearray:
    """The verified bytes of a file, unpacked if it is packed. Memory holds only one copy."""
    try:
        content = unpacked(path)
    except (EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error}), expected sha256 {sha256} unpacked") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(f"its sha256 is {found}, expected {sha256} ({len(content):,} bytes)")
    return content


def unpacked(path: Path) -> bytearray:
    content = bytearray()
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        is_packed = file.peek(2).startswith(b"\x1f\x8b")  # gzip's mark; an IDX file begins with zeros
        while len(content) <= MOST_BYTES and (piece := file.read(PIECE_BYTES)):
            # The output is limited, because a few bytes can unpack to gigabytes.
            content += unpacker.decompress(piece, MOST_BYTES) if is_packed else piece
    if is_packed and not unpacker.eof:
        raise EOFError("it ends early, or is far too long")
    return content

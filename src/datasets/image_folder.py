"""Reads a folder of image files for each class: counts, checks and fingerprints them, and decodes them in parallel."""

import hashlib
import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from src.datasets.facts import PILLOW_MODES, DataSet
from src.datasets.images import Images, OfficialSets
from src.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
CHUNK = 250  # images that a worker decodes at a time
WORTH_WORKERS = 2000  # from this many images on, workers decode them
log = logging.getLogger(__name__)


def image_files(folder: Path, class_names: Sequence[str]) -> dict[Path, list[str]]:
    """Maps each folder `{train,test}/<class>/` to its image files, sorted by name."""
    folders = [folder / split / name for split in ("train", "test") for name in class_names]
    return {here: images_in(here) for here in folders}


def images_in(folder: Path) -> list[str]:
    # Strings are faster than Path objects: every run lists tens of thousands of files.
    names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208
    return [f"{folder}/{name}" for name in names if name.lower().endswith(SUFFIXES)]


def read(folder: Path, data_set: DataSet, class_names: tuple[str, ...]) -> OfficialSets:
    """The images of some classes. They need not be the official bytes, so their source has a fingerprint."""
    files = image_files(folder, class_names)
    check_counts(files, data_set)
    paths = list(chain(*files.values()))
    log.info("decoding %s images in %s, once", f"{len(paths):,}", folder)
    pixels = torch.cat(list(decoded(paths, data_set)))
    labels = torch.tensor([class_names.index(here.name) for here, found in files.items() for _ in found])
    num_train = len(class_names) * data_set.train_per_class
    fingerprint = hashlib.sha256(pixels.numpy().data).hexdigest()[:16]
    return OfficialSets(
        train=Images(pixels[:num_train], labels[:num_train]),
        test=Images(pixels[num_train:], labels[num_train:]),
        source=f"{folder} (image folder, fingerprint {fingerprint})",
    )


def check_counts(files: Mapping[Path, Sequence[str]], data_set: DataSet) -> None:
    expected = {"train": data_set.train_per_class, "test": data_set.test_per_class}
    for here, found in files.items():
        if len(found) != expected[here.parent.name]:
            raise DataError(
                f"{here} has {len(found):,} .png and .jpg images, expected {expected[here.parent.name]:,}. "
                f"Put all images of class '{here.name}' there."
            )


def decoded(paths: Sequence[str], data_set: DataSet) -> Iterator[Tensor]:
    """Yields the decoded images in chunks, (count, channels, size, size), with a progress bar on a terminal."""
    chunks = Chunks(paths, data_set)
    # Threads would wait for Python's GIL. On Linux workers are forked, even if a launcher has changed that default.
    workers = min(num_cores(), len(chunks)) if len(paths) >= WORTH_WORKERS else 0
    start = "fork" if workers and sys.platform == "linux" else None
    loader = DataLoader(
        chunks, batch_size=None, num_workers=workers, multiprocessing_context=start, worker_init_fn=leave_signals
    )
    bar = tqdm(total=len(paths), desc="decoding", unit="image", disable=None, leave=False)
    with bar:
        for chunk in loader:
            if isinstance(chunk, str):
                raise DataError(chunk)
            yield chunk
            bar.update(len(chunk))


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_signals(worker: int) -> None:
    """Ignores Ctrl-C in a worker: it reaches all processes of a terminal, and the main process ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Chunks(Dataset[Tensor | str]):
    """Chunks of decoded images, (count, channels, size, size), or the text of an error."""

    def __init__(self, paths: Sequence[str], data_set: DataSet) -> None:
        self.chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
        self.data_set = data_set

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> Tensor | str:
        try:
            return torch.stack([decode(path, self.data_set) for path in self.chunks[number]])
        except DataError as error:
            return str(error)  # an exception would carry the worker's traceback in its text
        except OSError as error:
            return f"could not read {error.filename}: {error.strerror}. Replace it."


def decode(path: str, data_set: DataSet) -> Tensor:
    """Decodes an image file to (channels, size, size), uint8."""
    content = io.BytesIO(Path(path).read_bytes())
    side, mode = data_set.size, PILLOW_MODES[data_set.channels]
    try:
        with Image.open(content, formats=("PNG", "JPEG")) as image:
            if image.size != (side, side):  # checked before the pixels are decoded, which may be billions
                raise DataError(f"{path} is {image.width}x{image.height} pixels, expected {side}x{side}. Replace it.")
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{path} has more than 8 bits a channel. Replace it.")
            pixels = numpy.array(image if image.mode == mode else image.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged: it cannot be read as a PNG or JPEG image. Replace it.") from error
    return torch.from_numpy(pixels).view(side, side, -1).permute(2, 0, 1)

"""The cache of decoded images: one file per split, written once and verified at every read."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy
import torch

from src.datasets.images import Images, OfficialSets
from src.errors import NO_ROOM, CannotWrite
from src.files import exclusive, open_regular, whole

MOST_FACTS_BYTES = 1 << 20
log = logging.getLogger(__name__)


def load_or_make(folder: Path, name: str, *, stamp: str, make: Callable[[], OfficialSets]) -> OfficialSets:
    """Loads the images from the cache; makes and caches them if it has none with this stamp of the source.

    One process makes the images while others wait. If the cache is not writable, the images are made every time.

    Raises:
        CannotWrite: the disk is full.
    """
    if kept := load(folder, name, stamp):
        return kept
    sets = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder / f"{name}.lock", f"reading {name}"):
            if kept := load(folder, name, stamp, report=log.warning):  # made by another process while this one waited
                return kept
            sets = make()
            save(folder, name, stamp, sets)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise CannotWrite(
                f"could not write the cache {folder} ({error.strerror}). Make room, or set data.cache to another "
                "folder, or to null for none."
            ) from error
        log.warning("decoded images are not kept: %s cannot be written (%s). Set data.cache.", folder, error.strerror)
    return sets or make()


def split_files(folder: Path, name: str) -> dict[str, Path]:
    return {split: folder / f"{name}_{split}.npz" for split in ("train", "test")}


def load(folder: Path, name: str, stamp: str, report: Callable[[str], None] = log.debug) -> OfficialSets | None:
    """The cached images; None if missing, stale or damaged. `report` is called with a message about damage."""
    parts = [load_split(path, stamp, report) for path in split_files(folder, name).values()]
    if parts[0] is None or parts[1] is None:
        return None
    (train, source), (test, _) = parts[0], parts[1]
    return OfficialSets(train, test, source)


def load_split(path: Path, stamp: str, report: Callable[[str], None] = log.debug) -> tuple[Images, str] | None:
    """The images of one split, and their source."""
    try:
        # Arrays only, no pickles. The file is a zip archive, and zipfile verifies the CRC-32 of every member.
        with open_regular(path) as file, numpy.load(file, allow_pickle=False) as arrays:
            check_size(arrays.zip, num_bytes=os.fstat(file.fileno()).st_size)
            facts = json.loads(str(arrays["facts"]))
            if facts["stamp"] != stamp:
                return None
            images = Images(torch.from_numpy(arrays["pixels"]), torch.from_numpy(arrays["labels"]))
            if images.pixels.dtype != torch.uint8 or images.labels.shape != images.pixels.shape[:1]:
                raise ValueError("its arrays are not images and labels")
    except OSError:
        return None
    except Exception as error:  # a damaged archive fails in many ways
        report(f"{path} is damaged ({error}) and is made again")
        return None
    return images, facts["source"]


def check_size(archive: ZipFile, *, num_bytes: int) -> None:
    """Refuses an archive whose members are together larger than its file, as in a compressed archive."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    if sum(sizes.values()) > num_bytes or sizes.get("facts.npy", 0) > MOST_FACTS_BYTES:
        raise ValueError("its members are larger than its file")


def save(folder: Path, name: str, stamp: str, sets: OfficialSets) -> None:
    """Writes both splits."""
    facts = json.dumps({"stamp": stamp, "source": sets.source})
    for split, path in split_files(folder, name).items():
        images = getattr(sets, split)
        with whole(path) as part, part.open("wb") as file:
            numpy.savez(file, facts=facts, pixels=images.pixels.numpy(), labels=images.labels.numpy())

"""Tiny data in the real on-disk formats, and a network that is not there."""

import dataclasses
import gzip
import hashlib
import itertools
import pickle
import pickletools
import socket
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from src.composer import CONF
from src.data import cifar10, fashion_mnist, images, sources, synthetic
from src.files import write_json
from src.run import provenance
from src.sweep.plan import new_plan, write_plan

Compose = Callable[..., DictConfig]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no test may use the network")

    def connect_on_this_machine(self: socket.socket, address: Any) -> None:
        (connect if self.family == socket.AF_UNIX else refuse)(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_on_this_machine)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(autouse=True)
def nothing_read_yet() -> None:
    read = (sources.read, sources.fetch_failure, synthetic.generate, images.resized, images.resident)
    for made_once in (*read, provenance):
        made_once.cache_clear()


@pytest.fixture
def config() -> Compose:
    """Composes conf/ with overrides, as Hydra does; figures, which take seconds, must be asked for."""

    def composed(*overrides: str) -> DictConfig:
        with initialize_config_dir(config_dir=CONF, version_base="1.3"):
            return compose("config", ["figures=false", *overrides])

    return composed


def pixels_of(count: int, shape: tuple[int, ...], seed: int) -> numpy.ndarray[Any, Any]:
    return numpy.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=numpy.uint8)


def idx(array: numpy.ndarray[Any, Any]) -> bytes:
    """LeCun's format: a magic number with the number of dimensions, the sizes, the bytes."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">I", 0x0800 + array.ndim) + sizes + array.tobytes()


@pytest.fixture
def fashion_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The contents of the four files for 60 training and 20 test images, accepted as if they were the official ones."""
    contents = {}
    for prefix, count in (("train", 60), ("t10k", 20)):
        contents[f"{prefix}-images-idx3-ubyte"] = idx(pixels_of(count, (28, 28), seed=count))
        contents[f"{prefix}-labels-idx1-ubyte"] = idx(numpy.arange(count, dtype=numpy.uint8) % 10)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(fashion_mnist, "SHA256", digests)
    return contents


@pytest.fixture
def fashion_root(fashion_files: dict[str, bytes], tmp_path: Path) -> Path:
    """A `data.root` as torchvision fills it."""
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in fashion_files.items():
        (raw / name).write_bytes(content)
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path / "data"


@pytest.fixture
def cifar_batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The six official batches with 20 images each, two of every class."""
    batches: dict[str, dict[str, Any]] = {}
    for seed, name in enumerate(cifar10.MEMBERS_MD5):
        data = pixels_of(20, (3072,), seed=seed)
        batches[name] = {"data": data, "labels": [number % 10 for number in range(20)]}
    return batches


def python2_pickle(batch: dict[str, Any]) -> bytes:
    """A batch as Python 2 wrote the official ones: strings are its byte strings, and NumPy has its old name."""
    content = pickle.dumps(batch, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    opcodes = bytearray(content)
    python2 = {"PROTO": b"\x80\x02", "SHORT_BINBYTES": b"U", "BINBYTES": b"T", "BINUNICODE": b"T"}
    for opcode, _, position in pickletools.genops(content):
        if position is not None and opcode.name in python2:
            code = python2[opcode.name]  # the same layout, another type
            opcodes[position : position + len(code)] = code
    return bytes(opcodes)


@pytest.fixture
def cifar_unpacked(cifar_batches: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `data.root` with cifar-10-batches-py/."""
    folder = tmp_path / "data" / cifar10.UNPACKED
    folder.mkdir(parents=True)
    digests = {}
    for name, batch in cifar_batches.items():
        content = python2_pickle(batch)
        (folder / name).write_bytes(content)
        digests[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(cifar10, "MEMBERS_MD5", digests)
    return tmp_path / "data"


@pytest.fixture
def cifar_archive(cifar_unpacked: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `data.root` with nothing but cifar-10-python.tar.gz."""
    root = tmp_path / "archive"
    root.mkdir()
    with tarfile.open(root / cifar10.ARCHIVE, "w:gz") as archive:
        archive.add(cifar_unpacked / cifar10.UNPACKED, cifar10.UNPACKED)
    digest = hashlib.sha256((root / cifar10.ARCHIVE).read_bytes()).hexdigest()
    monkeypatch.setattr(cifar10, "ARCHIVE_SHA256", digest)
    monkeypatch.setattr(cifar10, "ARCHIVE_BYTES", (root / cifar10.ARCHIVE).stat().st_size)
    return root


@pytest.fixture
def cifar_images(cifar_batches: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A `data.root` with cifar10/{train,test}/<class>/NNNN.png, accepted as if it were all of CIFAR-10."""
    tiny = dataclasses.replace(cifar10.DATA_SET, train_per_class=10, test_per_class=2)
    monkeypatch.setattr(cifar10, "DATA_SET", tiny)
    root = tmp_path / "images"
    for name, batch in cifar_batches.items():
        split = "test" if name == "test_batch" else "train"
        for number, (row, label) in enumerate(zip(batch["data"], batch["labels"], strict=True)):
            folder = root / "cifar10" / split / cifar10.DATA_SET.class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).save(folder / f"{name}_{number:02d}.png")
    return root


class Sweep:
    """A sweep as it lies on disk, without anything having been trained.

    Args:
        folder: of the sweep.
        overrides: as typed; those with commas are swept over.
    """

    RESULT: ClassVar[dict[str, Any]] = {
        **{"status": "completed", "val/acc": 0.7, "val/loss": 0.5, "test/acc": 0.8, "test/loss": 0.6, "best_epoch": 3},
        **{"epochs": 5, "train_seconds": 2.0, "data_source": "synthetic", "validation": "train split"},
        **{"git_commit": "a" * 40, "git_dirty": False},
    }

    def __init__(self, folder: Path, *overrides: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pairs = [text.split("=") for text in overrides]
        jobs = list(itertools.product(*([f"{key}={value}" for value in values.split(",")] for key, values in pairs)))
        self.folder = folder
        self.plan = new_plan(
            overrides=overrides,
            swept=[key.lstrip("+") for key, values in pairs if "," in values],
            jobs=[(list(job), {"trainer.max_epochs": 5} | dict(text.split("=") for text in job)) for job in jobs],
        )
        write_plan(self.plan, folder, launched=self.plan.jobs)

    def left(self, *results: dict[str, Any] | str | None) -> "Sweep":
        """What each job has left: a result, the reason of its failure, or nothing."""
        for number, result in enumerate(results):
            self.ends(number, result)
        return self

    def ends(self, number: int, result: dict[str, Any] | str | None) -> None:
        if result is not None:
            job = self.plan.jobs[number]
            (self.folder / job.folder).mkdir(exist_ok=True)
            failed = {"status": "failed", "reason": result}
            content = failed if isinstance(result, str) else self.RESULT | result
            seed = dict(text.split("=") for text in job.overrides).get("seed", "0")
            facts = {"overrides": job.overrides, "seed": int(seed)}
            write_json(self.folder / job.folder / "metrics.json", content | facts)

"""Fixtures: tiny data in the real on-disk formats, no network access, and configs."""

import gzip
import hashlib
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from PIL import Image

from src import settings
from src.command.compose import prepare_hydra
from src.datasets import images, sources, synthetic
from src.run.provenance import code, provenance
from tests.data_files import facts, idx_files, pixels_of, python2_pickle, set_facts
from tests.processes import Starter
from tests.runs import SMALL, trained

Captured = pytest.CaptureFixture[str]
Compose = Callable[..., DictConfig]
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="session", autouse=True)
def conf_is_only_read() -> Iterator[None]:
    """Fails if a test changes a file in conf/, which holds the digests of the data sets."""
    before = contents_of(settings.CONF)
    yield
    assert contents_of(settings.CONF) == before, "a test has changed a file in conf/"


def contents_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*.yaml"))}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: Patch) -> None:
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
    for made_once in (*read, provenance, code):
        made_once.cache_clear()


@pytest.fixture
def in_an_empty_folder(monkeypatch: Patch, tmp_path: Path) -> Path:
    """Changes into an empty folder, and keeps pytest's signal handlers."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("signal.signal", lambda *handler: None)
    return tmp_path / "here"


def composed(*overrides: str) -> DictConfig:
    """The config that Hydra composes from overrides. Figures take seconds, so they are off unless an override asks."""
    prepare_hydra()
    with initialize_config_dir(config_dir=str(settings.CONF), version_base="1.3"):
        return compose("config", ["figures=false", *overrides])


@pytest.fixture
def config() -> Compose:
    return composed


@pytest.fixture
def own_conf(monkeypatch: Patch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of conf/ that a test may change."""
    copy = tmp_path_factory.mktemp("own") / "conf"
    shutil.copytree(settings.CONF, copy)
    monkeypatch.setattr(settings, "CONF", copy)
    return copy


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.close()


@pytest.fixture
def fashion_files(own_conf: Path) -> dict[str, bytes]:
    """The contents of four files with 60 training and 20 test images, accepted as if they were the official ones."""
    contents = idx_files(train=60, test=20, num_classes=10)
    set_facts("fashion_mnist", digests={name: hashlib.sha256(file).hexdigest() for name, file in contents.items()})
    return contents


@pytest.fixture
def fashion_root(fashion_files: dict[str, bytes], tmp_path: Path) -> Path:
    """A `data.root` with the files that torchvision would leave there."""
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in fashion_files.items():
        (raw / name).write_bytes(content)
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path / "data"


@pytest.fixture
def cifar_batches(own_conf: Path) -> dict[str, dict[str, Any]]:
    """Stand-ins for the six official batches: 20 images each, two of every class."""
    labels = [number % 10 for number in range(20)]
    names = enumerate(facts("cifar10")["digests"])
    return {name: {"data": pixels_of(20, (3072,), seed=seed), "labels": labels} for seed, name in names}


@pytest.fixture
def cifar_unpacked(cifar_batches: dict[str, Any], tmp_path: Path) -> Path:
    """A `data.root` with cifar-10-batches-py/."""
    folder = tmp_path / "data" / facts("cifar10")["folder"]
    folder.mkdir(parents=True)
    for name, batch in cifar_batches.items():
        (folder / name).write_bytes(python2_pickle(batch))
    digests = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in cifar_batches}
    set_facts("cifar10", digests=digests)
    return tmp_path / "data"


@pytest.fixture
def cifar_archive(cifar_unpacked: Path, tmp_path: Path) -> Path:
    """A `data.root` with only cifar-10-python.tar.gz."""
    root, official = tmp_path / "archive", facts("cifar10")
    root.mkdir()
    path = root / official["archive"]
    with tarfile.open(path, "w:gz") as archive:
        archive.add(cifar_unpacked / official["folder"], official["folder"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    set_facts("cifar10", archive_sha256=digest, archive_bytes=path.stat().st_size)
    return root


@pytest.fixture
def cifar_images(cifar_batches: dict[str, Any], tmp_path: Path) -> Path:
    """A `data.root` with cifar10/{train,test}/<class>/NNNN.png, accepted as if it were all of CIFAR-10."""
    set_facts("cifar10", train_per_class=10, test_per_class=2)
    root, class_names = tmp_path / "images", facts("cifar10")["class_names"]
    for name, batch in cifar_batches.items():
        split = "test" if name == "test_batch" else "train"
        for number, (row, label) in enumerate(zip(batch["data"], batch["labels"], strict=True)):
            folder = root / "cifar10" / split / class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)).save(folder / f"{name}_{number:02d}.png")
    return root


@pytest.fixture
def tiny_data(fashion_root: Path, cifar_images: Path) -> dict[str, list[str]]:
    """Overrides that make each data set read its tiny files."""
    words = ["data.sources=[${data.root}]", "data.cache=null", "data.val_size=9", "data.batch_size=8"]
    fashion, cifar = ([f"data.root={root}", *words] for root in (fashion_root, cifar_images))
    return {"fashion_mnist": fashion, "cifar2": cifar, "cifar10": cifar, "synthetic": []}


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, copied by each test that needs one."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    trained(composed(*SMALL, "trainer.max_epochs=2"), folder)
    return folder


@pytest.fixture
def run(run_once: Path, in_an_empty_folder: Path) -> Path:
    shutil.copytree(run_once, "run")
    return Path("run")

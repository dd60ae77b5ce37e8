import gzip
import logging
from pathlib import Path

import pytest
import torch

from src.data import fashion_mnist
from src.data.catalog import FASHION_MNIST
from src.errors import DataError

NAMES = FASHION_MNIST.class_names
LABELS = "train-labels-idx1-ubyte"


def test_the_unpacked_files_are_read_as_torchvision_left_them(fashion_root: Path) -> None:
    splits = fashion_mnist.read(fashion_root, NAMES)
    assert splits.train.pixels.shape == (60, 1, 28, 28)
    assert splits.train.labels.tolist() == [number % 10 for number in range(60)]
    assert splits.source == str(fashion_root / "FashionMNIST" / "raw")


def test_the_packed_files_are_read_too_and_the_root_is_never_altered(fashion_root: Path) -> None:
    raw = fashion_root / "FashionMNIST" / "raw"
    expected = fashion_mnist.read(fashion_root, NAMES)
    fashion_mnist.read_folder.cache_clear()
    for name in fashion_mnist.SHA256:
        (raw / name).unlink()
    before = sorted(raw.iterdir())
    assert torch.equal(fashion_mnist.read(fashion_root, NAMES).train.pixels, expected.train.pixels)
    assert sorted(raw.iterdir()) == before


def test_the_system_copy_is_used_when_the_root_has_none(
    fashion_root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fashion_mnist, "SYSTEM_COPY", fashion_root / "FashionMNIST" / "raw")
    splits = fashion_mnist.read(tmp_path / "empty", NAMES)
    assert splits.source == str(fashion_root / "FashionMNIST" / "raw")
    assert not (tmp_path / "empty").exists()


def test_a_sweep_reads_the_files_once(fashion_root: Path) -> None:
    assert fashion_mnist.read(fashion_root, NAMES).train.pixels is fashion_mnist.read(fashion_root, NAMES).train.pixels


def test_one_flipped_label_byte_is_found(fashion_root: Path) -> None:
    path = fashion_root / "FashionMNIST" / "raw" / LABELS
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"^{path} is damaged: its sha256 is \w+, expected \w+\. Delete it and run again\.$"
    ):
        fashion_mnist.read(fashion_root, NAMES)


def test_a_truncated_gzip_file_is_found(fashion_root: Path) -> None:
    raw = fashion_root / "FashionMNIST" / "raw"
    (raw / LABELS).unlink()
    path = raw / f"{LABELS}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        DataError, match=rf"^{path} is damaged: not a whole gzip file \(.*\)\. Delete it and run again\.$"
    ):
        fashion_mnist.read(fashion_root, NAMES)


def test_without_any_source_the_error_names_what_was_tried_and_every_way_out(
    fashion_files: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        fashion_mnist.read(tmp_path, NAMES)
    for part in (
        str(tmp_path / "FashionMNIST" / "raw"),
        str(fashion_mnist.SYSTEM_COPY),
        *fashion_mnist.MIRRORS,
        "no test may use the network",
        "data.root",
        "dataset-fashion-mnist",
        "data.source=synthetic",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_downloaded_is_unpacked_verified_and_kept(
    fashion_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return gzip.compress(fashion_files[url.rpartition("/")[2].removesuffix(".gz")])

    monkeypatch.setattr("src.data.download.fetch", fetch)
    with caplog.at_level(logging.INFO):
        fashion_mnist.read(tmp_path, NAMES)
    raw = tmp_path / "FashionMNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == fashion_files
    assert asked == [f"{fashion_mnist.MIRRORS[0]}{name}.gz" for name in fashion_files]

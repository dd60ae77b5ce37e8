import os
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from src.data import cifar10
from src.data.catalog import CIFAR10
from src.errors import DataError

NAMES = CIFAR10.class_names
PAIR = ("airplane", "bird")


def test_the_unpacked_folder_is_read(cifar_unpacked: Path, cifar_batches: dict[str, Any]) -> None:
    splits = cifar10.read(cifar_unpacked, NAMES)
    assert splits.train.pixels.shape == (100, 3, 32, 32)
    assert splits.test.labels.tolist() == cifar_batches["test_batch"]["labels"]
    third = torch.from_numpy(cifar_batches["data_batch_3"]["data"])
    assert torch.equal(splits.train.pixels[40:60].flatten(1), third)


def test_the_archive_is_read_in_memory(cifar_archive: Path, cifar_unpacked: Path) -> None:
    packed, unpacked = cifar10.read(cifar_archive, NAMES), cifar10.read(cifar_unpacked, NAMES)
    assert torch.equal(packed.train.pixels, unpacked.train.pixels)
    assert torch.equal(packed.test.labels, unpacked.test.labels)
    assert [path.name for path in cifar_archive.iterdir()] == [cifar10.ARCHIVE]


def test_an_image_folder_holds_the_same_images(cifar_images: Path, cifar_unpacked: Path) -> None:
    from_images, from_batches = cifar10.read(cifar_images, PAIR), cifar10.read(cifar_unpacked, PAIR)
    for split in ("train", "test"):
        ours, theirs = getattr(from_images, split), getattr(from_batches, split)
        for label in (0, 1):
            assert torch.equal(ours.pixels[ours.labels == label], theirs.pixels[theirs.labels == label])
    assert from_images.source.endswith("cifar10 (image folder)")


def test_jpeg_images_are_read_in_colour(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in PAIR:
            folder = tmp_path / "cifar10" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32), (200, 100, 50)).save(folder / "0000.jpg", quality=75)
            Image.new("L", (32, 32), 90).save(folder / "0001.JPEG")
    splits = cifar10.read(tmp_path, PAIR)
    assert splits.train.labels.tolist() == [0, 0, 1, 1]
    for channel, value in enumerate((200, 100, 50)):
        assert (splits.train.pixels[0, channel].int() - value).abs().max() <= 3


def test_an_empty_class_folder_is_an_error(cifar_images: Path) -> None:
    folder = cifar_images / "cifar10" / "train" / "bird"
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(
        DataError, match=rf"^{folder} has no \.png or \.jpg images\. Put those of class 'bird' there\.$"
    ):
        cifar10.read(cifar_images, PAIR)


def test_an_image_of_another_size_is_an_error(cifar_images: Path) -> None:
    path = cifar_images / "cifar10" / "test" / "bird" / "zzz.png"
    Image.new("RGB", (40, 32)).save(path)
    with pytest.raises(DataError, match=rf"^{path} is 40x32 pixels, expected 32x32\. Replace it\.$"):
        cifar10.read(cifar_images, PAIR)


def test_an_image_that_is_none_is_an_error(cifar_images: Path) -> None:
    path = cifar_images / "cifar10" / "test" / "bird" / "zzz.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=rf"^{path} is damaged: cannot identify image file .*\. Replace it\.$"):
        cifar10.read(cifar_images, PAIR)


def test_a_damaged_batch_is_found(cifar_unpacked: Path) -> None:
    path = cifar_unpacked / cifar10.UNPACKED / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        DataError, match=rf"^{path} is damaged: its md5 is \w+, expected \w+\. Unpack .*tar\.gz there again"
    ):
        cifar10.read(cifar_unpacked, PAIR)


def test_a_missing_batch_is_named(cifar_unpacked: Path) -> None:
    path = cifar_unpacked / cifar10.UNPACKED / "test_batch"
    path.unlink()
    with pytest.raises(DataError, match=rf"^{path} is missing\. Unpack cifar-10-python\.tar\.gz there again\.$"):
        cifar10.read(cifar_unpacked, PAIR)


def test_a_damaged_archive_is_found(cifar_archive: Path) -> None:
    path = cifar_archive / cifar10.ARCHIVE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=rf"^{path} is damaged: its sha256 is \w+, expected \w+ \([\d,]+ bytes\)\. Delete"
    ):
        cifar10.read(cifar_archive, PAIR)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "canary"),)

    with pytest.raises(DataError, match=r"^refused to unpickle \w+\.mkdir: a CIFAR-10 batch holds arrays only$"):
        cifar10.images_of(pickle.dumps({b"data": Evil(), b"labels": [0]}))
    assert not (tmp_path / "canary").exists()


def test_what_torchvision_reads_is_what_we_read(cifar_unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    digests = list(cifar10.MEMBERS_MD5.items())
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [list(item) for item in digests[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [list(item) for item in digests[5:]])
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    theirs = datasets.CIFAR10(cifar_unpacked, train=True)
    ours = cifar10.read(cifar_unpacked, NAMES).train
    assert numpy.array_equal(theirs.data, ours.pixels.permute(0, 2, 3, 1).numpy())
    assert theirs.targets == ours.labels.tolist()


def test_the_digests_are_those_that_torchvision_knows() -> None:
    from torchvision import datasets

    official = datasets.CIFAR10.train_list + datasets.CIFAR10.test_list
    assert dict(official) == cifar10.MEMBERS_MD5


def test_without_any_source_the_error_names_what_was_tried_and_every_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        cifar10.read(tmp_path, PAIR)
    tried = (str(tmp_path), "cifar-10-batches-py/", cifar10.ARCHIVE, "cifar10/train/<class>/", *cifar10.MIRRORS)
    for part in (*tried, "no test may use the network", "data.root", "data.source=synthetic"):
        assert part in str(caught.value)


def test_a_download_is_verified_and_kept(
    cifar_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cifar_unpacked: Path
) -> None:
    content = (cifar_archive / cifar10.ARCHIVE).read_bytes()
    answers = {cifar10.MIRRORS[0]: b"<html>gone</html>", cifar10.MIRRORS[1]: content}
    monkeypatch.setattr("src.data.download.fetch", answers.__getitem__)
    splits = cifar10.read(tmp_path / "new", PAIR)
    assert (tmp_path / "new" / cifar10.ARCHIVE).read_bytes() == content
    assert torch.equal(splits.train.pixels, cifar10.read(cifar_unpacked, PAIR).train.pixels)

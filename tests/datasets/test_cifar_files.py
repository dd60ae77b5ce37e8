import hashlib
import io
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torchvision import datasets

from src.datasets import cifar_files
from src.datasets.cifar_files import CifarFiles
from src.datasets.images import OfficialSets
from src.datasets.sources import Copy
from src.errors import DataError
from tests.data_files import data_set, facts, python2_pickle, set_facts

NAMES = data_set("cifar10").class_names
UNPACKED, ARCHIVE = facts("cifar10")["folder"], facts("cifar10")["archive"]
PAIR = ("airplane", "bird")


def reader() -> CifarFiles:
    """A reader with the facts of the tiny files that a fixture has made."""
    return CifarFiles(data_set("cifar10"))


def find(place: Path, class_names: tuple[str, ...] = PAIR) -> Copy | None:
    return reader().find(place, class_names)


def read(place: Path, class_names: tuple[str, ...] = PAIR) -> OfficialSets:
    copy = find(place, class_names)
    assert copy is not None
    return copy.read()


def test_the_unpacked_folder_is_read(cifar_unpacked: Path, cifar_batches: dict[str, Any]) -> None:
    splits = read(cifar_unpacked, NAMES)
    assert splits.train.pixels.shape == (100, 3, 32, 32)
    assert splits.test.labels.tolist() == cifar_batches["test_batch"]["labels"]
    third = torch.from_numpy(cifar_batches["data_batch_3"]["data"])
    assert torch.equal(splits.train.pixels[40:60].flatten(1), third)


def test_the_archive_is_read_in_memory(cifar_archive: Path, cifar_unpacked: Path) -> None:
    packed, unpacked = read(cifar_archive, NAMES), read(cifar_unpacked, NAMES)
    assert torch.equal(packed.train.pixels, unpacked.train.pixels)
    assert torch.equal(packed.test.labels, unpacked.test.labels)
    assert [path.name for path in cifar_archive.iterdir()] == [ARCHIVE]


def test_an_image_folder_holds_the_same_images(cifar_images: Path, cifar_unpacked: Path) -> None:
    from_images, from_batches = read(cifar_images), read(cifar_unpacked)
    for split in ("train", "test"):
        ours, theirs = getattr(from_images, split), getattr(from_batches, split)
        for label in (0, 1):
            assert torch.equal(ours.pixels[ours.labels == label], theirs.pixels[theirs.labels == label])
    assert from_images.source.startswith(f"{cifar_images}/cifar10 (image folder, fingerprint ")


def test_a_damaged_or_missing_batch_is_reported(cifar_unpacked: Path) -> None:
    path = cifar_unpacked / UNPACKED / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-1])
    text = rf"^{path} is damaged: its md5 is \w+, expected \w+\. Unpack cifar-10-python\.tar\.gz there again\.$"
    with pytest.raises(DataError, match=text):
        read(cifar_unpacked)
    path.unlink()
    with pytest.raises(DataError, match=rf"^{path} is missing\. Unpack cifar-10-python\.tar\.gz there again\.$"):
        read(cifar_unpacked)


def test_a_damaged_archive_is_reported(cifar_archive: Path) -> None:
    path = cifar_archive / ARCHIVE
    path.write_bytes(path.read_bytes()[:-100])
    said = r"is not a complete cifar-10-python\.tar\.gz: its sha256 is \w+, expected \w+ \([\d,]+ bytes\)\."
    with pytest.raises(DataError, match=rf"^{path} {said} Delete it and run again\.$"):
        read(cifar_archive)
    own = path.rename(cifar_archive / "notes.txt")
    with pytest.raises(DataError, match=rf"^{own} {said} Name another in data\.sources\.$"):
        read(own)


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-batches-py/data_batch_1"])
def test_a_sparse_file_of_ten_gigabytes_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    with (tmp_path / name).open("wb") as file:
        file.truncate(10 << 30)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bytes"):
        read(tmp_path)
    largest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert largest < 100 << 20


def test_an_image_folder_must_have_a_folder_named_by_a_class(tmp_path: Path) -> None:
    (tmp_path / "train" / "photos").mkdir(parents=True)
    assert find(tmp_path) is None
    (tmp_path / "train" / "bird").mkdir()
    assert find(tmp_path) is not None


def test_an_unpacked_folder_is_recognized_by_its_name_or_its_first_file(cifar_unpacked: Path, tmp_path: Path) -> None:
    renamed = (cifar_unpacked / UNPACKED).rename(tmp_path / "batches")
    assert read(renamed).source == str(renamed)
    (tmp_path / "root" / UNPACKED).mkdir(parents=True)
    with pytest.raises(DataError, match=r"cifar-10-batches-py/data_batch_1 is missing\."):
        read(tmp_path / "root")


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "canary"),)

    with pytest.raises(DataError, match=r"^refused to unpickle \w+\.mkdir: a CIFAR-10 batch holds arrays only$"):
        reader().images_of(pickle.dumps({b"data": Evil(), b"labels": [0]}))
    assert not (tmp_path / "canary").exists()


def test_images_and_labels_equal_torchvisions(cifar_unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = list(reader().md5.items())
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [list(item) for item in digests[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [list(item) for item in digests[5:]])
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    theirs = datasets.CIFAR10(cifar_unpacked, train=True)
    ours = read(cifar_unpacked, NAMES).train
    assert numpy.array_equal(theirs.data, ours.pixels.permute(0, 2, 3, 1).numpy())
    assert theirs.targets == ours.labels.tolist()


def test_the_digests_equal_torchvisions() -> None:
    official = datasets.CIFAR10.train_list + datasets.CIFAR10.test_list
    assert dict(official) == reader().md5


def test_a_place_may_be_the_root_or_the_folder_or_file_itself(
    cifar_unpacked: Path, cifar_archive: Path, cifar_images: Path, tmp_path: Path
) -> None:
    unpacked, archive, images = cifar_unpacked / UNPACKED, cifar_archive / ARCHIVE, cifar_images / "cifar10"
    for inside, verified_by, num_files in ((unpacked, "md5", 6), (archive, "sha256", 1), (images, None, 2 * 12)):
        for place in (inside.parent, inside):
            copy = find(place)
            assert copy is not None and copy.place == str(inside)
            assert (copy.verified_by, len(copy.files)) == (verified_by, num_files)
    renamed = archive.rename(tmp_path / "my.tar.gz")
    assert read(renamed).source == str(renamed)
    assert find(tmp_path) is find(tmp_path / "nowhere") is None


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_not_a_regular_file_is_refused(kind: bytes, tmp_path: Path, own_conf: Path) -> None:
    path = archive_of(tmp_path, special("test_batch", kind, link_to="/etc/passwd"))
    text = rf"^{path} has no regular file cifar-10-batches-py/test_batch\. Delete it and run again\.$"
    with pytest.raises(DataError, match=text):
        read(path)


def test_a_member_that_claims_to_be_huge_is_refused(
    tmp_path: Path, own_conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar_files, "MOST_MEMBER_BYTES", 1000)
    with pytest.raises(DataError, match=r"has no regular file cifar-10-batches-py/data_batch_1\."):
        read(archive_of(tmp_path))


def test_members_with_paths_outside_the_archive_are_ignored(tmp_path: Path, own_conf: Path) -> None:
    outside = [special(name, tarfile.REGTYPE) for name in ("../../outside", f"{tmp_path}/absolute")]
    link = special("link", tarfile.SYMTYPE, link_to=str(tmp_path))
    path = archive_of(tmp_path / "root", *outside, link, special("device", tarfile.CHRTYPE))
    assert len(read(path).test) == 4
    assert {found.name for found in tmp_path.rglob("*")} == {"root", path.name}


def special(name: str, kind: bytes, *, link_to: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name if "/" in name else f"{UNPACKED}/{name}")
    member.type, member.linkname = kind, link_to
    return member


def archive_of(folder: Path, *extra: tarfile.TarInfo) -> Path:
    """An archive with the extra members and then tiny batches, accepted as if it were the official one."""
    folder.mkdir(exist_ok=True)
    path = folder / ARCHIVE
    replaced = {member.name for member in extra}
    with tarfile.open(path, "w:gz") as archive:
        for member in extra:
            archive.addfile(member)
        for name in reader().md5:
            content = python2_pickle({"data": numpy.zeros((20, 3072), dtype=numpy.uint8), "labels": [*range(10)] * 2})
            member = tarfile.TarInfo(f"{UNPACKED}/{name}")
            member.size = len(content)
            if member.name not in replaced:
                archive.addfile(member, io.BytesIO(content))
    set_facts("cifar10", archive_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_a_download_is_verified_and_kept(
    cifar_archive: Path, cifar_unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (cifar_archive / ARCHIVE).read_bytes()

    def download(urls: list[str], path: Path, finish: Any, *, max_bytes: int) -> None:
        assert (urls, max_bytes) == (["http://one"], len(content))
        path.write_bytes(b"<html>gone</html>")
        text = rf"^its sha256 is \w+, expected {facts('cifar10')['archive_sha256']} \(17 bytes\)$"
        with pytest.raises(DataError, match=text):
            finish(path)
        path.write_bytes(content)
        finish(path)

    monkeypatch.setattr(cifar_files, "download", download)
    reader().fetch(["http://one"], tmp_path)
    assert torch.equal(read(tmp_path).train.pixels, read(cifar_unpacked).train.pixels)
    monkeypatch.setattr(cifar_files, "download", lambda *arguments: pytest.fail("what is there is downloaded again"))
    reader().fetch(["http://one"], tmp_path)
    reader().fetch(["http://one"], cifar_unpacked)

from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from src.datasets import cifar_files, idx_files, sources
from src.datasets.cifar_files import CifarFiles
from src.datasets.idx_files import IdxFiles
from src.datasets.images import OfficialSets
from src.errors import DataError
from tests.data_files import data_set

NAMES = data_set("fashion_mnist").class_names
PAIR = ("airplane", "bird")
WEB = "http://one"
Patch = pytest.MonkeyPatch


def fashion() -> IdxFiles:
    """A reader with the facts of the tiny files that a fixture has made."""
    return IdxFiles(data_set("fashion_mnist"))


def cifar10() -> CifarFiles:
    return CifarFiles(data_set("cifar10"))


def read(*places: str | Path, root: Path = Path("nowhere"), cache_folder: Path | None = None) -> OfficialSets:
    sources.read.cache_clear()
    return sources.read(fashion(), NAMES, sources=tuple(map(str, places)), root=root, cache_folder=cache_folder)


def read_cifar10(place: Path, class_names: tuple[str, ...], cache_folder: Path) -> OfficialSets:
    return sources.read(cifar10(), class_names, sources=(str(place),), root=place, cache_folder=cache_folder)


@pytest.fixture
def fetch(monkeypatch: Patch) -> Mock:
    """Replaces the downloads, which all fail."""
    fetch = Mock(side_effect=DataError("the files could not be downloaded (reasons)"))
    monkeypatch.setattr(IdxFiles, "fetch", fetch)
    return fetch


def test_the_first_source_that_has_the_data_is_used(fashion_root: Path, raw: Path, fetch: Mock) -> None:
    assert read("nothing here", fashion_root, WEB).source == str(raw)
    fetch.assert_not_called()
    assert read("https://one", "https://two", fashion_root, "http://three").source == str(raw)
    fetch.assert_called_once_with(("https://one", "https://two"), Path("nowhere"))


def test_a_download_is_read_from_the_root(fashion_root: Path, raw: Path, monkeypatch: Patch) -> None:
    asked = []
    monkeypatch.setattr(IdxFiles, "fetch", lambda self, urls, root: asked.append(root))
    assert read("nothing here", WEB, root=fashion_root).source == str(raw)
    assert asked == [fashion_root]


def test_a_damaged_copy_is_an_error_even_if_others_follow(fashion_root: Path, raw: Path, fetch: Mock) -> None:
    path = raw / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"^{path} is damaged: its sha256 is "):
        read(fashion_root, WEB)
    fetch.assert_not_called()


def test_if_no_source_has_the_data_the_error_lists_what_was_tried_and_what_to_do(tmp_path: Path, fetch: Mock) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "one", tmp_path / "two", WEB, root=tmp_path / "root")
    assert str(caught.value) == (
        f"Fashion-MNIST was not found: {tmp_path}/one has no {fashion().expected}; "
        f"{tmp_path}/two has no {fashion().expected}; the files could not be downloaded (reasons). "
        f"Put the files into {tmp_path}/root, name a folder, file or address in data.sources, "
        "install Debian's package dataset-fashion-mnist, or try data.source=synthetic (generated images)."
    )


def test_the_cache_is_used_until_a_file_of_the_source_changes(raw: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    first = read(raw, cache_folder=tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(idx_files, "verified", lambda *arguments: pytest.fail("read again"))
        second = read(raw, cache_folder=tmp_path / "cache")
    assert torch.equal(first.train.pixels, second.train.pixels) and first.source == second.source
    path = raw / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=rf"^{path} is damaged"):
        read(raw, cache_folder=tmp_path / "cache")


def test_a_copy_in_another_folder_does_not_use_the_cache_of_the_first(raw: Path, tmp_path: Path) -> None:
    read(raw, cache_folder=tmp_path / "cache")
    moved = raw.rename(tmp_path / "moved")
    assert read(moved, cache_folder=tmp_path / "cache").source == str(moved)


def test_reading_does_not_change_the_root(fashion_root: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in fashion_root.rglob("*")}
    read(fashion_root, cache_folder=tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in fashion_root.rglob("*")} == before


def test_the_cache_holds_only_the_selected_classes(cifar_unpacked: Path, tmp_path: Path) -> None:
    for names in (PAIR, PAIR[::-1], data_set("cifar10").class_names):
        read_cifar10(cifar_unpacked, names, cache_folder=tmp_path / "cache")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "cache").glob("*_train.npz")}
    forward, backward, everything = (f"cifar-10{kind}_train.npz" for kind in ("_airplane+bird", "_bird+airplane", ""))
    assert sizes.keys() == {forward, backward, everything}
    assert 20 * 3072 < sizes[forward] < 100 * 3072 < sizes[everything]


def test_a_process_reads_a_data_set_once(fashion_root: Path) -> None:
    settings: dict[str, Any] = {"sources": (str(fashion_root),), "root": fashion_root, "cache_folder": None}
    first = sources.read(fashion(), NAMES, **settings)
    sources.read(fashion(), NAMES[:2], **settings)
    assert sources.read(fashion(), NAMES, **settings) is first


@pytest.mark.parametrize("method", ["open", "is_file"])
def test_a_file_that_cannot_be_read_is_reported(fashion_root: Path, monkeypatch: Patch, method: str) -> None:
    allow = getattr(Path, method)

    def refuse(path: Path, *mode: str, **settings: Any) -> Any:
        if path.is_relative_to(fashion_root):
            raise PermissionError(13, "Permission denied", str(path))
        return allow(path, *mode, **settings)

    monkeypatch.setattr(Path, method, refuse)
    text = r"^could not read .*/train-images-idx3-ubyte: Permission denied\. Try another data\.root or data\.sources\.$"
    with pytest.raises(DataError, match=text):
        read(fashion_root)


def test_the_home_folder_of_an_unknown_user_has_no_data(fetch: Mock) -> None:
    with pytest.raises(DataError, match=r"^Fashion-MNIST was not found: ~nosuchuser/data has no FashionMNIST/raw/"):
        read("~nosuchuser/data")


def test_the_next_job_does_not_repeat_a_failed_download(fetch: Mock, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match="the files could not be downloaded"):
            read(WEB, root=tmp_path)
    fetch.assert_called_once()


def test_a_copy_with_a_missing_file_has_no_stamp_and_the_file_is_reported(cifar_unpacked: Path, tmp_path: Path) -> None:
    path = cifar_unpacked / data_set("cifar10").folder / "test_batch"
    path.unlink()
    copy = cifar10().find(cifar_unpacked, PAIR)
    assert copy is not None and copy.stamp() is None
    with pytest.raises(DataError, match=rf"^{path} is missing\."):
        read_cifar10(cifar_unpacked, PAIR, cache_folder=tmp_path / "cache")


@pytest.mark.parametrize(
    ("module", "reader", "name"),
    [(idx_files, fashion, "train-images-idx3-ubyte"), (cifar_files, cifar10, "cifar-10-python.tar.gz")],
)
def test_a_failed_download_names_the_file(
    module: ModuleType, reader: Any, name: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(module, "download", Mock(side_effect=DataError("could not be downloaded (reasons)")))
    with pytest.raises(DataError) as caught:
        reader().fetch([WEB], tmp_path)
    assert str(caught.value) == f"{name} could not be downloaded (reasons)"

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from src.datasets import idx_files, sources
from src.datasets.cifar_files import CifarFiles
from src.datasets.idx_files import IdxFiles
from src.datasets.images import OfficialSets
from src.errors import DataError
from tests.data_files import data_set

NAMES = data_set("fashion_mnist").class_names
WEB = "http://one"


def fashion() -> IdxFiles:
    """With the facts of the tiny files that a fixture has made."""
    return IdxFiles(data_set("fashion_mnist"))


def read(*places: str | Path, root: Path | None = None, cache_folder: Path | None = None) -> OfficialSets:
    sources.read.cache_clear()
    return sources.read(
        fashion(),
        NAMES,
        sources=tuple(map(str, places)),
        root=root or Path("nowhere"),
        cache_folder=cache_folder,
    )


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Path]]:
    """What was asked of the downloads, none of which succeeds."""
    asked = []

    def fetch(self: IdxFiles, urls: Sequence[str], root: Path) -> None:
        asked.append((list(urls), root))
        raise DataError("the files could not be downloaded (reasons)")

    monkeypatch.setattr(IdxFiles, "fetch", fetch)
    return asked


def test_the_first_source_that_has_the_data_is_used(fashion_root: Path, tmp_path: Path, fetched: list[Any]) -> None:
    raw = str(fashion_root / "FashionMNIST" / "raw")
    assert read(tmp_path / "nothing here", fashion_root, WEB).source == raw
    assert fetched == []
    assert read("https://one", "https://two", fashion_root, "http://three").source == raw
    assert fetched == [(["https://one", "https://two"], Path("nowhere"))]


def test_what_is_downloaded_is_read_from_the_root(
    fashion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(IdxFiles, "fetch", lambda self, urls, root: asked.append(root))
    assert read(tmp_path, WEB, root=fashion_root).source == str(fashion_root / "FashionMNIST" / "raw")
    assert asked == [fashion_root]


def test_a_damaged_copy_is_an_error_even_if_others_follow(fashion_root: Path, fetched: list[Any]) -> None:
    path = fashion_root / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"^{path} is damaged: its sha256 is "):
        read(fashion_root, WEB)
    assert fetched == []


def test_without_any_source_the_error_names_what_was_tried_and_every_way_out(
    tmp_path: Path, fetched: list[Any]
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "one", tmp_path / "two", WEB, root=tmp_path / "root")
    assert str(caught.value) == (
        f"Fashion-MNIST was not found: {tmp_path}/one has no {fashion().expected}; "
        f"{tmp_path}/two has no {fashion().expected}; the files could not be downloaded (reasons). "
        f"Put the files into {tmp_path}/root, name a folder, file or address in data.sources, "
        "install Debian's package dataset-fashion-mnist, or try data.source=synthetic (generated images)."
    )


def test_the_cache_answers_until_a_file_of_the_source_changes(
    fashion_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, cache_folder = fashion_root / "FashionMNIST" / "raw", tmp_path / "cache"
    first = read(fashion_root, cache_folder=cache_folder)
    with monkeypatch.context() as patched:
        patched.setattr(idx_files, "verified", lambda *arguments: pytest.fail("read again"))
        second = read(fashion_root, cache_folder=cache_folder)
    assert torch.equal(first.train.pixels, second.train.pixels) and first.source == second.source
    path = raw / "train-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^{path} is damaged"):
        read(fashion_root, cache_folder=cache_folder)


def test_a_copy_elsewhere_is_not_answered_from_the_cache_of_another(fashion_root: Path, tmp_path: Path) -> None:
    read(fashion_root, cache_folder=tmp_path / "cache")
    fashion_root.rename(tmp_path / "moved")
    moved = read(tmp_path / "moved", cache_folder=tmp_path / "cache")
    assert moved.source == str(tmp_path / "moved" / "FashionMNIST" / "raw")


def test_a_root_is_never_altered(fashion_root: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in fashion_root.rglob("*")}
    read(fashion_root, cache_folder=tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in fashion_root.rglob("*")} == before


def test_the_cache_keeps_the_selected_classes_alone(cifar_unpacked: Path, tmp_path: Path) -> None:
    for names in (("airplane", "bird"), ("bird", "airplane"), data_set("cifar10").class_names):
        settings: dict[str, Any] = {"root": cifar_unpacked, "cache_folder": tmp_path / "cache"}
        sources.read(CifarFiles(data_set("cifar10")), names, sources=(str(cifar_unpacked),), **settings)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "cache").glob("*_train.npz")}
    assert set(sizes) == {
        "cifar-10_airplane+bird_train.npz",
        "cifar-10_bird+airplane_train.npz",
        "cifar-10_train.npz",
    }
    assert 20 * 3072 < sizes["cifar-10_airplane+bird_train.npz"] < 100 * 3072 < sizes["cifar-10_train.npz"]


def test_a_process_reads_a_data_set_once(fashion_root: Path) -> None:
    settings: dict[str, Any] = {"sources": (str(fashion_root),), "root": fashion_root, "cache_folder": None}
    first = sources.read(fashion(), NAMES, **settings)
    sources.read(fashion(), NAMES[:2], **settings)
    assert sources.read(fashion(), NAMES, **settings) is first


@pytest.mark.parametrize("method", ["open", "is_file"])
def test_what_cannot_be_read_is_named(fashion_root: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    allow = getattr(Path, method)

    def refuse(path: Path, *mode: str, **settings: Any) -> Any:
        if path.is_relative_to(fashion_root):
            raise PermissionError(13, "Permission denied", str(path))
        return allow(path, *mode, **settings)

    monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(
        DataError,
        match=r"^could not read .*/train-images-idx3-ubyte: Permission denied\. Try another data\.root or data\.sour",
    ):
        read(fashion_root)


def test_a_home_that_nobody_has_is_a_place_without_data(fetched: list[Any]) -> None:
    with pytest.raises(DataError, match=r"^Fashion-MNIST was not found: ~nosuchuser/data has no FashionMNIST/raw/"):
        read("~nosuchuser/data")


def test_a_download_that_has_failed_is_not_tried_again_by_the_next_job(fetched: list[Any], tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match="the files could not be downloaded"):
            read(WEB, root=tmp_path)
    assert len(fetched) == 1


def test_a_copy_that_lacks_a_file_has_no_stamp_and_the_file_is_named(cifar_unpacked: Path, tmp_path: Path) -> None:
    path = cifar_unpacked / data_set("cifar10").folder / "test_batch"
    path.unlink()
    copy = CifarFiles(data_set("cifar10")).find(cifar_unpacked, ("airplane", "bird"))
    assert copy is not None and copy.stamp() is None
    with pytest.raises(DataError, match=rf"^{path} is missing\."):
        sources.read(
            CifarFiles(data_set("cifar10")),
            ("airplane", "bird"),
            sources=(str(cifar_unpacked),),
            root=tmp_path,
            cache_folder=tmp_path / "cache",
        )

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch

from src.datasets import idx_files
from src.datasets.idx_files import IdxFiles
from src.datasets.images import OfficialSets
from src.datasets.sources import Copy
from src.errors import DataError
from tests.data_files import data_set

NAMES = data_set("fashion_mnist").class_names
LABELS = "train-labels-idx1-ubyte"


def reader() -> IdxFiles:
    """With the facts of the tiny files that a fixture has made."""
    return IdxFiles(data_set("fashion_mnist"))


def find(place: Path, class_names: tuple[str, ...]) -> Copy | None:
    return reader().find(place, class_names)


def read(place: Path, class_names: tuple[str, ...] = NAMES) -> OfficialSets:
    copy = find(place, class_names)
    assert copy is not None
    return copy.read()


def test_the_unpacked_files_are_read_as_torchvision_left_them(fashion_root: Path) -> None:
    sets = read(fashion_root)
    assert sets.train.pixels.shape == (60, 1, 28, 28)
    assert sets.train.labels.tolist() == [number % 10 for number in range(60)]
    assert sets.source == str(fashion_root / "FashionMNIST" / "raw")


def test_the_packed_files_are_read_too_and_the_root_is_never_altered(fashion_root: Path) -> None:
    raw = fashion_root / "FashionMNIST" / "raw"
    expected = read(fashion_root)
    for name in reader().sha256:
        (raw / name).unlink()
    before = sorted(raw.iterdir())
    assert torch.equal(read(fashion_root).train.pixels, expected.train.pixels)
    assert sorted(raw.iterdir()) == before


def test_a_folder_that_holds_the_files_itself_is_found_and_one_that_lacks_some_is_not(fashion_root: Path) -> None:
    raw = fashion_root / "FashionMNIST" / "raw"
    assert read(raw).source == str(raw)
    (raw / LABELS).unlink()
    assert find(raw, NAMES) is not None
    (raw / f"{LABELS}.gz").unlink()
    assert find(raw, NAMES) is find(fashion_root, NAMES) is find(fashion_root / "nowhere", NAMES) is None


def test_a_copy_is_made_of_the_files_that_are_read(fashion_root: Path) -> None:
    raw = fashion_root / "FashionMNIST" / "raw"
    (raw / LABELS).unlink()
    copy = find(fashion_root, NAMES)
    assert copy is not None and copy.verified_by == "sha256"
    assert {Path(path).name for path in copy.files} == {*reader().sha256, f"{LABELS}.gz"} - {LABELS}


def test_selected_classes_are_relabelled_in_the_order_they_are_named(fashion_root: Path) -> None:
    sets = read(fashion_root, ("bag", "t-shirt"))
    everything = read(fashion_root)
    assert sets.train.labels.tolist() == [1, 0] * 6
    assert torch.equal(sets.train.pixels[1], everything.train.pixels[8])


@pytest.mark.parametrize("name", ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"])
def test_one_flipped_byte_is_found(fashion_root: Path, name: str) -> None:
    path = fashion_root / "FashionMNIST" / "raw" / name
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    expected = reader().sha256[name]
    with pytest.raises(
        DataError,
        match=rf"^{path} is damaged: its sha256 is (?!{expected})\w{{64}}, expected {expected} \([\d,]+ bytes\)\. "
        r"Replace it, or delete it and run again\.$",
    ):
        read(fashion_root)


def test_a_truncated_gzip_file_is_found(fashion_root: Path) -> None:
    raw = fashion_root / "FashionMNIST" / "raw"
    (raw / LABELS).unlink()
    path = raw / f"{LABELS}.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        DataError,
        match=rf"^{path} is damaged: not a whole gzip file \(.*\), expected sha256 \w+ unpacked\. Replace it",
    ):
        read(fashion_root)


def test_a_small_file_that_unpacks_to_a_huge_one_is_not_unpacked(
    fashion_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = fashion_root / "FashionMNIST" / "raw"
    (raw / LABELS).unlink()
    monkeypatch.setattr(idx_files, "MOST_BYTES", 1000)
    (raw / f"{LABELS}.gz").write_bytes(gzip.compress(bytes(10_000)))
    with pytest.raises(DataError, match=r"is damaged: not a whole gzip file \(it ends early, or is far too long\)"):
        read(fashion_root)


def mirror(monkeypatch: pytest.MonkeyPatch, answers: dict[str, bytes]) -> list[str]:
    """Stands for the download of one file: tries its addresses in turn, and tells which were asked."""
    asked = []

    def download(urls: list[str], path: Path, finish: object, *, max_bytes: int) -> None:
        asked.append(urls[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name("arrived")
        partial.write_bytes(answers[path.name])
        finish(partial)  # type: ignore[operator]
        partial.replace(path)

    monkeypatch.setattr(idx_files, "download", download)
    return asked


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_what_is_downloaded_is_unpacked_verified_and_kept_where_torchvision_would(
    fashion_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: object
) -> None:
    asked = mirror(monkeypatch, {name: pack(content) for name, content in fashion_files.items()})  # type: ignore
    reader().fetch(["http://one/fashion/", "http://two"], tmp_path)
    raw = tmp_path / "FashionMNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == fashion_files
    assert asked == [f"http://one/fashion/{name}.gz" for name in fashion_files]


def test_only_what_is_missing_is_downloaded(
    fashion_root: Path, fashion_files: dict[str, bytes], monkeypatch: Any
) -> None:
    asked = mirror(monkeypatch, fashion_files)
    reader().fetch(["http://one"], fashion_root)
    assert asked == []
    for name in ("train-images-idx3-ubyte", LABELS):
        for path in (fashion_root / "FashionMNIST" / "raw").glob(f"{name}*"):
            path.unlink()
    reader().fetch(["http://one"], fashion_root)
    assert asked == [f"http://one/{name}.gz" for name in ("train-images-idx3-ubyte", LABELS)]


def test_a_failed_download_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*arguments: Any, **named: Any) -> None:
        raise DataError("could not be downloaded (reasons)")

    monkeypatch.setattr(idx_files, "download", download)
    with pytest.raises(DataError, match=r"^train-images-idx3-ubyte could not be downloaded \(reasons\)$"):
        reader().fetch(["http://one"], tmp_path)


def test_a_full_disk_while_unpacking_leaves_what_was_downloaded(
    fashion_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "arrived.part"
    path.write_bytes(gzip.compress(fashion_files[LABELS]))
    before = path.read_bytes()

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        idx_files.unpack(reader().sha256[LABELS], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

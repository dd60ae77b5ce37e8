import gzip
from pathlib import Path

import pytest
import torch

from src.datasets import idx_files
from src.datasets.idx_files import IdxFiles
from src.datasets.images import OfficialSets
from src.datasets.sources import Copy
from src.errors import DataError
from tests.data_files import data_set

NAMES = data_set("fashion_mnist").class_names
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
Patch = pytest.MonkeyPatch


def reader() -> IdxFiles:
    """A reader with the facts of the tiny files that a fixture has made."""
    return IdxFiles(data_set("fashion_mnist"))


def find(place: Path, class_names: tuple[str, ...] = NAMES) -> Copy | None:
    return reader().find(place, class_names)


def read(place: Path, class_names: tuple[str, ...] = NAMES) -> OfficialSets:
    copy = find(place, class_names)
    assert copy is not None
    return copy.read()


def test_the_unpacked_files_are_read_where_torchvision_leaves_them(fashion_root: Path, raw: Path) -> None:
    sets = read(fashion_root)
    assert sets.train.pixels.shape == (60, 1, 28, 28)
    assert sets.train.labels.tolist() == [number % 10 for number in range(60)]
    assert sets.source == str(raw)


def test_the_packed_files_are_read_too_and_the_root_does_not_change(fashion_root: Path, raw: Path) -> None:
    expected = read(fashion_root)
    for name in reader().sha256:
        (raw / name).unlink()
    before = sorted(raw.iterdir())
    assert torch.equal(read(fashion_root).train.pixels, expected.train.pixels)
    assert sorted(raw.iterdir()) == before


def test_the_folder_of_the_files_is_found_unless_a_file_is_missing(fashion_root: Path, raw: Path) -> None:
    assert read(raw).source == str(raw)
    (raw / LABELS).unlink()
    assert find(raw) is not None
    (raw / f"{LABELS}.gz").unlink()
    assert find(raw) is find(fashion_root) is find(fashion_root / "nowhere") is None


def test_a_copy_consists_of_the_files_that_are_read(raw: Path) -> None:
    (raw / LABELS).unlink()
    copy = find(raw)
    assert copy is not None and copy.verified_by == "sha256"
    assert {Path(path).name for path in copy.files} == {*reader().sha256, f"{LABELS}.gz"} - {LABELS}


def test_selected_classes_are_relabelled_in_the_order_of_their_names(fashion_root: Path) -> None:
    sets, everything = read(fashion_root, ("bag", "t-shirt")), read(fashion_root)
    assert sets.train.labels.tolist() == [1, 0] * 6
    assert torch.equal(sets.train.pixels[1], everything.train.pixels[8])


@pytest.mark.parametrize("name", [LABELS, "t10k-images-idx3-ubyte"])
def test_one_flipped_bit_is_detected(raw: Path, name: str) -> None:
    content = bytearray((raw / name).read_bytes())
    content[20] ^= 1
    (raw / name).write_bytes(content)
    expected = reader().sha256[name]
    said = rf"its sha256 is (?!{expected})\w{{64}}, expected {expected} \([\d,]+ bytes\)"
    text = rf"^{raw / name} is damaged: {said}\. Replace it, or delete it and run again\.$"
    with pytest.raises(DataError, match=text):
        read(raw)


def test_a_packed_file_that_is_cut_off_or_unpacks_to_too_much_is_damaged(raw: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(idx_files, "MOST_BYTES", 1000)
    path = (raw / LABELS).replace(raw / f"{LABELS}.gz")
    said = r"not a whole gzip file \(it ends early, or is far too long\), expected sha256 \w+ unpacked\. Replace it"
    for content in (gzip.compress(path.read_bytes())[:-9], gzip.compress(bytes(10_000))):
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^{path} is damaged: {said}"):
            read(raw)


def mirror(monkeypatch: Patch, answers: dict[str, bytes]) -> list[str]:
    """Replaces the download of a file by one of these answers; returns the list of the first addresses."""
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
def test_downloads_are_unpacked_verified_and_kept_in_torchvisions_folder(
    fashion_files: dict[str, bytes], tmp_path: Path, monkeypatch: Patch, pack: object
) -> None:
    asked = mirror(monkeypatch, {name: pack(content) for name, content in fashion_files.items()})  # type: ignore
    reader().fetch(["http://one/fashion/", "http://two"], tmp_path)
    raw = tmp_path / "FashionMNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == fashion_files
    assert asked == [f"http://one/fashion/{name}.gz" for name in fashion_files]


def test_only_missing_files_are_downloaded(
    fashion_root: Path, raw: Path, fashion_files: dict[str, bytes], monkeypatch: Patch
) -> None:
    asked = mirror(monkeypatch, fashion_files)
    reader().fetch(["http://one"], fashion_root)
    assert asked == []
    for path in [*raw.glob(f"{IMAGES}*"), *raw.glob(f"{LABELS}*")]:
        path.unlink()
    reader().fetch(["http://one"], fashion_root)
    assert asked == [f"http://one/{name}.gz" for name in (IMAGES, LABELS)]


def test_a_full_disk_while_unpacking_keeps_the_download(
    fashion_files: dict[str, bytes], tmp_path: Path, monkeypatch: Patch
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

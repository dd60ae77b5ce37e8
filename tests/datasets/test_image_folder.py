import dataclasses
import signal
import subprocess
import sys
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from unittest.mock import Mock

import numpy
import pytest
import torch
from PIL import Image

from src.datasets import image_folder
from src.datasets.images import OfficialSets
from src.errors import DataError
from tests.data_files import data_set, pixels_of
from tests.runs import ROOT

CIFAR10, FASHION_MNIST = data_set("cifar10"), data_set("fashion_mnist")
PAIR = ("airplane", "bird")
DAMAGED = r"is damaged: it cannot be read as a PNG or JPEG image\. Replace it\."
TINY = dataclasses.replace(CIFAR10, train_per_class=2, test_per_class=1)


def read(folder: Path, class_names: tuple[str, ...] = PAIR) -> OfficialSets:
    return image_folder.read(folder, TINY, class_names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two training images and one test image of each class, each in a colour of its own."""
    for (number, name), (split, image) in product(enumerate(PAIR), (("train", 0), ("train", 1), ("test", 0))):
        (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
        colour = (100 * number + 10 * image, 50, 200 if split == "train" else 0)
        Image.new("RGB", (32, 32), colour).save(tmp_path / split / name / f"{image}.png")
    return tmp_path


def test_images_are_sorted_by_class_and_file_name(folder: Path) -> None:
    sets = read(folder)
    assert sets.train.labels.tolist() == [0, 0, 1, 1] and sets.test.labels.tolist() == [0, 1]
    assert sets.train.pixels[:, 0, 0, 0].tolist() == [0, 10, 100, 110]
    assert sets.test.pixels[:, :, 5, 9].tolist() == [[0, 50, 0], [100, 50, 0]]
    assert read(folder, ("bird", "airplane")).test.pixels[0, 0, 0, 0] == 100


def test_pixels_equal_pillows(tmp_path: Path) -> None:
    pixels = pixels_of(32, (32, 3), seed=0)
    for name in ("a.png", "a.jpg", "a.JPEG"):
        path = tmp_path / name
        Image.fromarray(pixels).save(path)
        theirs = torch.from_numpy(numpy.array(Image.open(path))).permute(2, 0, 1)
        assert torch.equal(image_folder.decode(str(path), CIFAR10), theirs)


def test_images_are_converted_to_the_channels_of_the_data_set(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    for mode in ("L", "P", "RGBA"):
        image = Image.new("RGB", (32, 32), (90, 90, 90))
        (image.quantize() if mode == "P" else image.convert(mode)).save(path)
        assert (image_folder.decode(str(path), CIFAR10) == 90).all()
    Image.new("RGB", (28, 28), (90, 90, 90)).save(path)
    assert image_folder.decode(str(path), FASHION_MNIST).shape == (1, 28, 28)


def test_the_source_has_a_fingerprint_of_the_pixels(folder: Path) -> None:
    before = read(folder).source
    assert before.startswith(f"{folder} (image folder, fingerprint ")
    assert read(folder).source == before
    Image.new("RGB", (32, 32), (100, 50, 1)).save(folder / "test" / "bird" / "0.png")
    assert read(folder).source != before


@pytest.mark.parametrize(("split", "found", "expected"), [("train", 1, 2), ("test", 0, 1)])
def test_a_missing_image_is_reported(folder: Path, split: str, found: int, expected: int) -> None:
    here = folder / split / "bird"
    (here / "0.png").unlink()
    text = rf"^{here} has {found} \.png and \.jpg images, expected {expected}\. Put all images of class 'bird' there\.$"
    with pytest.raises(DataError, match=text):
        read(folder)


def test_a_class_without_a_folder_has_no_images(folder: Path) -> None:
    with pytest.raises(DataError, match=r"train/cat has 0 \.png and \.jpg images, expected 2\."):
        read(folder, (*PAIR, "cat"))


def test_files_without_the_ending_of_an_image_are_ignored(folder: Path) -> None:
    (folder / "train" / "bird" / "README.txt").write_text("birds")
    assert len(read(folder).train) == 4


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (40, 32)), r"is 40x32 pixels, expected 32x32\. Replace it\.$"),
        (Image.fromarray(numpy.zeros((32, 32), dtype=numpy.uint16)), r"has more than 8 bits a channel\. Replace it\.$"),
        *[(content, f"{DAMAGED}$") for content in (b"not a picture", b"\x89PNG\r\n\x1a\n123", b"")],
    ],
)
def test_an_unusable_image_is_reported_with_the_reason(folder: Path, image: Image.Image | bytes, reason: str) -> None:
    path = folder / "test" / "bird" / "0.png"
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path)
    with pytest.raises(DataError, match=rf"^{path} {reason}"):
        read(folder)


def test_many_images_keep_their_order_and_are_decoded_with_a_progress_bar(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown = []

    class Bar(nullcontext):
        def __init__(self, total: int, **settings: object) -> None:
            super().__init__(self)
            assert settings["disable"] is None  # no bar without a terminal
            shown.append(total)

        def update(self, count: int) -> None:
            shown.append(count)

    whole = read(folder)
    monkeypatch.setattr(image_folder, "CHUNK", 4)
    monkeypatch.setattr(image_folder, "tqdm", Bar)
    with caplog.at_level("INFO"):
        assert torch.equal(read(folder).train.pixels, whole.train.pixels)
    assert shown == [6, 4, 2]
    assert caplog.messages == [f"decoding 6 images in {folder}, once"]


def test_workers_decode_the_same_and_report_a_damaged_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(folder)
    monkeypatch.setattr(image_folder, "CHUNK", 1)
    monkeypatch.setattr(image_folder, "WORTH_WORKERS", 1)
    decode = Mock(wraps=image_folder.decode)
    monkeypatch.setattr(image_folder, "decode", decode)
    assert torch.equal(read(folder).test.pixels, whole.test.pixels)
    decode.assert_not_called()  # it was called in other processes
    path = folder / "test" / "bird" / "0.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=rf"^{path} {DAMAGED}$"):
        read(folder)


def test_a_worker_ignores_ctrl_c_and_ends_on_sigterm() -> None:
    prepare = "import os, signal; from src.datasets.image_folder import leave_signals; leave_signals(0)"
    for name, expected in (("SIGINT", (0, "alive\n")), ("SIGTERM", (-signal.SIGTERM, ""))):
        line = [sys.executable, "-c", f"{prepare}; os.kill(os.getpid(), signal.{name}); print('alive')"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == expected

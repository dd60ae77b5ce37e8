import dataclasses
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from src.datasets import image_folder
from src.errors import DataError
from tests.data_files import data_set

CIFAR10, FASHION_MNIST = data_set("cifar10"), data_set("fashion_mnist")

PAIR = ("airplane", "bird")
TINY = dataclasses.replace(CIFAR10, train_per_class=2, test_per_class=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two training images and one test image of each class, each in a colour of its own."""
    for number, name in enumerate(PAIR):
        for split, count in (("train", 2), ("test", 1)):
            (tmp_path / split / name).mkdir(parents=True)
            for image in range(count):
                colour = (100 * number + 10 * image, 50, 200 if split == "train" else 0)
                Image.new("RGB", (32, 32), colour).save(tmp_path / split / name / f"{image}.png")
    return tmp_path


def test_images_come_by_class_and_name(folder: Path) -> None:
    sets = image_folder.read(folder, TINY, PAIR)
    assert sets.train.labels.tolist() == [0, 0, 1, 1] and sets.test.labels.tolist() == [0, 1]
    assert sets.train.pixels[:, 0, 0, 0].tolist() == [0, 10, 100, 110]
    assert sets.test.pixels[:, :, 5, 9].tolist() == [[0, 50, 0], [100, 50, 0]]
    assert image_folder.read(folder, TINY, ("bird", "airplane")).test.pixels[0, 0, 0, 0] == 100


def test_pixels_are_those_that_pillow_reads(tmp_path: Path) -> None:
    pixels = numpy.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=numpy.uint8)
    for name in ("a.png", "a.jpg", "a.JPEG"):
        path = tmp_path / name
        Image.fromarray(pixels).save(path)
        theirs = torch.from_numpy(numpy.array(Image.open(path))).permute(2, 0, 1)
        assert torch.equal(image_folder.decode(str(path), CIFAR10), theirs)


def test_grey_and_palette_images_are_read_in_colour_and_colour_in_grey_for_a_grey_data_set(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    for mode in ("L", "P", "RGBA"):
        image = Image.new("RGB", (32, 32), (90, 90, 90))
        (image.quantize() if mode == "P" else image.convert(mode)).save(path)
        assert (image_folder.decode(str(path), CIFAR10) == 90).all()
    Image.new("RGB", (28, 28), (90, 90, 90)).save(path)
    assert image_folder.decode(str(path), FASHION_MNIST).shape == (1, 28, 28)


def test_the_source_tells_a_fingerprint_of_the_pixels(folder: Path) -> None:
    def source() -> str:
        return image_folder.read(folder, TINY, PAIR).source

    before = source()
    assert before.startswith(f"{folder} (image folder, fingerprint ")
    assert source() == before
    path = folder / "test" / "bird" / "0.png"
    Image.new("RGB", (32, 32), (100, 50, 1)).save(path)
    assert source() != before


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_image_is_found(folder: Path, split: str) -> None:
    here = folder / split / "bird"
    (here / "0.png").unlink()
    found, expected = {"train": (1, 2), "test": (0, 1)}[split]
    with pytest.raises(
        DataError,
        match=rf"^{here} has {found} \.png and \.jpg images, expected {expected}\. Put all images of class 'bird' ",
    ):
        image_folder.read(folder, TINY, PAIR)


def test_a_class_without_a_folder_has_no_images(folder: Path) -> None:
    with pytest.raises(DataError, match=r"train/cat has 0 \.png and \.jpg images, expected 2\."):
        image_folder.read(folder, TINY, (*PAIR, "cat"))


def test_files_that_are_no_images_by_name_are_left_alone(folder: Path) -> None:
    (folder / "train" / "bird" / "README.txt").write_text("birds")
    assert len(image_folder.read(folder, TINY, PAIR).train) == 4


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (40, 32)), r"is 40x32 pixels, expected 32x32\. Replace it\.$"),
        (Image.fromarray(numpy.zeros((32, 32), dtype=numpy.uint16)), r"has more than 8 bits a channel\. Replace it\.$"),
        (b"not a picture", r"is damaged: it cannot be read as a PNG or JPEG image\. Replace it\.$"),
        (b"\x89PNG\r\n\x1a\n123", r"is damaged: it cannot be read"),
        (b"", r"is damaged: it cannot be read"),
    ],
)
def test_an_image_that_cannot_be_right_is_named(folder: Path, image: Image.Image | bytes, reason: str) -> None:
    path = folder / "test" / "bird" / "0.png"
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path)
    with pytest.raises(DataError, match=rf"^{path} {reason}"):
        image_folder.read(folder, TINY, PAIR)


def test_many_images_keep_their_order_and_are_decoded_behind_a_progress_bar(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown = []

    class Bar:
        def __init__(self, total: int, **settings: object) -> None:
            assert settings["disable"] is None  # off where there is no terminal
            shown.append(total)

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def update(self, count: int) -> None:
            shown.append(count)

    whole = image_folder.read(folder, TINY, PAIR)
    monkeypatch.setattr(image_folder, "CHUNK", 4)
    monkeypatch.setattr(image_folder, "tqdm", Bar)
    with caplog.at_level("INFO"):
        assert torch.equal(image_folder.read(folder, TINY, PAIR).train.pixels, whole.train.pixels)
    assert shown == [6, 4, 2]
    assert caplog.messages == [f"decoding 6 images in {folder}, once"]


def test_workers_decode_the_same_and_name_what_is_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = image_folder.read(folder, TINY, PAIR)
    monkeypatch.setattr(image_folder, "CHUNK", 1)
    monkeypatch.setattr(image_folder, "WORTH_WORKERS", 1)
    decoded_here = []
    monkeypatch.setattr(image_folder, "decode", remembering(image_folder.decode, decoded_here))
    assert torch.equal(image_folder.read(folder, TINY, PAIR).test.pixels, whole.test.pixels)
    assert not decoded_here  # but in other processes
    path = folder / "test" / "bird" / "0.png"
    path.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=rf"^{path} is damaged: it cannot be read as a PNG or JPEG image\. Replace it"):
        image_folder.read(folder, TINY, PAIR)


def remembering(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    return called


def test_ctrl_c_is_left_to_the_process_that_started_the_workers() -> None:
    code = (
        "import os, signal; from src.datasets.image_folder import leave_signals; leave_signals(0); {}; print('alive')"
    )
    for name, ends in (("SIGINT", False), ("SIGTERM", True)):
        line = [sys.executable, "-c", code.format(f"os.kill(os.getpid(), signal.{name})")]
        done = subprocess.run(line, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == ((-signal.SIGTERM, "") if ends else (0, "alive\n"))

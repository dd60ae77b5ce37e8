"""Image files of many kinds, and files that cannot be used."""

import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from src.datasets import image_files
from src.datasets.facts import DataSet
from src.errors import DataError
from tests.data_files import data_set
from tests.runs import ROOT

CIFAR10, FASHION_MNIST = data_set("cifar10"), data_set("fashion_mnist")


def saved(path: Path, array: object, mode: str | None = None, **settings: object) -> Path:
    image = Image.fromarray(numpy.asarray(array))
    (image.convert(mode) if mode else image).save(path, **settings)  # type: ignore[arg-type]
    return path


def noise(*shape: int) -> numpy.ndarray:
    return numpy.random.default_rng(0).integers(0, 256, shape, dtype=numpy.uint8)


def plain(value: object, *shape: int, dtype: type = numpy.uint8) -> numpy.ndarray:
    return numpy.full(shape, value, dtype)


def test_an_image_of_the_training_size_is_taken_byte_for_byte_or_inverted(tmp_path: Path) -> None:
    colour, grey = noise(32, 32, 3), noise(28, 28)
    photo = image_files.read(saved(tmp_path / "a.png", colour), CIFAR10)
    assert torch.equal(photo.pixels, torch.from_numpy(colour).permute(2, 0, 1)) and photo.notes == []
    path = saved(tmp_path / "b.png", grey)
    assert torch.equal(image_files.read(path, FASHION_MNIST).pixels[0], torch.from_numpy(grey))
    assert torch.equal(image_files.read(path, FASHION_MNIST, invert=True).pixels[0], 255 - torch.from_numpy(grey))


WIDE = numpy.pad(plain(200, 64, 64, 3), ((0, 0), (68, 68), (0, 0)))  # black on both sides


@pytest.mark.parametrize(
    ("array", "data_set", "value", "note"),
    [
        pytest.param(plain(90, 40, 40), CIFAR10, 90, "", id="grey is made colours"),
        pytest.param(plain((0, 255, 0), 28, 28, 3), FASHION_MNIST, 150, "", id="colours are made grey, by their luma"),
        pytest.param(plain(77, 1, 1, 3), CIFAR10, 77, "enlarged from 1x1", id="one pixel is enlarged"),
        pytest.param(plain(30000, 28, 28, dtype=numpy.uint16), FASHION_MNIST, 117, "16 bits made 8", id="16 bits"),
        pytest.param(WIDE, CIFAR10, 200, "the middle square of 200x64", id="the middle square is taken and resized"),
    ],
)
def test_any_image_is_converted_to_the_training_format_and_changes_are_noted(
    array: numpy.ndarray, data_set: DataSet, value: int, note: str, tmp_path: Path
) -> None:
    photo = image_files.read(saved(tmp_path / "a.png", array), data_set)
    assert (photo.pixels == value).all() and ", ".join(photo.notes) == note


def test_a_photo_is_turned_upright_as_its_exif_data_say(tmp_path: Path) -> None:
    array = numpy.pad(plain(255, 16, 32), ((0, 16), (0, 0)))  # the lower half is black
    exif = Image.Exif()
    exif[image_files.ORIENTATION] = 6  # must be turned clockwise by 90 degrees
    turned = image_files.read(saved(tmp_path / "a.png", array, "RGB", exif=exif), CIFAR10).pixels
    assert (turned[:, :, 16:] == 255).all() and (turned[:, :, :16] == 0).all()


def test_cmyk_is_converted_to_rgb(tmp_path: Path) -> None:
    photo = image_files.read(saved(tmp_path / "a.jpg", plain(200, 32, 32, 3), "CMYK"), CIFAR10)
    assert photo.pixels.float().mean() == pytest.approx(200, abs=3) and photo.notes == ["CMYK made RGB"]


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    photo = image_files.read(tmp_path / "a.gif", CIFAR10)
    assert photo.pixels[:, 0, 0].tolist() == [255, 0, 0] and photo.notes == ["the first of 3 frames"]


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    array = numpy.pad(plain((0, 0, 0, 255), 16, 32, 4), ((0, 16), (0, 0), (0, 0)))  # the lower half is transparent
    photo = image_files.read(saved(tmp_path / "a.png", array), CIFAR10)
    assert (photo.pixels[:, :16] == 0).all() and (photo.pixels[:, 16:] == 255).all()
    assert photo.notes == ["transparent parts made white"]


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        path = saved(tmp_path / name, noise(200, 200, 3))
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(DataError, match=r"^is damaged or cut off \(.*\)$"):
            image_files.read(path, CIFAR10)


@pytest.mark.parametrize("content", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_a_file_that_is_not_an_image_is_refused_and_not_run(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"^is not an image of a known format \(PNG, JPEG"):
        image_files.read(tmp_path / "a.png", CIFAR10)


def test_pipes_devices_and_missing_files_are_refused_at_once(tmp_path: Path) -> None:
    pipe, missing = tmp_path / "pipe", tmp_path / "x"
    os.mkfifo(pipe)
    for path, reason in ((pipe, "is not a file"), (Path("/dev/zero"), "is not a file"), (missing, "does not exist")):
        with pytest.raises(DataError, match=reason):
            image_files.read(path, CIFAR10)


def png(width: int, height: int, *, rows: int | None = None) -> bytes:
    """A black PNG of any size, compressed to a small file; `rows` writes only the first of its rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    compressor = zlib.compressobj()
    data = b"".join(compressor.compress(bytes(width + 1)) for _ in range(rows or height)) + compressor.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "CMYK", "P"])
def test_large_images_of_any_kind_need_less_than_a_gigabyte(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    Image.new(mode, (7_000, 7_000), 0).save(path)
    code = (
        "import resource; from pathlib import Path\n"
        "from src.datasets import image_files; from tests.data_files import data_set\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"assert image_files.read(Path({str(path)!r}), data_set('cifar10')).pixels.shape == (3, 32, 32)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1000


def test_fifty_megapixels_are_read_in_bounded_memory_and_ninety_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(10_000, 5_000))
    tracemalloc.start()
    photo = image_files.read(path, CIFAR10)
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()
    assert (photo.pixels == 0).all() and photo.notes == ["the middle square of 10000x5000"]
    for side in (9_500, 60_000):  # Pillow warns of the first, and refuses the second
        path.write_bytes(png(side, side, rows=2))
        with pytest.raises(DataError, match=r"^has more than 89 megapixels; make it smaller$"):
            image_files.read(path, CIFAR10)

"""Image files of any kind, made into what a network was trained on: mode, size and orientation, one at a time."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from src.data.catalog import DataSet
from src.errors import DataError

# Those that are decoded in this process: EPS, say, would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
MODES = {1: "L", 3: "RGB"}
DRAFT = 8  # images that are more times larger than needed are shrunk roughly at first, a JPEG while it is decoded
ORIENTATION = 0x0112  # Exif's tag
REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")


@dataclass(frozen=True, eq=False)
class Photo:
    """An image file as a network will see it.

    Attributes:
        pixels: (channels, size, size), uint8.
        notes: what was done to the image that changes what it shows.
    """

    pixels: Tensor
    notes: list[str]


def read(path: Path, data_set: DataSet, *, invert: bool = False) -> Photo:
    """Reads one file: its first frame, upright, the middle square of it, resized, in the data set's colours.

    Resizing is bilinear and antialiased. Memory stays below a gigabyte: Pillow's limit of 89 million pixels holds.

    Args:
        path: of the file.
        data_set: whose images the network knows.
        invert: make dark what is light, for drawings on white paper where training images are light on black.

    Raises:
        DataError: why it is no image that can be used, without its path.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - no error where a name is longer than can be
        raise DataError("is no file" if os.path.exists(path) else "does not exist")  # noqa: PTH110
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # of odd metadata
            with Image.open(path, formats=FORMATS) as image:
                found = square(image, data_set, notes)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            f"has more than {(Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels; make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        raise DataError(f"is no image of a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # a damaged file fails in a dozen ways
        raise DataError(f"is damaged or cut off ({' '.join(str(error).split()) or type(error).__name__})") from error
    pixels = torch.from_numpy(numpy.array(found)).view(data_set.size, data_set.size, -1).permute(2, 0, 1)
    return Photo(255 - pixels if invert else pixels, notes)


def square(image: Image.Image, data_set: DataSet, notes: list[str]) -> Image.Image:
    """The middle of an opened image as a small square; says in `notes` what that changes."""
    size, mode = data_set.size, MODES[data_set.channels]
    width, height = image.size
    turned = image.getexif().get(ORIENTATION, 1)
    if image.format != "JPEG" and getattr(image, "n_frames", 1) > 1:
        notes.append(f"the first of {image.n_frames} frames")  # type: ignore[attr-defined]
    if min(width, height) < size:
        notes.append(f"enlarged from {width}x{height}")
    image.draft(mode, (DRAFT * size, DRAFT * size))
    found = in_mode(smaller(image, DRAFT * size), mode, notes)
    if found.width != found.height:
        notes.append(f"the middle square of {width}x{height}")
    if found.size != (size, size):
        side = min(found.size)
        left, top = (found.width - side) // 2, (found.height - side) // 2
        found = found.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)
    found.getexif()[ORIENTATION] = turned
    return ImageOps.exif_transpose(found)  # as the camera was held


def smaller(image: Image.Image, least: int) -> Image.Image:
    """An image of which both sides are at least so many pixels, by averaging: what follows needs less memory."""
    factor = min(image.size) // least
    return image.reduce(factor) if factor > 1 and image.mode in REDUCIBLE else image


def in_mode(image: Image.Image, mode: str, notes: list[str]) -> Image.Image:
    """Eight bits a channel, in grey or in red, green and blue."""
    if image.mode in SIXTEEN_BITS:
        values = numpy.array(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("more than 16 bits a pixel")
        notes.append("16 bits made 8")
        image = Image.fromarray((values >> 8).astype(numpy.uint8))
    elif image.mode == "F":
        raise ValueError("pixels that are floating-point numbers")
    elif image.mode == "CMYK":
        notes.append("CMYK made RGB")
    if "A" in image.mode or "transparency" in image.info:
        found = image.convert("RGBA")
        if found.getchannel("A").getextrema()[0] < 255:  # type: ignore[operator]
            notes.append("transparent parts made white")
        white = Image.new("RGBA", found.size, "white")
        white.alpha_composite(found)
        image = white
    return image if image.mode == mode else image.convert(mode)

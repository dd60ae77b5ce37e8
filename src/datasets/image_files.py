"""Reads one image file of any common format, in the colours and size of a data set."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from src.datasets.facts import PILLOW_MODES, DataSet
from src.errors import DataError

# Pillow decodes these formats itself. EPS, for example, would start another program.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
DRAFT = 8  # an image this many times larger than needed is first reduced roughly, a JPEG while decoding
ORIENTATION = 0x0112  # Exif tag
REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I")


@dataclass(frozen=True, eq=False)
class Photo:
    """An image file as a network will see it."""

    pixels: Tensor  # (channels, size, size), uint8
    notes: list[str]  # the changes that alter what the image shows, in words


def read(path: Path, data_set: DataSet, *, invert: bool = False) -> Photo:
    """Reads a file: the middle square of its first frame, upright, resized, in the data set's colours.

    Resizing is bilinear and antialiased. Pillow's limit of 89 million pixels keeps memory below a gigabyte. `invert`
    inverts the pixels, for drawings on white paper if the training images are light on black.

    Raises:
        DataError: the file cannot be used as an image; the message does not name it.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - no error for a name that is too long
        raise DataError("is not a file" if os.path.exists(path) else "does not exist")  # noqa: PTH110
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # about odd metadata
            with Image.open(path, formats=FORMATS) as image:
                original_size, orientation = image.size, image.getexif().get(ORIENTATION, 1)
                small = shrunk(image, data_set)
                notes = notes_on(image, small, original_size, data_set.size)
                colours = in_mode(small, PILLOW_MODES[data_set.channels])
                found = upright(middle_square(colours, data_set.size), orientation)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise DataError(f"has more than {most:.0f} megapixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise DataError(f"is not an image of a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(f"is damaged or cut off ({' '.join(str(error).split()) or type(error).__name__})") from error
    pixels = torch.from_numpy(numpy.array(found)).view(data_set.size, data_set.size, -1).permute(2, 0, 1)
    return Photo(255 - pixels if invert else pixels, notes)


def notes_on(image: Image.Image, small: Image.Image, original_size: tuple[int, int], size: int) -> list[str]:
    """The changes that alter what an opened image shows. `small` is the same image, shrunk."""
    width, height = original_size
    num_frames = getattr(image, "n_frames", 1) if image.format != "JPEG" else 1
    changes = {
        f"the first of {num_frames} frames": num_frames > 1,
        f"enlarged from {width}x{height}": min(width, height) < size,
        "16 bits made 8": small.mode in SIXTEEN_BITS,
        "CMYK made RGB": small.mode == "CMYK",
        "transparent parts made white": has_transparent_parts(small),
        f"the middle square of {width}x{height}": width != height,
    }
    return [text for text, applies in changes.items() if applies]


def has_transparent_parts(image: Image.Image) -> bool:
    if not has_alpha(image):
        return False
    least, _ = image.convert("RGBA").getchannel("A").getextrema()
    return least < 255  # type: ignore[operator]


def has_alpha(image: Image.Image) -> bool:
    return "A" in image.mode or "transparency" in image.info


def shrunk(image: Image.Image, data_set: DataSet) -> Image.Image:
    """Reduces an image by averaging if it is much larger than needed, so that later steps need less memory."""
    least = DRAFT * data_set.size
    image.draft(PILLOW_MODES[data_set.channels], (least, least))
    factor = min(image.size) // least
    return image.reduce(factor) if factor > 1 and image.mode in REDUCIBLE else image


def middle_square(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turns an image upright by its Exif orientation."""
    image.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converts an image to `mode`, with eight bits per channel; transparent parts become white."""
    if image.mode in SIXTEEN_BITS:
        values = numpy.array(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("more than 16 bits a pixel")
        image = Image.fromarray((values >> 8).astype(numpy.uint8))
    elif image.mode == "F":
        raise ValueError("pixels that are floating-point numbers")
    if has_alpha(image):
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image if image.mode == mode else image.convert(mode)

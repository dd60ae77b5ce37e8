"""Facts about a data set that are known before any file is read: `facts` in conf/data/."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from src.errors import BadInput

PILLOW_MODES = {1: "L", 3: "RGB"}  # by the number of channels


@dataclass(frozen=True)
class DataSet:
    """A set of square images, each of one class."""

    name: str  # the display name
    class_names: tuple[str, ...]  # in the order of the official labels
    channels: int  # 1 for grey, 3 for red, green and blue
    size: int  # side length in pixels
    train_per_class: int  # number of training images of each class
    test_per_class: int  # number of test images of each class
    folder: str = ""  # where torchvision keeps the files, below `data.root`
    digests: tuple[tuple[str, str], ...] = ()  # name and digest of each file in `folder`
    archive: str = ""  # name of the file that is downloaded and holds the others, if there is one
    archive_sha256: str = ""  # its digest
    archive_bytes: int = 0  # its size
    image_folder: str = ""  # name of a folder with the same images as PNG or JPEG files, below `data.root`
    way_out: str = ""  # another way to get the files, for the error message


def described(data: Mapping[str, Any]) -> DataSet:
    """The data set that a `data` config describes, by its `facts` or by the sizes of generated images."""
    if "facts" not in data:
        return generated(**{key: data[key] for key in generated.__annotations__ if key in data})
    facts = data["facts"]
    try:
        return DataSet(
            **dict(facts, class_names=tuple(facts["class_names"]), digests=tuple(facts.get("digests", {}).items()))
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"data.facts does not describe a data set: {error}. See conf/data/cifar10.yaml.") from error


def generated(*, num_classes: int, channels: int, size: int, train_per_class: int, test_per_class: int) -> DataSet:
    """The data set that `data=synthetic` generates."""
    return DataSet(
        name="synthetic",
        class_names=tuple(f"class {label}" for label in range(num_classes)),
        channels=channels,
        size=size,
        train_per_class=train_per_class,
        test_per_class=test_per_class,
    )


def is_address(source: str) -> bool:
    return source.startswith(("http://", "https://"))

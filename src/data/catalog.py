"""Facts about the data sets that hold before any file is read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSet:
    """A set of square images with a class each.

    Attributes:
        name: as people write it.
        class_names: in the order of the official labels.
        channels: 1 for grey, 3 for red, green and blue.
        size: side length in pixels.
        train_per_class: training images of each class.
        test_per_class: test images of each class.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    size: int
    train_per_class: int
    test_per_class: int


FASHION_MNIST = DataSet(
    name="Fashion-MNIST",
    class_names=(
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    channels=1,
    size=28,
    train_per_class=6000,
    test_per_class=1000,
)

CIFAR10 = DataSet(
    name="CIFAR-10",
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    channels=3,
    size=32,
    train_per_class=5000,
    test_per_class=1000,
)


def generated(*, num_classes: int, channels: int, size: int, train_per_class: int, test_per_class: int) -> DataSet:
    """The data set that `data=synthetic` makes."""
    return DataSet(
        name="synthetic",
        class_names=tuple(f"class {label}" for label in range(num_classes)),
        channels=channels,
        size=size,
        train_per_class=train_per_class,
        test_per_class=test_per_class,
    )

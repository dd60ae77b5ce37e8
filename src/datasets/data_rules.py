"""Rules for the data settings that depend on the data set: its classes, and how many images it has."""

from collections.abc import Mapping
from typing import Any

from src.datasets.facts import DataSet, described
from src.errors import BadInput, did_you_mean, must_be
from src.settings import is_integer

MOST_BYTES = 16 << 30  # of all images in memory, a byte per channel and pixel
MOST_GENERATED_BYTES = 1 << 30  # generating images needs several times their memory


def check_data(data: Mapping[str, Any]) -> int:
    """Checks the settings that depend on the data set's facts; returns the number of images to train on."""
    data_set = described(data)
    num_classes = check_classes(data.get("classes"), data_set) if "classes" in data else len(data_set.class_names)
    for key in ("mean", "std"):
        if len(data[key]) != data_set.channels:
            rule = f"a list of {data_set.channels} numbers, one per channel of {data_set.name}"
            raise must_be(f"data.{key}", rule, data[key], example=str([0.5] * data_set.channels).replace(" ", ""))
    side = data["resize"] or data_set.size
    if not is_integer(shift := data["augment"]["shift"]) or not 0 <= shift < side:
        rule = f"an integer from 0 to {side - 1} (images are {side} pixels wide)"
        raise must_be("data.augment.shift", rule, shift, example="2")
    count = num_classes * (data_set.train_per_class + data_set.test_per_class)
    most = MOST_GENERATED_BYTES if data.get("source", "synthetic") == "synthetic" else MOST_BYTES
    if (num_bytes := count * data_set.channels * max(side, data_set.size) ** 2) > most:
        gigabytes = f"{num_bytes / 2**30:,.1f} GiB of memory, more than {most >> 30}"
        raise BadInput(f"the images would need {gigabytes}. Try smaller or fewer images.")
    return check_counts(data, num_images=num_classes * data_set.train_per_class)


def check_classes(classes: Any, data_set: DataSet) -> int:
    """Checks data.classes; returns the number of classes."""
    if classes is None:
        return len(data_set.class_names)
    known = ", ".join(data_set.class_names)
    if not isinstance(classes, list) or len(classes) < 2 or len({str(name) for name in classes}) < len(classes):
        example = f"[{','.join(data_set.class_names[:2])}]"
        raise must_be(
            "data.classes", f"a list of two or more different classes out of {known}", classes, example=example
        )
    for name in classes:
        if name not in data_set.class_names:
            hint = did_you_mean(str(name), data_set.class_names)
            raise BadInput(f"unknown class {name!r} in data.classes.{hint} Choices: {known}.")
    return len(classes)


def check_counts(data: Mapping[str, Any], *, num_images: int) -> int:
    """Checks that splits and batches fit into the training set; returns the number of images to train on."""
    if not is_integer(data["val_size"]) or not 1 <= data["val_size"] < num_images:
        raise BadInput(
            f"data.val_size must be between 1 and {num_images - 1} (the training set has {num_images} images), "
            f"got {data['val_size']!r}. Try data.val_size={num_images // 10}."
        )
    if data["validation"] == "train":
        num_images -= data["val_size"]
    train_size = data["train_size"]
    if train_size is not None:
        if not is_integer(train_size) or not 1 <= train_size <= num_images:
            rule = f"null or an integer from 1 to {num_images} (the training images left)"
            raise must_be("data.train_size", rule, train_size, example="null")
        num_images = train_size
    batch_size = data["batch_size"]
    if batch_size != "full" and not (is_integer(batch_size) and 1 <= batch_size <= num_images):
        rule = f"an integer from 1 to {num_images} (the size of the training set) or full"
        raise must_be("data.batch_size", rule, batch_size, example=str(min(64, num_images)))
    return num_images

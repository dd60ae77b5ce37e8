from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from src.datasets.datamodules import CIFAR2, CIFAR10, FashionMNIST, Synthetic
from src.datasets.image_data import ImageDataModule
from src.datasets.images import Images, OfficialSets
from src.errors import DataError
from tests.data_files import facts

COMMON: dict[str, Any] = {"batch_size": 8, "classes": None, "validation": "train", "val_size": 10, "split_seed": 0}
COMMON |= {"train_size": None, "resize": None, "normalize": False, "mean": [0.2860], "std": [0.3530]}
COMMON |= {"augment": {"shift": 0, "flip": False}, "drop_last": False, "seed": 0}
RGB = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}


def files(root: Path, name: str) -> dict[str, Any]:
    return {"facts": facts(name), "root": str(root), "source": "auto", "sources": [str(root)], "cache": None}


def fashion(root: Path, **settings: Any) -> FashionMNIST:
    return FashionMNIST(**(files(root, "fashion_mnist") | COMMON | settings))


def cifar10(root: Path, **settings: Any) -> CIFAR10:
    return CIFAR10(**(files(root, "cifar10") | COMMON | RGB | settings))


def cifar2(root: Path, **settings: Any) -> CIFAR2:
    return CIFAR2(**(files(root, "cifar10") | COMMON | RGB | {"classes": ["airplane", "bird"]} | settings))


def ready(data: ImageDataModule) -> ImageDataModule:
    data.prepare_data()
    data.setup("fit")
    return data


def images_of(data: ImageDataModule, split: str) -> Images:
    """The images of a split, copied."""
    whole, rows = data.splits[split].images, data.splits[split].rows
    return Images(whole.pixels[rows], whole.labels[rows])


def rows(data: ImageDataModule, split: str) -> set[bytes]:
    """The images of a split, by their bytes."""
    return {image.numpy().tobytes() for image in images_of(data, split).pixels}


@pytest.mark.parametrize("normalize", [False, True])
def test_fashion_mnist_batches_equal_torchvisions_dataset(fashion_root: Path, normalize: bool) -> None:
    data = ready(fashion(fashion_root, normalize=normalize))
    steps = [transforms.ToTensor(), *([transforms.Normalize([0.2860], [0.3530])] if normalize else [])]
    theirs = datasets.FashionMNIST(fashion_root, train=False, transform=transforms.Compose(steps))
    images, labels = next(iter(data.test_dataloader()))
    assert len(labels) == len(theirs) == 20
    for row in range(20):
        assert torch.equal(images[row], theirs[row][0]) and labels[row] == theirs[row][1]


def test_training_validation_and_test_images_do_not_overlap(fashion_root: Path) -> None:
    data = ready(fashion(fashion_root))
    assert {split: len(images) for split, images in data.splits.items()} == {"train": 50, "val": 10, "test": 20}
    assert not rows(data, "train") & rows(data, "val")
    assert not (rows(data, "train") | rows(data, "val")) & rows(data, "test")


def test_validation_images_depend_on_the_split_seed_and_not_on_the_run_seed(fashion_root: Path) -> None:
    held_out = rows(ready(fashion(fashion_root, seed=0)), "val")
    assert rows(ready(fashion(fashion_root, seed=1)), "val") == held_out
    assert rows(ready(fashion(fashion_root, split_seed=1)), "val") != held_out


def test_validation_on_the_test_set_trains_on_all_training_images(fashion_root: Path) -> None:
    data = ready(fashion(fashion_root, validation="test"))
    assert len(data.splits["train"]) == 60
    assert rows(data, "val") == rows(data, "test")


def test_train_size_keeps_the_first_of_the_remaining_training_images(fashion_root: Path) -> None:
    data, whole = ready(fashion(fashion_root, train_size=7)), ready(fashion(fashion_root))
    assert torch.equal(images_of(data, "train").pixels, images_of(whole, "train").pixels[:7])
    assert rows(data, "val") == rows(whole, "val")


def test_a_small_train_size_has_several_classes_even_if_files_are_sorted_by_class(cifar_images: Path) -> None:
    data = ready(cifar2(cifar_images, validation="test", train_size=8))
    assert images_of(data, "train").labels.bincount().tolist() != [8]


def test_val_size_and_train_size_cannot_exceed_the_training_set(fashion_root: Path, cifar_images: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.val_size=0 and data\.train_size=21 ask for more than the 20 training"):
        ready(cifar2(cifar_images, validation="test", train_size=21))
    text = r"^data\.val_size=60 and data\.train_size=None ask for more than the 60 training"
    with pytest.raises(DataError, match=text):
        ready(fashion(fashion_root, val_size=60))


def test_resized_pixels_equal_torchvisions_up_to_rounding(fashion_root: Path) -> None:
    data, as_it_is = ready(fashion(fashion_root, resize=32)), ready(fashion(fashion_root))
    assert data.image_shape == (1, 32, 32)
    resize = transforms.Compose([transforms.Resize(32), transforms.PILToTensor()])
    for ours, original in zip(images_of(data, "test").pixels, images_of(as_it_is, "test").pixels, strict=True):
        theirs = resize(Image.fromarray(original[0].numpy()))
        assert (ours.int() - theirs.int()).abs().max() <= 1  # rounding to whole grey levels


def test_cifar2_keeps_only_airplanes_and_birds(cifar_unpacked: Path, cifar_batches: dict[str, Any]) -> None:
    data = ready(cifar2(cifar_unpacked, validation="test"))
    training = [batch for name, batch in cifar_batches.items() if name != "test_batch"]
    wanted = [batch["data"][numpy.isin(batch["labels"], (0, 2))] for batch in training]
    assert numpy.array_equal(images_of(data, "train").pixels.flatten(1).numpy(), numpy.concatenate(wanted))
    assert images_of(data, "train").labels.tolist() == [0, 1] * 10
    assert data.class_names == ("airplane", "bird") and data.num_classes == 2


def test_labels_follow_the_order_in_which_classes_are_named(cifar_unpacked: Path) -> None:
    forward = ready(cifar2(cifar_unpacked, classes=["airplane", "bird"], val_size=4))
    backward = ready(cifar2(cifar_unpacked, classes=["bird", "airplane"], val_size=4))
    assert torch.equal(images_of(forward, "test").pixels, images_of(backward, "test").pixels)
    assert torch.equal(images_of(forward, "test").labels, 1 - images_of(backward, "test").labels)


def test_cifar10_has_all_classes_unless_some_are_selected(cifar_unpacked: Path) -> None:
    data = ready(cifar10(cifar_unpacked))
    assert list(data.class_names) == facts("cifar10")["class_names"]
    assert images_of(data, "test").labels.bincount().tolist() == [2] * 10
    assert data.image_shape == (3, 32, 32)
    data = ready(cifar10(cifar_unpacked, classes=["truck", "cat", "dog"]))
    assert images_of(data, "test").labels.bincount().tolist() == [2, 2, 2]


def test_a_class_without_images_is_an_error(cifar_unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = cifar2(cifar_unpacked)
    official = data.read()
    only_airplanes = Images(official.train.pixels[official.train.labels == 0], torch.zeros(10, dtype=torch.int64))
    monkeypatch.setattr(data, "read", lambda: OfficialSets(only_airplanes, official.test, "here"))
    with pytest.raises(DataError, match=r"^class 'bird' has no training images in here\. Replace the data there\.$"):
        data.setup()


@pytest.mark.parametrize("make", [fashion, cifar2])
def test_the_synthetic_source_needs_no_files_and_has_the_shape_of_the_real_images(make: Any, tmp_path: Path) -> None:
    data = ready(make(tmp_path / "nothing here", source="synthetic"))
    assert data.source == "synthetic"
    assert len(data.splits["test"]) == data.num_classes * 1000
    assert images_of(data, "test").pixels.shape[1:] == data.image_shape
    assert images_of(data, "train").pixels.dtype == torch.uint8


def test_synthetic_images_are_the_same_every_time_and_can_be_classified() -> None:
    settings = {name: value for name, value in COMMON.items() if name != "classes"}
    sizes = {"num_classes": 3, "channels": 2, "size": 8, "train_per_class": 400, "test_per_class": 5}
    first, second = ready(Synthetic(**sizes, **settings)), ready(Synthetic(**sizes, **settings))
    assert torch.equal(images_of(first, "train").pixels, images_of(second, "train").pixels)
    assert first.read() is second.read()  # made once for all jobs of a sweep
    assert first.class_names == ("class 0", "class 1", "class 2")
    assert len(rows(first, "train") | rows(first, "val") | rows(first, "test")) == 1215
    train = images_of(first, "train")
    mean_0, mean_1 = (train.pixels[train.labels == label].float().mean(0) for label in (0, 1))
    assert (mean_0 - mean_1).abs().mean() > 12  # the noise alone makes about 5


def test_splits_share_the_pixels_that_were_read(fashion_root: Path) -> None:
    data = ready(fashion(fashion_root))
    pixels = data.read().train.pixels
    assert data.splits["train"].images.pixels is data.splits["val"].images.pixels is pixels
    assert next(iter(data.train_dataloader()))[0].data_ptr() != pixels.data_ptr()


def test_the_jobs_of_a_sweep_share_images_that_are_read_and_resized(fashion_root: Path) -> None:
    for resize in (None, 14):
        first = ready(fashion(fashion_root, seed=1, batch_size=8, resize=resize))
        second = ready(fashion(fashion_root, seed=2, batch_size=16, val_size=20, resize=resize))
        for split in ("train", "test"):
            assert first.splits[split].images is second.splits[split].images


def test_only_training_images_are_augmented(fashion_root: Path) -> None:
    plain, shifted = ready(fashion(fashion_root)), ready(fashion(fashion_root, augment={"shift": 2, "flip": True}))
    for loader in ("val_dataloader", "test_dataloader"):
        for (ours, _), (theirs, _) in zip(getattr(shifted, loader)(), getattr(plain, loader)(), strict=True):
            assert torch.equal(ours, theirs)
    for (ours, labels), (theirs, expected) in zip(shifted.train_dataloader(), plain.train_dataloader(), strict=True):
        assert torch.equal(labels, expected)
        assert ours.shape == theirs.shape and not torch.equal(ours, theirs)


def test_drop_last_drops_a_smaller_last_batch_only_in_training(fashion_root: Path) -> None:
    data = ready(fashion(fashion_root, batch_size=8, drop_last=True))
    assert [len(labels) for _, labels in data.train_dataloader()] == [8] * 6
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 10


def test_found_and_cached_describe_the_files_on_disk(fashion_root: Path, raw: Path, tmp_path: Path) -> None:
    data = fashion(fashion_root, cache=str(tmp_path / "cache"))
    copy = data.found()
    assert copy is not None and copy.place == str(raw)
    assert data.cached() is None
    data.read()
    folder, num_bytes = data.cached() or (None, 0)
    assert folder == tmp_path / "cache" and 80 * 784 < num_bytes < 80 * 800 + 4000
    assert fashion(tmp_path / "nothing here").found() is None
    assert fashion(tmp_path / "nothing here", cache=str(tmp_path / "cache")).cached() is None
    assert fashion(fashion_root, sources=["http://one"]).found() is not None  # it was downloaded before

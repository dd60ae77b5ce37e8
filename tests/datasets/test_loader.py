from itertools import chain
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, ToTensor

from src.datasets.augment import Augmented
from src.datasets.images import Images, Split
from src.datasets.loader import Batches, Shuffle

MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def everything(pixels: Tensor) -> Split:
    """A split of all images, in which the label of an image is its row."""
    return Split(Images(pixels, torch.arange(len(pixels))), torch.arange(len(pixels)))


def numbered(count: int) -> Split:
    return everything(torch.arange(count * 12, dtype=torch.uint8).view(count, 3, 2, 2))


def random_images(count: int, lowest: int = 0) -> Split:
    generator = torch.Generator().manual_seed(0)
    return everything(torch.randint(lowest, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator))


def batches_of(split: Split, batch_size: Any, seed: int | None = 0, **settings: Any) -> Batches:
    """Batches that are shuffled unless the seed is None."""
    shuffle = None if seed is None else Shuffle(len(split), seed=seed)
    return Batches(split, **{"batch_size": batch_size, "normalize": None, "shuffle": shuffle} | settings)


def training(count: int, batch_size: Any, **settings: int) -> Batches:
    return batches_of(numbered(count), batch_size, **settings)


def in_epoch(batches: Batches, number: int) -> Batches:
    if batches.sampler is not None:
        batches.sampler.set_epoch(number)
    return batches


def labels_of(batches: Batches, number: int = 0) -> list[list[int]]:
    return [labels.tolist() for _, labels in in_epoch(batches, number)]


def epoch(batches: Batches, number: int = 0) -> list[int]:
    return list(chain(*labels_of(batches, number)))


@pytest.mark.parametrize("normalize", [None, (MEAN, STD)])
def test_pixels_equal_torchvisions_to_tensor_and_normalize(normalize: tuple[list[float], list[float]] | None) -> None:
    split = random_images(9)
    transform = Compose([ToTensor(), *([Normalize(*normalize)] if normalize else [])])
    for images, labels in batches_of(split, 4, normalize=normalize):
        for image, row in zip(images, labels, strict=True):
            expected = transform(Image.fromarray(split.images.pixels[row].permute(1, 2, 0).numpy()))
            assert torch.equal(image, expected)


def test_every_epoch_has_every_image_once_in_a_new_order() -> None:
    batches = training(100, 32)
    assert sorted(epoch(batches, 0)) == sorted(epoch(batches, 1)) == list(range(100))
    assert epoch(batches, 0) != epoch(batches, 1)
    assert [len(labels) for _, labels in batches] == [32, 32, 32, 4] and len(batches) == 4


def test_the_order_depends_only_on_the_seed_and_the_epoch() -> None:
    first, second = training(100, 32, seed=5), training(100, 7, seed=5)
    epoch(first, 0)
    torch.rand(3)
    assert epoch(first, 3) == epoch(second, 3)
    assert epoch(training(100, 32, seed=6), 3) != epoch(first, 3)
    assert epoch(training(100, 32, seed=0), 1) != epoch(training(100, 32, seed=1), 0)
    assert epoch(training(100, 32, seed=2**32 - 1)) != epoch(training(100, 32, seed=0))


def test_batch_size_full_is_one_batch_of_all_images() -> None:
    batches = training(200, "full")
    assert len(batches) == 1 and sorted(epoch(batches)) == list(range(200))


def test_without_shuffle_the_images_keep_their_order() -> None:
    assert epoch(batches_of(numbered(10), 4, seed=None)) == list(range(10))


def test_normalizing_does_not_change_the_stored_bytes() -> None:
    split = numbered(6)
    before = split.images.pixels.clone()
    list(batches_of(split, 2, seed=None, normalize=(MEAN, STD)))
    assert torch.equal(split.images.pixels, before)


def test_a_split_yields_only_its_rows_and_shares_the_pixels() -> None:
    images = numbered(10).images
    split = Split(images, torch.tensor([7, 2, 5]))
    assert epoch(batches_of(split, 2, seed=None)) == [7, 2, 5]
    batches = batches_of(split, 2)
    assert sorted(epoch(batches)) == [2, 5, 7]
    assert batches.split.images.pixels is images.pixels
    for pixels, labels in batches:
        assert torch.equal(pixels * 255, images.pixels[labels].float())


@pytest.mark.parametrize("count", [96, 97, 127])
def test_drop_last_leaves_out_a_smaller_last_batch(count: int) -> None:
    batches = training(count, 32, drop_last=True)
    assert [len(labels) for _, labels in batches] == [32, 32, 32] and len(batches) == 3
    assert epoch(batches) == epoch(training(count, 32))[:96]
    ranks = [training(count, 32, drop_last=True, rank=rank, world_size=2) for rank in range(2)]
    assert [len(list(batches)) for batches in ranks] == [len(batches) for batches in ranks] == [3, 3]


@pytest.mark.parametrize("done", [0, 1, 3, 4])
def test_a_resumed_iteration_continues_with_the_same_batches(done: int) -> None:
    whole = {number: labels_of(training(100, 32), number) for number in (4, 5)}
    batches = training(100, 32)
    iterator = iter(in_epoch(batches, 4))
    for _ in range(done):
        next(iterator)
    state, other = batches.state_dict(), training(100, 32)
    other.load_state_dict(state)
    assert labels_of(other, 4) == whole[4][done:]
    assert labels_of(other, 4) == whole[4]  # the next iteration has all of them
    assert labels_of(other, 5) == whole[5]
    other.load_state_dict(state)
    assert labels_of(other, 5) == whole[5]  # another epoch starts with its first batch


def test_the_state_is_the_epoch_and_the_number_of_batches_yielded() -> None:
    batches = training(100, 32)
    assert batches.state_dict() == {"epoch": 0, "batches": 0}
    for number, _ in enumerate(in_epoch(batches, 3), start=1):
        assert batches.state_dict() == {"epoch": 3, "batches": number}


def augmented(batch_size: int, seed: int = 0) -> Batches:
    split = random_images(50, lowest=1)
    settings = {"normalize": (MEAN, STD), "augmented": Augmented(split, shift=2, flip=True)}
    return batches_of(split, batch_size, seed, **settings)


def pictures(batches: Batches, number: int) -> dict[int, bytes]:
    pairs = chain(*(zip(labels.tolist(), images, strict=True) for images, labels in in_epoch(batches, number)))
    return {label: image.numpy().tobytes() for label, image in pairs}


def test_augmented_images_depend_only_on_the_seed_and_the_epoch_and_keep_their_labels() -> None:
    first = pictures(augmented(16), 3)
    torch.rand(3)
    assert pictures(augmented(7), 3) == first
    for other in (pictures(augmented(16), 4), pictures(augmented(16, seed=1), 3)):
        assert other.keys() == first.keys()
        assert sum(other[label] != first[label] for label in first) > 25
    assert epoch(augmented(16), 3) == epoch(training(50, 16), 3)  # the same order as without augmentation


def test_augmented_images_are_normalized_after_they_are_shifted() -> None:
    black = (0 - torch.tensor(MEAN)) / torch.tensor(STD)
    ((images, _),) = augmented(50)
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]  # (50, 3, 4)
    is_black = torch.isclose(corners, black.view(1, 3, 1)).all(dim=1)
    assert is_black.any(dim=1).sum() > 25  # most images have a black corner; one that has not moved has none
    assert images.shape == (50, 3, 8, 8) and images.is_contiguous()


def test_the_order_of_the_images_is_the_same_in_every_version() -> None:
    # Published results depend on it.
    assert epoch(training(10, 4, seed=0), 0) == [3, 2, 9, 7, 1, 5, 0, 4, 8, 6]
    assert epoch(training(10, 4, seed=7), 3) == [5, 9, 1, 7, 2, 0, 3, 8, 4, 6]


@pytest.mark.parametrize("count", [96, 97, 98, 100, 131])
def test_processes_share_every_training_batch_equally(count: int) -> None:
    ranks = [training(count, 32, rank=rank, world_size=2) for rank in range(2)]
    shared = [labels_of(batches) for batches in ranks]
    assert len(shared[0]) == len(shared[1]) == len(ranks[0]) == len(ranks[1])
    for whole, left, right in zip(labels_of(training(count, 32)), *shared, strict=False):
        assert len(left) == len(right)
        assert left + right == whole[: len(whole) // 2 * 2]


@pytest.mark.parametrize("count", [1, 10, 11])
def test_processes_together_evaluate_every_image_once(count: int) -> None:
    ranks = [batches_of(numbered(count), 4, seed=None, rank=rank, world_size=2) for rank in range(2)]
    assert sorted(chain(*map(epoch, ranks))) == list(range(count))
    assert [len(batches) for batches in ranks] == [len(list(batches)) for batches in ranks] or count == 1

import pytest
import torch
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from src.data.images import Images
from src.data.loader import Batches, Shuffle

MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def numbered(count: int) -> Images:
    """Images whose label is their row."""
    pixels = torch.arange(count * 12, dtype=torch.uint8).view(count, 3, 2, 2)
    return Images(pixels, torch.arange(count))


def epoch(batches: Batches, number: int = 0) -> list[int]:
    if batches.sampler is not None:
        batches.sampler.set_epoch(number)
    return torch.cat([labels for _, labels in batches]).tolist()


def training(count: int, batch_size: object, seed: int = 0, **share: int) -> Batches:
    shuffle = Shuffle(count, seed=seed)
    return Batches(numbered(count), batch_size=batch_size, normalize=None, shuffle=shuffle, **share)  # type: ignore


@pytest.mark.parametrize("normalize", [None, (MEAN, STD)])
def test_pixels_equal_torchvisions_to_tensor_and_normalize(normalize: tuple[list[float], list[float]] | None) -> None:
    pixels = torch.randint(256, (9, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = Batches(Images(pixels, torch.arange(9)), batch_size=4, normalize=normalize, shuffle=Shuffle(9, seed=0))
    transform = Compose([ToTensor(), *([Normalize(*normalize)] if normalize else [])])
    for images, labels in batches:
        for image, row in zip(images, labels, strict=True):
            expected = transform(Image.fromarray(pixels[row].permute(1, 2, 0).numpy()))
            assert torch.equal(image, expected)


def test_every_image_comes_once_an_epoch_in_another_order_each() -> None:
    batches = training(100, 32)
    assert sorted(epoch(batches, 0)) == sorted(epoch(batches, 1)) == list(range(100))
    assert epoch(batches, 0) != epoch(batches, 1)
    assert [len(labels) for _, labels in batches] == [32, 32, 32, 4]
    assert len(batches) == 4


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    first, second = training(100, 32, seed=5), training(100, 7, seed=5)
    epoch(first, 0)
    torch.rand(3)
    assert epoch(first, 3) == epoch(second, 3)
    assert epoch(training(100, 32, seed=6), 3) != epoch(first, 3)
    assert epoch(training(100, 32, seed=0), 1) != epoch(training(100, 32, seed=1), 0)
    assert epoch(training(100, 32, seed=2**32 - 1)) != epoch(training(100, 32, seed=0))


def test_full_is_one_batch_of_everything() -> None:
    batches = training(200, "full")
    assert len(batches) == 1
    assert sorted(epoch(batches)) == list(range(200))


def test_without_shuffle_the_order_is_that_on_disk() -> None:
    assert epoch(Batches(numbered(10), batch_size=4, normalize=None, shuffle=None)) == list(range(10))


def test_normalizing_leaves_the_stored_bytes_alone() -> None:
    images = numbered(6)
    before = images.pixels.clone()
    list(Batches(images, batch_size=2, normalize=(MEAN, STD), shuffle=None))
    assert torch.equal(images.pixels, before)


@pytest.mark.parametrize("count", [96, 97, 100, 131])
def test_processes_share_every_training_batch_equally(count: int) -> None:
    ranks = [training(count, 32, rank=rank, world_size=2) for rank in range(2)]
    alone = [labels.tolist() for _, labels in training(count, 32)]
    shared = [[labels.tolist() for _, labels in batches] for batches in ranks]
    assert len(shared[0]) == len(shared[1]) == len(ranks[0]) == len(ranks[1])
    for whole, left, right in zip(alone, *shared, strict=False):
        assert len(left) == len(right)
        assert left + right == whole[: len(whole) // 2 * 2]


@pytest.mark.parametrize("count", [1, 10, 11])
def test_processes_together_evaluate_every_image_once(count: int) -> None:
    ranks = [
        Batches(numbered(count), batch_size=4, normalize=None, shuffle=None, rank=r, world_size=2) for r in range(2)
    ]
    seen = [label for batches in ranks for _, labels in batches for label in labels.tolist()]
    assert sorted(seen) == list(range(count))
    assert [len(batches) for batches in ranks] == [len(list(batches)) for batches in ranks] or count == 1

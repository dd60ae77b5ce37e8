from itertools import product

import numpy
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from src.datasets.augment import Augmented, augmented
from src.datasets.images import Images, Split


def split_of(count: int, channels: int = 3, height: int = 6, width: int = 5) -> Split:
    """A split with the last `count` of a few more random images, in reverse order."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, (count + 3, channels, height, width), dtype=torch.uint8, generator=generator)
    return Split(Images(pixels, torch.zeros(count + 3, dtype=torch.int64)), torch.arange(count + 3).flip(0)[:count])


def moved(image: Tensor, down: int, right: int, flip: bool) -> Tensor:
    """One image, mirrored and shifted by up to 4 pixels."""
    padded = pad(image.flip(-1) if flip else image, (4, 4, 4, 4))
    return padded.roll((down, right), dims=(1, 2))[:, 4:-4, 4:-4]


def epoch(pictures: Augmented, seed: int = 0) -> Tensor:
    return pictures.pixels(pictures.draw(numpy.random.default_rng(seed)))


@pytest.mark.parametrize(("shift", "flip"), [(2, True), (2, False), (0, True), (4, True)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_a_shifted_and_mirrored_form_of_itself(shift: int, flip: bool, channels: int) -> None:
    split = split_of(30, channels)
    steps = range(-shift, shift + 1)
    for image, row in zip(epoch(Augmented(split, shift=shift, flip=flip)), split.rows, strict=True):
        forms = [moved(split.images.pixels[row], *form) for form in product(steps, steps, {False, flip})]
        assert any(torch.equal(image, form) for form in forms)


def test_all_shifts_and_flips_are_equally_likely_and_independent() -> None:
    one = Images(torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5), torch.zeros(1, dtype=torch.int64))
    split = Split(one, torch.zeros(18_000, dtype=torch.int64))
    forms, counts = epoch(Augmented(split, shift=1, flip=True)).flatten(1).unique(dim=0, return_counts=True)
    assert len(forms) == 3 * 3 * 2
    assert counts.min() > 1000 - 5 * 31 and counts.max() < 1000 + 5 * 31  # 5 standard deviations


def test_a_shift_fills_the_border_with_black() -> None:
    images = epoch(Augmented(split_of(200), shift=1, flip=False))
    for image in images:
        rows, columns = image.any(dim=(0, 2)), image.any(dim=(0, 1))
        assert rows.sum() >= 5 and columns.sum() >= 4  # the originals have no black pixel
    assert (images == 0).any()


def test_draws_depend_only_on_the_generator() -> None:
    pictures = Augmented(split_of(40), shift=3, flip=True)
    assert torch.equal(epoch(pictures, seed=1), epoch(pictures, seed=1))
    assert not torch.equal(epoch(pictures, seed=1), epoch(pictures, seed=2))


def test_any_images_can_be_selected_and_the_stored_ones_do_not_change() -> None:
    split = split_of(20)
    before = split.images.pixels.clone()
    pictures = Augmented(split, shift=2, flip=True)
    starts = pictures.draw(numpy.random.default_rng(0))
    whole = pictures.pixels(starts)
    some = torch.tensor([3, 17, 3])
    assert torch.equal(pictures.pixels(starts[some]), whole[some])
    whole.fill_(0)
    assert torch.equal(split.images.pixels, before)
    assert pictures.pixels(starts).any()


def test_a_shifted_image_equals_a_crop_of_the_padded_one() -> None:
    split = split_of(1, height=4, width=4)
    padded = pad(split.images.pixels[split.rows[0]], (2, 2, 2, 2))
    pictures = Augmented(split, shift=2, flip=False)
    for down, right in product(range(5), range(5)):
        found = pictures.pixels(torch.tensor([down * 8 + right]))[0]
        assert torch.equal(found, padded[:, down : down + 4, right : right + 4])


def test_without_shift_and_flip_there_is_no_augmentation() -> None:
    assert augmented(split_of(3), shift=0, flip=False) is None
    assert isinstance(augmented(split_of(3), shift=1, flip=False), Augmented)
    assert isinstance(augmented(split_of(3), shift=0, flip=True), Augmented)

"""A generated stand-in for a data set: the same shape and counts, a noisy pattern for each class."""

from functools import lru_cache

import torch
from torch.nn.functional import interpolate

from src.datasets.facts import DataSet
from src.datasets.images import Images, OfficialSets

PATTERN_CONTRAST, NOISE_CONTRAST = 24.0, 64.0  # in grey levels: hard enough that settings make a difference


@lru_cache(maxsize=4)  # the jobs of a sweep share the images
def generate(data_set: DataSet, class_names: tuple[str, ...]) -> OfficialSets:
    """Generates the same images at every call. The images of a class do not depend on the other classes."""
    labels = [data_set.class_names.index(name) for name in class_names]
    return OfficialSets(
        train=split(data_set, labels, data_set.train_per_class, seed=1),
        test=split(data_set, labels, data_set.test_per_class, seed=2),
        source="synthetic",
    )


def split(data_set: DataSet, labels: list[int], count: int, *, seed: int) -> Images:
    """`count` images of each label, in the order of `labels`."""
    shape = (data_set.channels, data_set.size, data_set.size)
    pixels = []
    for label in labels:
        coarse = torch.randn(1, data_set.channels, 4, 4, generator=torch.Generator().manual_seed(label))
        pattern = interpolate(coarse, size=shape[1:], mode="bilinear")
        noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(1000 * seed + label))
        grey_levels = 128 + PATTERN_CONTRAST * pattern + NOISE_CONTRAST * noise
        pixels.append(grey_levels.clamp(0, 255).to(torch.uint8))
    return Images(torch.cat(pixels), torch.arange(len(labels)).repeat_interleave(count))

import pytest
import torch

from src.datasets.statistics import channel_statistics


@pytest.mark.parametrize("count", [1, 999, 1000, 2500])
def test_mean_and_std_are_computed_over_all_pixels_of_a_channel(count: int) -> None:
    pixels = torch.randint(256, (count, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[:, 1] //= 3
    mean, std = channel_statistics(pixels)
    values = pixels.double().div(255).transpose(0, 1).flatten(1)
    assert mean == pytest.approx(values.mean(dim=1).tolist())
    assert std == pytest.approx(values.std(dim=1, correction=0).tolist())


def test_equal_pixels_have_a_std_of_zero() -> None:
    assert channel_statistics(torch.full((5, 1, 2, 2), 51, dtype=torch.uint8)) == ([0.2], [pytest.approx(0, abs=1e-8)])

"""Channel statistics of images, as normalization wants them."""

import torch
from torch import Tensor

CHUNK = 1000  # images counted at a time: memory stays small


def channel_statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over all pixels, exact, in 0..1.

    Args:
        pixels: (count, channels, height, width), uint8.
    """
    num_channels = pixels.shape[1]
    counts = torch.zeros(num_channels, 256, dtype=torch.float64)  # of each grey level
    for chunk in torch.split(pixels, CHUNK):
        for channel in range(num_channels):
            counts[channel] += chunk[:, channel].flatten().bincount(minlength=256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(dim=1, keepdim=True)
    mean = (shares * levels).sum(dim=1)
    variance = (shares * levels.square()).sum(dim=1) - mean.square()
    return mean.tolist(), variance.clamp(min=0).sqrt().tolist()

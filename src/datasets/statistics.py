"""Channel statistics of images, for normalization."""

import torch
from torch import Tensor

CHUNK = 1000  # images counted at a time, to keep memory small


def channel_statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Exact mean and std (0..1) of each channel over all pixels (count, channels, height, width), uint8."""
    num_channels = pixels.shape[1]
    counts = torch.zeros(num_channels, 256, dtype=torch.float64)  # how often each grey level occurs
    for chunk in torch.split(pixels, CHUNK):
        for channel in range(num_channels):
            counts[channel] += chunk[:, channel].flatten().bincount(minlength=256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(dim=1, keepdim=True)
    mean = (shares * levels).sum(dim=1)
    variance = (shares * levels.square()).sum(dim=1) - mean.square()
    return mean.tolist(), variance.clamp(min=0).sqrt().tolist()

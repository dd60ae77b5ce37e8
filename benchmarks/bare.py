"""BARE: a hand-written training loop on tensors that stay on the device. It imports only torch and numpy."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice, pairwise

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EVAL_BATCH_SIZE = 1024


@dataclass
class Task:
    """The data, network sizes and settings that all arms train with.

    Attributes:
        pixels: the official training images, (count, channels, height, width), uint8.
        labels: (count,), int64.
        train_rows: indices of the images to train on, (count,).
        val_rows: indices of the images to validate on, (count,).
        mean: mean of each channel, (channels, 1, 1); None for pixels in 0..1.
        std: standard deviation of each channel, (channels, 1, 1).
        sizes: number of inputs, units of each hidden layer, number of classes.
        batch_size: images per step.
        lr: learning rate of SGD.
    """

    pixels: Tensor
    labels: Tensor
    train_rows: Tensor
    val_rows: Tensor
    mean: Tensor | None
    std: Tensor | None
    sizes: list[int]
    batch_size: int
    lr: float

    def to(self, device: torch.device) -> "Task":
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return Task(**moved)


def network_of(sizes: list[int], weights: dict[str, Tensor]) -> nn.Module:
    """Fully connected layers with ReLU between them, initialized with these weights."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    for parameter, values in zip(network.parameters(), weights.values(), strict=True):
        parameter.data.copy_(values)
    return network


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the images in an epoch (the first is 0), the same as that of `src.datasets.loader.Shuffle`."""
    generator = numpy.random.Generator(numpy.random.Philox(key=seed, counter=[0, 0, 0, epoch + 1]))
    return torch.from_numpy(generator.permutation(count))


def train(
    task: Task, weights: dict[str, Tensor], *, epochs: int, to_images: Callable[[Tensor], Tensor] | None = None
) -> tuple[list[float], list[Tensor], tuple[float, ...]]:
    """Returns the seconds of each epoch, the final weights, and the last epoch's training and validation results."""
    network = network_of(task.sizes, weights).to(task.pixels.device)
    *_, (_, tracked) = done = list(islice(epochs_of(task, network, to_images=to_images), epochs))
    return [seconds for seconds, _ in done], [parameter.detach().cpu() for parameter in network.parameters()], tracked


def epochs_of(
    task: Task, network: nn.Module, *, to_images: Callable[[Tensor], Tensor] | None = None
) -> Iterator[tuple[float, tuple[float, ...]]]:
    """Trains one epoch per iteration; yields its seconds, and its training and validation loss and accuracy."""
    device = task.pixels.device
    optimizer = torch.optim.SGD(network.parameters(), lr=task.lr)
    to_images = to_images or partial(scaled, mean=task.mean, std=task.std)
    for epoch in count():
        began = time.perf_counter()
        network.train()
        total, hits = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.int64)
        rows = task.train_rows.index_select(0, order(len(task.train_rows), 0, epoch).to(device))
        for batch in rows.split(task.batch_size):
            images, labels = to_images(task.pixels.index_select(0, batch)), task.labels.index_select(0, batch)
            scores = network(images)
            loss = F.cross_entropy(scores, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(labels)
            hits += (scores.detach().argmax(1) == labels).sum()
        trained = (total / len(rows)).item(), (hits / len(rows)).item()
        validated = validate(network, task, to_images)
        yield time.perf_counter() - began, (*trained, *validated)


@torch.no_grad()
def validate(network: nn.Module, task: Task, to_images: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    network.eval()
    device = task.pixels.device
    total, hits = torch.zeros((), device=device), torch.zeros((), device=device, dtype=torch.int64)
    for batch in task.val_rows.split(EVAL_BATCH_SIZE):
        images, labels = to_images(task.pixels.index_select(0, batch)), task.labels.index_select(0, batch)
        scores = network(images)
        total += F.cross_entropy(scores, labels) * len(labels)
        hits += (scores.argmax(1) == labels).sum()
    return (total / len(task.val_rows)).item(), (hits / len(task.val_rows)).item()


def scaled(pixels: Tensor, *, mean: Tensor | None, std: Tensor | None) -> Tensor:
    images = pixels.float().div_(255)
    return images if mean is None else images.sub_(mean).div_(std)

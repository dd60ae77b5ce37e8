"""The arms that use Lightning alone: BAREBONES on resident tensors, and STOCK, the usual code with torchvision."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, Subset
from torchmetrics.classification import MulticlassAccuracy
from torchvision import datasets, transforms

from benchmarks import bare

Batch = tuple[Tensor, Tensor]


class Timer(Callback):
    """Measures the wall time of the fit, from its first step."""

    def on_train_start(self, *arguments: Any) -> None:
        self.began = time.perf_counter()

    def on_train_end(self, *arguments: Any) -> None:
        self.seconds = time.perf_counter() - self.began


class Resident:
    """A loader of the same batches as BARE."""

    batch_sampler = None

    def __init__(self, task: bare.Task, *, train: bool) -> None:
        self.task, self.train, self.sampler, self.epoch = task, train, self, 0
        self.rows = task.train_rows if train else task.val_rows
        self.batch_size = task.batch_size if train else bare.EVAL_BATCH_SIZE

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        rows = self.rows
        if self.train:
            rows = rows.index_select(0, bare.order(len(rows), 0, self.epoch).to(rows.device))
        for batch in rows.split(self.batch_size):
            pixels = self.task.pixels.index_select(0, batch)
            images = bare.scaled(pixels, mean=self.task.mean, std=self.task.std)
            yield images, self.task.labels.index_select(0, batch)


class Barebones(LightningModule):
    """Computes only the loss; logs nothing."""

    def __init__(self, network: nn.Module, lr: float) -> None:
        super().__init__()
        self.network, self.lr = network, lr

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Stock(Barebones):
    """Logs loss and accuracy as the documentation of Lightning and torchmetrics shows."""

    def __init__(self, network: nn.Module, lr: float, num_classes: int) -> None:
        super().__init__(network, lr)
        self.accuracy = nn.ModuleDict({f"{split}_acc": MulticlassAccuracy(num_classes) for split in ("fit", "val")})

    def step(self, batch: Batch, split: str) -> Tensor:
        images, labels = batch
        scores = self.network(images)
        loss = F.cross_entropy(scores, labels)
        accuracy = self.accuracy[f"{split}_acc"]
        accuracy(scores, labels)
        self.log(f"{split}/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log(f"{split}/acc", accuracy, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.step(batch, "fit")

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.step(batch, "val")


class EpochOrder(Sampler[int]):
    """The same order as in the other arms, so that all end with the same weights."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        yield from bare.order(self.count, 0, self.epoch).tolist()


def torchvision_set(task: bare.Task) -> datasets.VisionDataset:
    """The images as torchvision's data set, which converts each to a PIL image and then to a tensor."""
    steps: list[Any] = [transforms.ToTensor()]
    if task.mean is not None and task.std is not None:
        steps.append(transforms.Normalize(task.mean.flatten().tolist(), task.std.flatten().tolist()))
    kind: Any = datasets.FashionMNIST if task.pixels.shape[1] == 1 else datasets.CIFAR10
    data = kind.__new__(kind)  # without __init__, which looks for files
    data.transform, data.target_transform, data.targets = transforms.Compose(steps), None, task.labels.tolist()
    pixels = task.pixels.cpu()
    data.data = pixels.squeeze(1) if kind is datasets.FashionMNIST else pixels.permute(0, 2, 3, 1).numpy()
    if kind is datasets.FashionMNIST:
        data.targets = task.labels.cpu()
    return data  # type: ignore[no-any-return]


def barebones(task: bare.Task, weights: dict[str, Tensor], *, epochs: int) -> tuple[float, list[Tensor]]:
    """Seconds per epoch, and the final weights."""
    module = Barebones(bare.network_of(task.sizes, weights), task.lr)
    return fit(module, Resident(task, train=True), Resident(task, train=False), epochs=epochs, barebones=True)


def stock(
    task: bare.Task, weights: dict[str, Tensor], *, epochs: int, workers: int, folder: Path, test: bool = False
) -> tuple[float, list[Tensor]]:
    """Seconds per epoch, and the final weights. `test` also scores the validation images with the best checkpoint.

    (OURS scores the official test images, which are twice as many.)
    """
    images = torchvision_set(task)
    settings: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    settings["pin_memory"] = torch.cuda.is_available()
    train, val = Subset(images, task.train_rows.tolist()), Subset(images, task.val_rows.tolist())
    train_loader = DataLoader(train, task.batch_size, sampler=EpochOrder(len(train)), **settings)
    val_loader = DataLoader(val, bare.EVAL_BATCH_SIZE, **settings)
    module = Stock(bare.network_of(task.sizes, weights), task.lr, task.sizes[-1])
    logger = TensorBoardLogger(str(folder), name="")
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        return fit(module, train_loader, val_loader, epochs=epochs, test=test, logger=logger)


def fit(
    module: Barebones, train: Iterable[Batch], val: Iterable[Batch], *, epochs: int, test: bool = False, **settings: Any
) -> tuple[float, list[Tensor]]:
    timer = Timer()
    trainer = Trainer(max_epochs=epochs, devices=1, callbacks=[timer], **settings)
    trainer.fit(module, train, val)
    weights = [parameter.detach().cpu().clone() for parameter in module.parameters()]
    if test:
        trainer.test(module, val, ckpt_path="best", weights_only=True, verbose=False)
    return timer.seconds / epochs, weights

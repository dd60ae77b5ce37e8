"""BARE and OURS taking turns by the epoch, so that what else the machine does meets both alike."""

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from lightning import Callback, LightningModule, Trainer


class Turns(Callback):
    """Lets another arm train an epoch before each of ours, and times both.

    Ours goes from the first batch to the start of the next epoch: validation, checkpoints and logging are in it.
    """

    other: ClassVar[Iterator[tuple[float, Any]]]
    ours: ClassVar[list[float]] = []
    others: ClassVar[list[float]] = []

    @classmethod
    def begin(cls, other: Iterator[tuple[float, Any]]) -> dict[str, str]:
        """The setting of a run that makes it take turns with `other`."""
        cls.other, cls.ours, cls.others = other, [], []
        return {"_target_": f"{cls.__module__}.{cls.__name__}"}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note()
        deterministic = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        seconds, _ = next(self.other)
        torch.use_deterministic_algorithms(deterministic)
        self.others.append(seconds)
        self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.note()

    def note(self) -> None:
        if self.began:
            self.ours.append(time.perf_counter() - self.began)

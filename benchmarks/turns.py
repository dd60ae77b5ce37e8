"""Alternates BARE and OURS epoch by epoch, so that other load on the machine affects both alike."""

import time
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from lightning import Callback, LightningModule, Trainer


class Turns(Callback):
    """Lets another arm train an epoch before each epoch of ours, and times both.

    An epoch of ours ends when the next one starts: it includes validation, checkpoints and logging.
    """

    other: ClassVar[Iterator[tuple[float, Any]]]
    ours: ClassVar[list[float]] = []
    others: ClassVar[list[float]] = []

    @classmethod
    def begin(cls, other: Iterator[tuple[float, Any]]) -> dict[str, str]:
        """Returns the `pruner` setting that makes a run alternate with `other`."""
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

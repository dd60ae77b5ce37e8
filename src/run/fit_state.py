"""The callback that times a fit and keeps its rows in every checkpoint, so that a resumed run has all of them."""

import time
from typing import Any, cast

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from src.errors import DataError
from src.metrics import COLUMNS
from src.run.checkpoints import check_optimizers
from src.run.epoch_logger import EpochLogger
from src.run.history import Row, row_of
from src.run.provenance import changes, code, refuse_changes


class FitState(Callback):
    """Saves in every checkpoint what Lightning does not: the rows, the training time and the number of images.

    It also gives the logger the learning rate at the start of each epoch.
    """

    def __init__(self, logger: EpochLogger, *, settings: str, force: bool) -> None:
        self.logger = logger
        self.settings = settings  # a digest; the checkpoint of a run with other settings is refused
        self.force = force  # whether the checkpoint of other code is accepted
        self.train_seconds = 0.0  # wall time of training and validation, without loading and testing
        self.epoch_has_ended = False
        self.is_resumed = self.training_has_begun = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.is_resumed:
            check_optimizers(trainer, pl_module)
        self.training_has_begun = True
        self.logger.row_started = time.perf_counter()
        self.started = self.logger.row_started - self.train_seconds
        self.on_train_epoch_start(trainer, pl_module)  # Lightning does not call it for an epoch that is resumed

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.train_seconds = time.perf_counter() - self.started

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.logger.lr = trainer.optimizers[0].param_groups[0]["lr"]
        self.epoch_has_ended = False

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_has_ended = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["code"], checkpoint["settings"] = code(), self.settings
        checkpoint["history"] = {
            "rows": self.rows(trainer),
            "train_seconds": time.perf_counter() - self.started,
            "train_images": cast(Any, pl_module).train_tally.images,
        }

    def rows(self, trainer: Trainer) -> list[Row]:
        """The rows so far. Lightning logs an epoch after its checkpoint is saved, so that row is made here."""
        rows, epoch = list(self.logger.history.rows), trainer.current_epoch + 1
        if self.epoch_has_ended and not (rows and rows[-1]["epoch"] == epoch):
            train = {name: trainer.callback_metrics[name].item() for name in COLUMNS if name.startswith("train/")}
            rows.append(row_of(epoch, self.logger.pending | train | {"lr": self.logger.lr}))
        return rows

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return  # the weights are loaded for testing
        if checkpoint["settings"] != self.settings:
            raise DataError("the newest checkpoint is of a run with other settings. Train again in a new folder.")
        if not self.force:
            refuse_changes(changes(checkpoint["code"]), "the newest checkpoint")
        self.is_resumed, history = True, checkpoint["history"]
        self.train_seconds = history["train_seconds"]
        self.logger.history.restore(history["rows"])
        cast(Any, pl_module).train_tally.images = history["train_images"]

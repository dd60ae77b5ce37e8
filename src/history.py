"""The course of a run, a row an epoch: printed, in metrics.csv, and as TensorBoard curves with the epoch as x axis."""

import csv
import logging
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from src.event_file import PATTERN, charts, hparams_row
from src.files import whole

COLUMNS = ("epoch", "train/loss", "train/acc", "val/loss", "val/acc", "lr")
log = logging.getLogger(__name__)
details_log = logging.getLogger("details")  # goes to train.log alone


class History(Logger, Callback):
    """A Lightning logger that gathers the metrics of an epoch into one row, and a callback that times them.

    Args:
        run_dir: gets metrics.csv and the TensorBoard event file.
        max_epochs: for "epoch 3/10" in the line of an epoch.
        quiet: do not print that line, but leave it to train.log.

    Attributes:
        rows: those of the epochs so far; the keys are `COLUMNS`, less those of `val` in an epoch without validation.
        train_seconds: wall time of the fit, validation included, loading and testing not.
    """

    def __init__(self, run_dir: Path, *, max_epochs: int, quiet: bool = False) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.max_epochs = max_epochs
        self.epoch_log = details_log if quiet else log
        self.rows: list[dict[str, float]] = []
        self.row: dict[str, float] = {}
        self.train_seconds = 0.0
        self.lr = 0.0  # at the start of the epoch
        self.row_is_due = False

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.run_dir)

    @cached_property
    def writer(self) -> SummaryWriter:
        for earlier in self.run_dir.glob(PATTERN):  # of a start that was interrupted: its rows are drawn anew
            with suppress(PermissionError):  # TensorBoard reads it, on Windows
                earlier.unlink()
        writer = SummaryWriter(str(self.run_dir), flush_secs=10)
        file_writer(writer).add_summary(charts())
        for row in self.rows:
            for name in COLUMNS[1:]:
                if name in row:
                    writer.add_scalar(name, row[name], int(row["epoch"]))
        return writer

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.row_started = time.perf_counter()
        self.train_started = self.row_started - self.train_seconds
        self.on_train_epoch_start(trainer, pl_module)  # Lightning does not call it for an epoch that is resumed

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.train_seconds = time.perf_counter() - self.train_started

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]

    @property
    def best(self) -> dict[str, float]:
        """The row of the first epoch with the highest validation accuracy."""
        return max((row for row in self.rows if "val/acc" in row), key=lambda row: row["val/acc"])

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Takes the metrics of one split at the end of epoch `step`; the training split's come last."""
        if "train/loss" in metrics:
            metrics = metrics | {"lr": self.lr}
        self.draw(metrics, step)
        self.row |= metrics
        if "train/loss" in metrics and step is not None:
            self.rows.append(in_order(step, self.row))
            self.row, self.row_is_due = {}, False
            self.write(self.rows[-1])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.row_is_due = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The rows so far, that of an epoch which has just ended among them: Lightning logs it only afterwards."""
        rows = list(self.rows)
        if self.row_is_due:
            train = {name: trainer.callback_metrics[name].item() for name in ("train/loss", "train/acc")}
            rows.append(in_order(trainer.current_epoch + 1, self.row | train | {"lr": self.lr}))
        checkpoint["history"] = {
            "rows": rows,
            "train_seconds": time.perf_counter() - self.train_started,
            "train_images": cast(Any, pl_module).train_tally.images,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return  # the test with the best epoch's weights
        history = checkpoint["history"]
        self.rows, self.train_seconds = history["rows"], history["train_seconds"]
        cast(Any, pl_module).train_tally.images = history["train_images"]
        self.rewrite()

    @rank_zero_only
    def draw(self, metrics: dict[str, float], epoch: int | None) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)

    @rank_zero_only
    def rewrite(self) -> None:
        """Writes metrics.csv anew, up to the epoch that a run goes on from."""
        with whole(self.run_dir / "metrics.csv") as part, part.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(self.rows)

    @rank_zero_only
    def write(self, row: dict[str, float]) -> None:
        if row is self.rows[0]:
            self.rewrite()
        else:
            with (self.run_dir / "metrics.csv").open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(row)
        now = time.perf_counter()
        splits = "".join(
            f"{split} loss {readable(row[f'{split}/loss'])} acc {row[f'{split}/acc']:.4f}   "
            for split in ("train", "val")
            if f"{split}/loss" in row
        )
        with tqdm.external_write_mode():  # a progress bar makes room
            self.epoch_log.info("epoch %d/%d   %s%.1f s", row["epoch"], self.max_epochs, splits, now - self.row_started)
        self.row_started = now

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's settings are in .hydra/."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Called by Lightning at the end of the fit and of the test, or when either has failed."""
        if status == "success":
            self.writer.flush()
        else:
            self.close()

    @rank_zero_only
    def summarize(self, hyperparameters: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Gives a run that has ended well its row in TensorBoard's HPARAMS tab.

        Args:
            hyperparameters: by the names of their columns.
            metrics: `val/acc` and `test/acc` of the best epoch.
        """
        final = {f"hp/{split}_acc": metrics[f"{split}/acc"] for split in ("val", "test")}
        for summary in hparams_row(hyperparameters, final):
            file_writer(self.writer).add_summary(summary)
        self.draw(final, len(self.rows))

    @rank_zero_only
    def draw_graph(self, network: nn.Module, image_shape: Sequence[int]) -> None:
        """Shows the operations of a network in TensorBoard's GRAPHS tab."""
        parameter = next(network.parameters())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.trace.*deprecated")  # SummaryWriter has no other way
            self.writer.add_graph(network, torch.zeros(1, *image_shape).to(parameter))

    @rank_zero_only
    def close(self) -> None:
        """Writes what is left to the event file; later metrics would open a second one."""
        self.writer.close()


def file_writer(writer: SummaryWriter) -> Any:
    return writer.file_writer


def in_order(epoch: int, row: dict[str, float]) -> dict[str, float]:
    return {"epoch": epoch} | {name: row[name] for name in COLUMNS if name in row}


def readable(loss: float) -> str:
    return f"{loss:.4f}" if loss < 10_000 else f"{loss:.2e}"


def quiet_lightning() -> None:
    """Lightning's tips and notices of every fit stay out of the output; its warnings go where ours go.

    It puts handlers of its own on its loggers when it is imported, beside those that Hydra has set up.
    """
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # lightning 2.6 with torch 2.14
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # of the run that goes on

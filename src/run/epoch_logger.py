"""The logger of a run: each epoch becomes a row of metrics.csv, points of TensorBoard's curves, and a printed line."""

import logging
import time

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from tqdm import tqdm

from src.run import logs
from src.run.event_file import EventFile
from src.run.history import History, Row, row_of

log = logging.getLogger(__name__)


class EpochLogger(Logger):
    """A Lightning logger that gathers the metrics of an epoch, training and validation, into one row.

    Each row is also printed as a line with "epoch 3/10"; with `quiet`, the line goes only to train.log.
    """

    def __init__(self, history: History, events: EventFile, *, max_epochs: int, quiet: bool = False) -> None:
        super().__init__()
        self.history = history
        self.events = events
        self.max_epochs = max_epochs
        self.line_log = logs.details if quiet else log
        self.lr = 0.0  # the learning rate of the next row
        self.pending: Row = {}  # metrics of the next row, which is not complete
        self.row_started = time.perf_counter()

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    def log_metrics(self, metrics: Row, step: int | None = None) -> None:
        """Gets the metrics of one split at the end of epoch `step`; the training metrics come last."""
        completes_row = "train/loss" in metrics and step is not None
        if completes_row:
            metrics = metrics | {"lr": self.lr}
        self.events.add(metrics, step or 0)
        self.pending |= metrics
        if completes_row:
            row, self.pending = row_of(step or 0, self.pending), {}
            self.history.add(row)
            self.print(row)

    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """Does nothing, because the run's settings are in .hydra/."""

    @rank_zero_only
    def print(self, row: Row) -> None:
        seconds = time.perf_counter() - self.row_started
        with tqdm.external_write_mode():  # hides a progress bar meanwhile
            self.line_log.info("epoch %d/%d   %s%.1f s", row["epoch"], self.max_epochs, splits_of(row), seconds)
        self.row_started = time.perf_counter()

    def finalize(self, status: str) -> None:
        """Lightning calls this at the end of the fit and of the test, or when one of them fails."""
        if status == "success":
            self.events.flush()
        else:
            self.events.close()


def splits_of(row: Row) -> str:
    """`train loss 0.4498 acc 0.8492   val loss 0.4591 acc 0.8408   `; splits that are not in the row are left out."""
    parts: dict[str, str] = {}
    for name, value in row.items():
        split, slash, metric = name.partition("/")
        if slash:
            parts[split] = parts.get(split, split) + f" {metric} {readable(value)}"
    return "".join(f"{part}   " for part in parts.values())


def readable(value: float) -> str:
    return f"{value:.4f}" if value < 10_000 else f"{value:.2e}"

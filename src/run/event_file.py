"""A run's TensorBoard event file: curves, a row in the HPARAMS tab, and pictures."""

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from PIL import Image
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from src.metrics import METRICS, TITLES
from src.run.history import History

PATTERN = "events.out.tfevents.*"


class EventFile:
    """The only event file of a run, written by the first process. The x axis of every curve is the epoch.

    In a resumed run, the rows in `history` are written again.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self.folder = folder
        self.history = history

    @cached_property
    def writer(self) -> SummaryWriter:
        for earlier in self.folder.glob(PATTERN):  # from a start that was interrupted
            with suppress(PermissionError):  # on Windows, while TensorBoard reads it
                earlier.unlink()
        writer = SummaryWriter(str(self.folder), flush_secs=10)
        # The CUSTOM SCALARS tab shows training and validation in one chart.
        charts = {title: ["Multiline", [f"train/{name}", f"val/{name}"]] for name, title in TITLES.items()}
        writer.add_custom_scalars({"by epoch": charts})
        for row in self.history.rows:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, int(row["epoch"]))
        return writer

    @rank_zero_only
    def add(self, metrics: Mapping[str, float], epoch: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)

    @rank_zero_only
    def add_hyperparameters(self, values: Mapping[str, Any], metrics: Mapping[str, float], *, epoch: int) -> None:
        """Writes the row of a completed run in the HPARAMS tab: its hyperparameters and its results."""
        # The tags differ from the tags of curves: TensorBoard drops a curve if its tag is also used here.
        final = {f"hp/{split}_{name}": metrics[f"{split}/{name}"] for split in ("val", "test") for name in METRICS}
        for summary in hparams_summaries(values, final):
            write_summary(self.writer, summary)
        self.add(final, epoch)

    @rank_zero_only
    def add_graph(self, network: nn.Module, image_shape: Sequence[int]) -> None:
        """Shows the operations of a network in the GRAPHS tab."""
        parameter = next(network.parameters())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.trace.*deprecated")  # SummaryWriter has no other way
            self.writer.add_graph(network, torch.zeros(1, *image_shape).to(parameter))

    @rank_zero_only
    def flush(self) -> None:
        self.writer.flush()

    @rank_zero_only
    def close(self) -> None:
        """Writes all pending data and closes the file. Later metrics would open a second file."""
        self.writer.close()


def hparams_summaries(values: Mapping[str, Any], metrics: Mapping[str, float]) -> list[Any]:
    """The summaries of a run's row in the HPARAMS tab.

    Private: `torch.utils.tensorboard.summary.hparams` of torch 2.14. The public `SummaryWriter.add_hparams` writes a
    second event file, in a folder of its own, which TensorBoard shows as another run.
    """
    from torch.utils.tensorboard.summary import hparams

    return list(hparams(dict(values), dict(metrics)))  # type: ignore[no-untyped-call]


def write_summary(writer: SummaryWriter, summary: Any) -> None:
    """Adds a summary that `SummaryWriter` has no method for.

    Private: `SummaryWriter.file_writer` of torch 2.14.
    """
    writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]


def append_pictures(files: Iterable[Path], run_dir: Path, *, epoch: int) -> None:
    """Adds PNG files to the event file of a completed run, for the IMAGES tab. Does nothing without an event file.

    Private: the protocol buffers and `RecordWriter` of tensorboard 2.21. A `SummaryWriter` would open a second file.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    for path in sorted(run_dir.glob(PATTERN))[-1:]:
        with path.open("ab") as events:
            records = RecordWriter(events)
            for file in files:
                with Image.open(file) as image:
                    width, height = image.size
                content = Summary.Image(
                    width=width, height=height, colorspace=3, encoded_image_string=file.read_bytes()
                )
                summary = Summary(value=[Summary.Value(tag=f"figures/{file.stem}", image=content)])
                records.write(Event(wall_time=time.time(), step=epoch, summary=summary).SerializeToString())

"""A run's TensorBoard event file, one a run: its charts, its row in the HPARAMS tab, its pictures."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams

PATTERN = "events.out.tfevents.*"


def charts() -> Summary:
    """The CUSTOM SCALARS tab: training and validation in one chart, for the loss and for the accuracy."""
    names = {"loss": "loss", "accuracy": "acc"}
    layout = {title: ["Multiline", [f"train/{name}", f"val/{name}"]] for title, name in names.items()}
    return custom_scalars({"by epoch": layout})  # type: ignore[no-untyped-call]


def hparams_row(values: Mapping[str, Any], metrics: Mapping[str, float]) -> list[Summary]:
    """The row of a run that has ended well; the final metrics go beside it as scalars of the same names.

    They need tags of their own: TensorBoard drops a curve whose tag is also given here.
    """
    return list(hparams(dict(values), dict(metrics)))  # type: ignore[no-untyped-call]


def pictures(files: Iterable[Path]) -> list[Summary]:
    """PNG files for the IMAGES tab, each under its name."""
    return [Summary(value=[Summary.Value(tag=f"figures/{file.stem}", image=encoded(file))]) for file in files]


def encoded(file: Path) -> Any:
    with Image.open(file) as image:
        width, height = image.size
    return Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=file.read_bytes())


def append(run_dir: Path, summaries: Iterable[Summary], *, step: int) -> None:
    """Adds to the event file of a run that has ended; one without a file is left so."""
    for path in sorted(run_dir.glob(PATTERN))[-1:]:
        with path.open("ab") as file:
            records = RecordWriter(file)
            for summary in summaries:
                records.write(Event(wall_time=time.time(), step=step, summary=summary).SerializeToString())

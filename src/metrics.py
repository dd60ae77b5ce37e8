"""The metrics: what is measured over every split, by which class, and which one picks the best epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A number over a whole split."""

    title: str  # the name on a picture's axis
    target: str  # a torchmetrics class, as `module:class`. It is made with `num_classes` and `settings`.
    highest_is_best: bool  # whether more is better
    settings: Mapping[str, Any] = field(default_factory=dict)


# Beside the loss, which every split has.
METRICS = {
    "acc": Metric(
        title="accuracy",
        target="torchmetrics.classification:MulticlassAccuracy",
        highest_is_best=True,
        settings={"average": "micro", "validate_args": False},
    ),
}
TITLES = {"loss": "loss"} | {name: metric.title for name, metric in METRICS.items()}
MONITOR = "val/acc"  # the best epoch is the first with the highest
COLUMNS = ("epoch", *(f"{split}/{name}" for split in ("train", "val") for name in TITLES), "lr")  # of metrics.csv

"""The metrics that are computed for every split, and the one that selects the best epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A metric of a whole split."""

    title: str  # the axis label in figures
    target: str  # a torchmetrics class as `module:class`, called with `num_classes` and `settings`
    highest_is_best: bool
    settings: Mapping[str, Any] = field(default_factory=dict)


# In addition to the loss, which every split has.
METRICS = {
    "acc": Metric(
        title="accuracy",
        target="torchmetrics.classification:MulticlassAccuracy",
        highest_is_best=True,
        settings={"average": "micro", "validate_args": False},
    ),
}
TITLES = {"loss": "loss"} | {name: metric.title for name, metric in METRICS.items()}
MONITOR = "val/acc"  # the best epoch is the first one with the highest value
COLUMNS = ("epoch", *(f"{split}/{name}" for split in ("train", "val") for name in TITLES), "lr")  # of metrics.csv

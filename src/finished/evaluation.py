"""The scores of a trained network for each image of a split, and metrics computed from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from src.datasets.images import Split
from src.networks import probabilities

CALIBRATION_BINS = 15  # Guo et al. (2017)


class KeepScores(Callback):
    """Keeps the scores while Lightning validates or tests on one device."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *rest: Any) -> None:
        self.batches.append(outputs.float().cpu())

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *rest: Any) -> None:
        self.batches.append(outputs.float().cpu())

    def scores(self) -> Tensor:
        """(images, num_classes), in the order of the split."""
        return torch.cat(self.batches)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of a network on a split."""

    name: str  # name of the split, `val` or `test`
    split: Split  # the images; the first `len(scores)` of them were scored
    class_names: Sequence[str]  # in the order of the labels
    scores: Tensor  # (count, num_classes), float32
    reported: dict[str, float]  # the loss and the metrics, computed as in training

    @cached_property
    def labels(self) -> Tensor:
        """The true labels, (count,), int64."""
        return self.split.images.labels[self.split.rows[: len(self.scores)]]

    @cached_property
    def predicted(self) -> Tensor:
        """The labels with the highest scores, (count,), int64."""
        return self.scores.argmax(dim=1)

    @cached_property
    def probabilities(self) -> Tensor:
        """(count, num_classes), each row sums to one."""
        return probabilities(self.scores)

    def pixels(self, numbers: Tensor) -> Tensor:
        """The images at these positions in the split, (count, channels, height, width), uint8."""
        return self.split.images.pixels[self.split.rows[numbers]]

    @cached_property
    def confusion_matrix(self) -> Tensor:
        """Counts of images by true class (rows) and predicted class (columns), (num_classes, num_classes), int64."""
        return multiclass_confusion_matrix(self.predicted, self.labels, len(self.class_names))

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0..1, with 15 bins of equal width (Guo et al., 2017).

        The mean difference between confidence (the probability of the predicted label) and accuracy over the bins.
        """
        found = multiclass_calibration_error(
            self.probabilities, self.labels, len(self.class_names), n_bins=CALIBRATION_BINS
        )
        return float(found)

    @cached_property
    def by_class(self) -> list[dict[str, Any]]:
        """Name, precision, recall, F1 (0..1; 0 for a division by zero) and number of images of each class."""
        measures = {"precision": multiclass_precision, "recall": multiclass_recall, "f1": multiclass_f1_score}
        columns = {
            name: measure(self.predicted, self.labels, len(self.class_names), average="none").tolist()
            for name, measure in measures.items()
        }
        counts = self.confusion_matrix.sum(dim=1).tolist()
        return [
            {"name": name} | {key: values[label] for key, values in columns.items()} | {"images": counts[label]}
            for label, name in enumerate(self.class_names)
        ]

    def as_json(self) -> dict[str, Any]:
        """The content of result.json: the loss and all metrics."""
        return {
            "split": self.name,
            **self.reported,
            "calibration_error": self.calibration_error,
            "images": len(self.scores),
            "classes": self.by_class,
            "confusion_matrix": self.confusion_matrix.tolist(),
        }

"""What a trained network makes of a split: its scores, image by image, and the measures that follow from them."""

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

from src.data.images import Images, Split
from src.data.loader import EVAL_BATCH_SIZE, Batches
from src.networks import Classifier, probabilities

CALIBRATION_BINS = 15  # Guo et al. (2017)


class KeepScores(Callback):
    """Keeps the scores of what Lightning validates or tests, on one device."""

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
    """A split as a network has scored it.

    Attributes:
        name: of the split, `val` or `test`.
        split: its images, of which the first `len(scores)` have been scored.
        class_names: in the order of the labels.
        scores: (count, num_classes), float32.
        loss: mean over the images, as training reports it.
        acc: fraction of the images whose highest score is that of their label, as training reports it.
    """

    name: str
    split: Split
    class_names: Sequence[str]
    scores: Tensor
    loss: float
    acc: float

    @cached_property
    def labels(self) -> Tensor:
        """(count,), int64."""
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
        """Some of the images by their numbers in the split, (count, channels, height, width), uint8."""
        return self.split.images.pixels[self.split.rows[numbers]]

    @cached_property
    def confusion_matrix(self) -> Tensor:
        """Images of each class (rows) that were taken for each (columns), (num_classes, num_classes), int64."""
        return multiclass_confusion_matrix(self.predicted, self.labels, len(self.class_names))

    @property
    def calibration_error(self) -> float:
        """How far the probability of the predicted label is from the share that is right, 0..1.

        Mean over the images, in 15 bins of equal width (expected calibration error; Guo et al., 2017).
        """
        found = multiclass_calibration_error(
            self.probabilities, self.labels, len(self.class_names), n_bins=CALIBRATION_BINS
        )
        return float(found)

    @cached_property
    def by_class(self) -> list[dict[str, Any]]:
        """Name, precision, recall, F1 (0..1, zero where nothing is divided) and number of images of each class."""
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
        """The loss and every measure."""
        return {
            "split": self.name,
            "loss": self.loss,
            "acc": self.acc,
            "calibration_error": self.calibration_error,
            "images": len(self.scores),
            "classes": self.by_class,
            "confusion_matrix": self.confusion_matrix.tolist(),
        }


def shifted(pixels: Tensor, *, right: int, down: int) -> Tensor:
    """Images moved by whole pixels, negative for left and up; what is shifted in is black (0), as in training."""
    height, width = pixels.shape[-2:]
    moved = torch.zeros_like(pixels)
    to_rows, from_rows = slice(max(0, down), height + min(0, down)), slice(max(0, -down), height - max(0, down))
    to_columns, from_columns = slice(max(0, right), width + min(0, right)), slice(max(0, -right), width - max(0, right))
    moved[..., to_rows, to_columns] = pixels[..., from_rows, from_columns]
    return moved


@torch.inference_mode()
def accuracy(network: Classifier, images: Images, normalize: tuple[Sequence[float], Sequence[float]] | None) -> float:
    """The fraction of images whose highest score is that of their label, on the CPU."""
    network.eval()
    dtype = next(network.parameters()).dtype
    split = Split(images, torch.arange(len(images)))
    batches = Batches(split, batch_size=EVAL_BATCH_SIZE, normalize=normalize, shuffle=None)
    hits = sum(int((network(pixels.to(dtype)).argmax(dim=1) == labels).sum()) for pixels, labels in batches)
    return hits / len(images)

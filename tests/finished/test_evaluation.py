import pytest
import torch
from torch import Tensor

from src.datasets.images import Images, Split
from src.finished.evaluation import Evaluation

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
SCORES = torch.tensor([[3.0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 3, 0], [0, 3, 0], [3, 0, 0]])


def evaluation(scores: Tensor = SCORES, labels: Tensor = LABELS) -> Evaluation:
    pixels = torch.arange(len(labels) * 4, dtype=torch.uint8).view(-1, 1, 2, 2)
    split = Split(Images(pixels, labels.flip(0)), torch.arange(len(labels)).flip(0))
    return Evaluation("test", split, ["a", "b", "c"], scores, {"loss": 0.5, "acc": 4 / 6})


def test_each_class_has_its_precision_recall_f1_and_number_of_images() -> None:
    a, b, c = evaluation().by_class
    two_thirds = pytest.approx(2 / 3)
    assert a == {"name": "a", "precision": two_thirds, "recall": two_thirds, "f1": two_thirds, "images": 3}
    assert b == {"name": "b", "precision": two_thirds, "recall": 1.0, "f1": pytest.approx(0.8), "images": 2}
    assert c == {"name": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 1}


def test_the_confusion_matrix_has_true_classes_as_rows_and_predicted_ones_as_columns() -> None:
    assert evaluation().confusion_matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_the_calibration_error_is_the_gap_between_probability_and_accuracy() -> None:
    confidence = float(torch.softmax(SCORES[0], dim=0).max())
    assert evaluation().calibration_error == pytest.approx(confidence - 4 / 6, abs=1e-6)


def test_pixels_and_labels_are_in_the_order_of_the_split() -> None:
    assert evaluation().pixels(torch.tensor([0]))[0].flatten().tolist() == [20, 21, 22, 23]
    assert evaluation(SCORES[:2]).labels.tolist() == [0, 0]  # only the first two were scored

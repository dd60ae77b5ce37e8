import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from src.datasets.images import Images, Split
from src.finished.evaluation import Evaluation
from src.finished.gallery import accuracy, shifted
from src.networks import Classifier, SoftmaxRegression

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
SCORES = torch.tensor([[3.0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 3, 0], [0, 3, 0], [3, 0, 0]])


def evaluation(scores: Tensor = SCORES, labels: Tensor = LABELS) -> Evaluation:
    pixels = torch.arange(len(labels) * 4, dtype=torch.uint8).view(-1, 1, 2, 2)
    rows = torch.arange(len(labels) - 1, -1, -1)
    split = Split(Images(pixels, labels.flip(0)), rows)
    return Evaluation("test", split, ["a", "b", "c"], scores, {"loss": 0.5, "acc": 4 / 6})


def test_each_class_has_its_precision_recall_f1_and_number_of_images() -> None:
    a, b, c = evaluation().by_class
    assert a == {
        "name": "a",
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "images": 3,
    }
    assert b == {"name": "b", "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "images": 2}
    assert c == {"name": "c", "precision": 0.0, "recall": 0.0, "f1": 0.0, "images": 1}


def test_the_confusion_matrix_has_true_classes_down_and_predicted_ones_across() -> None:
    assert evaluation().confusion_matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_the_calibration_error_is_the_gap_between_probability_and_accuracy() -> None:
    confidence = float(torch.softmax(SCORES[0], dim=0).max())
    assert evaluation().calibration_error == pytest.approx(confidence - 4 / 6, abs=1e-6)


def test_images_are_those_of_the_split_in_its_order() -> None:
    assert evaluation().pixels(torch.tensor([0]))[0].flatten().tolist() == [20, 21, 22, 23]
    assert evaluation(SCORES[:2]).labels.tolist() == [0, 0]  # where the others were left out


def test_a_shift_moves_whole_pixels_and_black_moves_in() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    assert shifted(image, right=1, down=0)[0, 0].tolist() == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    assert shifted(image, right=-2, down=0)[0, 0].tolist() == [[3, 0, 0], [6, 0, 0], [9, 0, 0]]
    assert shifted(image, right=0, down=1)[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert shifted(image, right=0, down=-1)[0, 0].tolist() == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert torch.equal(shifted(image, right=0, down=0), image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_accuracy_counts_hits_in_the_precision_of_the_network(dtype: torch.dtype) -> None:
    network: Classifier = SoftmaxRegression(image_shape=(1, 1, 2), num_classes=2, loss=F.cross_entropy).to(dtype)
    with torch.no_grad():
        next(network.parameters()).copy_(torch.eye(2))  # the brighter pixel names the class
    images = Images(
        torch.tensor([[200, 10], [10, 200], [90, 10], [10, 90]], dtype=torch.uint8).view(4, 1, 1, 2),
        torch.tensor([0, 1, 1, 1]),
    )
    assert accuracy(network, images, None) == 0.75
    assert accuracy(network, images, ([0.5], [0.25])) == 0.75

"""Which pictures a run has, and what is drawn in them."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torch.nn import functional as F

from src.datasets.image_data import ImageDataModule
from src.datasets.images import Images, Split
from src.finished import gallery
from src.finished.evaluation import Evaluation
from src.finished.figures import MARK
from src.finished.gallery import accuracy, draw_gallery, mistakes, predictions, shifted, shifts, spread, weights
from src.finished.reopen import FinishedRun
from src.networks import MLP, Classifier, SoftmaxRegression, SoftmaxRegressionScratch

NAMES = ["airplane", "bird", "cat"]


def evaluation(count: int = 60, *, channels: int = 1, size: int = 8) -> Evaluation:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(3, (count,), generator=generator)
    scores = torch.randn(count, 3, generator=generator) * 3
    split = Split(Images(pixels, labels), torch.arange(count))
    right = float((scores.argmax(dim=1) == labels).float().mean())
    return Evaluation("test", split, NAMES, scores, {"loss": 1.0, "acc": right})


def shown(figure: Figure) -> list[torch.Tensor]:
    return [torch.as_tensor(numpy.asarray(image.get_array())) for image in figure.axes[0].get_images()]


def parts_of(network: Classifier, normalize: object = None) -> Any:
    """Stands in for the rebuilt parts of a run: its network, and data that makes batches."""
    data = SimpleNamespace(resize=None, data_set=SimpleNamespace(size=None), normalize=normalize)
    data.batches_of = partial(ImageDataModule.batches_of, data)
    return SimpleNamespace(task=SimpleNamespace(network=network), data=data)


def test_predictions_are_spread_over_the_split_and_the_wrong_ones_are_marked() -> None:
    found = evaluation(100)
    figure = predictions(found)
    numbers = spread(100, 40).tolist()
    assert len(numbers) == 40 and numbers[0] == 0 and numbers[-1] == 99
    for number, image, title in zip(numbers, shown(figure), figure.axes[0].texts, strict=True):
        assert torch.allclose(image[..., 0], found.split.images.pixels[number, 0] / 255)
        true, guess = int(found.labels[number]), int(found.predicted[number])
        assert title.get_text() == f"{NAMES[true]} /\n{NAMES[guess]}"
        assert (title.get_color() == MARK) == (true != guess)
    assert len(figure.axes[0].patches) == sum(found.labels[n] != found.predicted[n] for n in numbers)
    assert figure.get_suptitle() == "40 of 100 test images: true / predicted, mistakes framed"


def test_mistakes_are_the_wrong_ones_with_the_highest_probability() -> None:
    found = evaluation(100)
    figure = mistakes(found)
    wrong = [number for number in range(100) if found.labels[number] != found.predicted[number]]
    wrong.sort(key=lambda number: -float(found.probabilities[number].max()))
    for number, image, title in zip(wrong, shown(figure), figure.axes[0].texts, strict=False):
        assert torch.allclose(image[..., 0], found.split.images.pixels[number, 0] / 255)
        assert title.get_text().endswith(f"\n{float(found.probabilities[number].max()) * 100:.1f} %")
    assert len(shown(figure)) == min(24, len(wrong)) > 10
    assert figure.get_suptitle().startswith(f"The most confident of {len(wrong)} mistakes")


def test_a_shift_moves_whole_pixels_and_fills_the_border_with_black() -> None:
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    assert shifted(image, right=1, down=0)[0, 0].tolist() == [[0, 1, 2], [0, 4, 5], [0, 7, 8]]
    assert shifted(image, right=-2, down=0)[0, 0].tolist() == [[3, 0, 0], [6, 0, 0], [9, 0, 0]]
    assert shifted(image, right=0, down=1)[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert shifted(image, right=0, down=-1)[0, 0].tolist() == [[4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert torch.equal(shifted(image, right=0, down=0), image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_accuracy_is_computed_in_the_precision_of_the_network(dtype: torch.dtype) -> None:
    network: Classifier = SoftmaxRegression(image_shape=(1, 1, 2), num_classes=2, loss=F.cross_entropy).to(dtype)
    with torch.no_grad():
        next(network.parameters()).copy_(torch.eye(2))  # the brighter pixel decides the class
    pixels = torch.tensor([[200, 10], [10, 200], [90, 10], [10, 90]], dtype=torch.uint8)
    for normalize in (None, ([0.5], [0.25])):
        parts = parts_of(network, normalize)
        assert accuracy(parts, pixels.view(4, 1, 1, 2), torch.tensor([0, 1, 1, 1])) == 0.75


def test_shifts_are_measured_on_the_same_images_in_both_directions() -> None:
    found = evaluation(50, size=12)
    parts = parts_of(SoftmaxRegression(image_shape=(1, 12, 12), num_classes=3, loss=F.cross_entropy))
    figure, images = shifts(found, parts), found.split.images
    for line, direction in zip(figure.axes[0].lines, ("right", "down"), strict=False):
        assert list(line.get_xdata()) == list(range(-8, 9))
        for step, value in zip(line.get_xdata(), line.get_ydata(), strict=True):
            moved = shifted(images.pixels, **({"right": 0, "down": 0} | {direction: int(step)}))
            assert value == accuracy(parts, moved, images.labels)


def test_shifts_are_smaller_than_the_image() -> None:
    parts = parts_of(SoftmaxRegression(image_shape=(1, 3, 3), num_classes=3, loss=F.cross_entropy))
    assert list(shifts(evaluation(size=3), parts).axes[0].lines[0].get_xdata()) == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("kind", [SoftmaxRegression, SoftmaxRegressionScratch])
def test_networks_of_one_layer_show_one_image_per_class(kind: type[Classifier]) -> None:
    torch.manual_seed(0)
    network = kind(image_shape=(3, 8, 8), num_classes=3, loss=F.cross_entropy)  # type: ignore[call-arg]
    figure = weights(network, evaluation(channels=3))["weights"]
    assert [title.get_text() for title in figure.axes[0].texts] == NAMES
    first = next(network.parameters()).detach()
    rows = first.T if isinstance(network, SoftmaxRegressionScratch) else first
    middle = rows.abs().flatten().quantile(0.995)
    for image, row in zip(shown(figure), rows, strict=True):
        assert torch.allclose(image, (0.5 + row.view(3, 8, 8) / (2 * middle)).clamp(0, 1).permute(1, 2, 0))


def test_an_mlp_shows_its_units_with_the_largest_weights() -> None:
    settings = {"hidden_sizes": [50], "activation": nn.ReLU, "dropout": 0.0, "batch_norm": True, "loss": F.mse_loss}
    network = MLP(image_shape=(1, 8, 8), num_classes=3, **settings)  # type: ignore[arg-type]
    rows = network.layers[1].weight.detach()  # type: ignore[union-attr]
    with torch.no_grad():
        rows[:10] *= 0.01
    figure = weights(network, evaluation())["filters"]
    assert [title.get_text() for title in figure.axes[0].texts] == [f"unit {number}" for number in range(10, 50)]
    assert figure.get_suptitle() == "First layer: the 40 of 50 hidden units with the largest weights"


def test_a_custom_network_has_no_picture_of_weights() -> None:
    class Own(Classifier):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :3]

    assert weights(Own(torch.nn.functional.cross_entropy), evaluation()) == {}


def test_the_folder_holds_every_picture_and_examples_equal_to_the_images(tmp_path: Path) -> None:
    rows = "1,2.0,0.5,1.0,0.5,0.1\n2,1.0,0.6,,,0.1\n"
    (tmp_path / "metrics.csv").write_text(f"epoch,train/loss,train/acc,val/loss,val/acc,lr\n{rows}")
    found = evaluation(channels=3)
    network = SoftmaxRegression(image_shape=(3, 8, 8), num_classes=3, loss=F.cross_entropy)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").touch()
    run = FinishedRun(tmp_path, {}, {"best_epoch": 1})
    files = draw_gallery(tmp_path / "figures", found, parts_of(network), run)
    names = {"predictions", "mistakes", "confusion_matrix", "learning_curves", "shifts", "weights"}
    assert {path.stem for path in files} == names
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {*(f"{name}.png" for name in names), "examples"}
    for path in files:
        with Image.open(path) as image:
            assert min(image.size) > 200
    examples = sorted((tmp_path / "figures" / "examples").iterdir())
    assert len(examples) == gallery.NUM_EXAMPLES
    for number, path in zip(spread(60, 10).tolist(), examples, strict=True):
        assert path.name == f"{number:05d}_{NAMES[int(found.labels[number])]}.png"
        with Image.open(path) as image:
            assert torch.equal(torch.from_numpy(numpy.array(image)).permute(2, 0, 1), found.split.images.pixels[number])

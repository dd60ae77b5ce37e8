"""The pictures of a finished run: which there are, as files and in TensorBoard's IMAGES tab."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from src import figures
from src.data.images import Images
from src.evaluation import Evaluation, accuracy, shifted
from src.event_file import append, pictures
from src.files import whole
from src.networks import MLP, Classifier, OneLayer, SoftmaxRegressionScratch
from src.run import EXAMPLES

NUM_EXAMPLES = 10
SHOWN = 40  # images, and filters, in a picture
MISTAKES = 24
LARGEST_SHIFT = 8  # pixels
SHIFTED_IMAGES = 2000  # enough for an accuracy to within a hundredth

Normalize = tuple[Sequence[float], Sequence[float]] | None


def draw_gallery(
    folder: Path, evaluation: Evaluation, network: Classifier, normalize: Normalize, *, run_dir: Path
) -> list[Path]:
    """Draws every picture that a run has; the folder appears whole.

    Args:
        folder: for the pictures; what is there is replaced.
        evaluation: of the split whose images are shown.
        network: with the weights that were evaluated, on the CPU.
        normalize: mean and std of each channel, as in training.
        run_dir: the run's folder, for its curves.
    """
    drawn = {
        "predictions": predictions(evaluation),
        "mistakes": mistakes(evaluation),
        "confusion_matrix": figures.confusion_matrix(evaluation.confusion_matrix, evaluation.class_names),
        "learning_curves": figures.learning_curves(read_rows(run_dir)),
        "shifts": shifts(evaluation, network, normalize),
        **weights(network, evaluation),
    }
    with whole(folder) as part:
        part.mkdir(parents=True)
        for name, figure in drawn.items():
            figure.savefig(part / f"{name}.png", dpi=100)
        write_examples(part / Path(EXAMPLES).name, evaluation)
    return [folder / f"{name}.png" for name in drawn]


def to_tensorboard(files: Sequence[Path], run_dir: Path, *, epochs: int) -> None:
    """Adds pictures to a run's event file, at its last epoch."""
    append(run_dir, pictures(files), step=epochs)


def read_rows(run_dir: Path) -> list[dict[str, float]]:
    """The epochs in metrics.csv; an epoch without validation has no `val/` values."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def spread(count: int, wanted: int) -> Tensor:
    """Numbers below `count`, evenly spread: a folder of images comes class by class."""
    return torch.linspace(0, count - 1, min(wanted, count)).round().long()


def predictions(evaluation: Evaluation) -> Figure:
    numbers = spread(len(evaluation.scores), SHOWN)
    titles, wrong = titles_of(evaluation, numbers)
    title = f"{len(numbers)} of {len(evaluation.scores):,} {evaluation.name} images: true / predicted, mistakes framed"
    return figures.image_grid(evaluation.pixels(numbers), titles, title=title, framed=wrong)


def mistakes(evaluation: Evaluation) -> Figure:
    """The wrong predictions, those with the highest probability first."""
    wrong = (evaluation.predicted != evaluation.labels).nonzero().flatten()
    confidence = evaluation.probabilities[wrong].amax(dim=1)
    numbers = wrong[confidence.argsort(descending=True, stable=True)[:MISTAKES]]
    titles, _ = titles_of(evaluation, numbers)
    percent = evaluation.probabilities[numbers].amax(dim=1) * 100
    titles = [f"{title}\n{value:.1f} %" for title, value in zip(titles, percent.tolist(), strict=True)]
    title = f"The most confident of {len(wrong):,} mistakes: true / predicted, its probability"
    return figures.image_grid(evaluation.pixels(numbers), titles, title=title)


def titles_of(evaluation: Evaluation, numbers: Tensor) -> tuple[list[str], list[bool]]:
    """`true / predicted` of some images, and which of them are wrong."""
    pairs = list(zip(evaluation.labels[numbers].tolist(), evaluation.predicted[numbers].tolist(), strict=True))
    names = evaluation.class_names
    return [f"{names[true]} /\n{names[guess]}" for true, guess in pairs], [true != guess for true, guess in pairs]


def shifts(evaluation: Evaluation, network: Classifier, normalize: Normalize) -> Figure:
    """Accuracy where the images are shifted, the same ones for all shifts."""
    numbers = spread(len(evaluation.scores), SHIFTED_IMAGES)
    pixels, labels = evaluation.pixels(numbers), evaluation.labels[numbers]
    largest = min(LARGEST_SHIFT, pixels.shape[-1] - 1)
    steps = range(-largest, largest + 1)
    curves = {}
    for direction in ("right", "down"):
        moved = (shifted(pixels, **({"right": 0, "down": 0} | {direction: step})) for step in steps)
        curves[direction] = [accuracy(network, Images(images, labels), normalize) for images in moved]
    return figures.shift_curves(list(steps), curves, num_images=len(numbers), num_classes=len(evaluation.class_names))


def weights(network: Classifier, evaluation: Evaluation) -> dict[str, Figure]:
    """How the first layer weighs the pixels: an image a class, or some filters; nothing for other networks."""
    shape = evaluation.split.images.pixels.shape[1:]
    if isinstance(network, OneLayer | SoftmaxRegressionScratch):
        rows = network.W.T if isinstance(network, SoftmaxRegressionScratch) else network.output.weight
        title = "Weight of each pixel for the score of a class"
        shown = rows.detach().float()[:SHOWN]
        return {"weights": figures.weight_grid(shown.reshape(-1, *shape), evaluation.class_names[:SHOWN], title=title)}
    if isinstance(network, MLP):
        rows = cast(nn.Linear, network.layers[1]).weight.detach().float()
        largest = rows.norm(dim=1).argsort(descending=True, stable=True)[:SHOWN].sort().values
        title = f"First layer: the {len(largest)} of {len(rows)} hidden units with the largest weights"
        names = [f"unit {number}" for number in largest.tolist()]
        return {"filters": figures.weight_grid(rows[largest].view(-1, *shape), names, title=title)}
    return {}


def write_examples(folder: Path, evaluation: Evaluation) -> None:
    """Some images as files, named by their number in the split and their class."""
    numbers = spread(len(evaluation.scores), NUM_EXAMPLES)
    pixels = evaluation.pixels(numbers)
    if pixels.shape[1] not in (1, 3):
        return
    folder.mkdir()
    for number, image in zip(numbers.tolist(), pixels, strict=True):
        array = image.permute(1, 2, 0).squeeze(-1).numpy()
        name = evaluation.class_names[int(evaluation.labels[number])].replace(" ", "-")
        Image.fromarray(array).save(folder / f"{number:05d}_{name}.png")

"""The figures of a finished run, and the images and numbers that each one shows."""

from pathlib import Path
from typing import cast

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from src.files import whole
from src.finished import figures
from src.finished.evaluation import Evaluation
from src.finished.reopen import FinishedRun, Rebuilt
from src.networks import MLP, Classifier, OneLayer, SoftmaxRegressionScratch
from src.run.history import read_rows
from src.run.records import EXAMPLES

NUM_EXAMPLES = 10
NUM_IMAGES = 40  # in a picture of images or of filters
NUM_MISTAKES = 24
LARGEST_SHIFT = 8  # pixels
NUM_SHIFTED = 2000  # images, enough for an accuracy to within a hundredth


def draw_gallery(folder: Path, evaluation: Evaluation, parts: Rebuilt, run: FinishedRun) -> list[Path]:
    """Draws all figures of a run into a folder, which is replaced as a whole; returns the files.

    `parts` has the evaluated weights, on the CPU.
    """
    network = parts.task.network
    drawn = {
        "predictions": predictions(evaluation),
        "mistakes": mistakes(evaluation),
        "confusion_matrix": figures.confusion_matrix(evaluation.confusion_matrix, evaluation.class_names),
        "learning_curves": figures.learning_curves(read_rows(run.folder), best_epoch=run.result["best_epoch"]),
        "shifts": shifts(evaluation, parts),
        **weights(network, evaluation),
    }
    with whole(folder) as part:
        part.mkdir(parents=True)
        for name, figure in drawn.items():
            figure.savefig(part / f"{name}.png", dpi=100)
        write_examples(part / Path(EXAMPLES).name, evaluation)
    return [folder / f"{name}.png" for name in drawn]


def spread(count: int, wanted: int) -> Tensor:
    """Evenly spaced indices below `count`: images from a folder are sorted by class, so the first ones would not do."""
    return torch.linspace(0, count - 1, min(wanted, count)).round().long()


def predictions(evaluation: Evaluation) -> Figure:
    numbers = spread(len(evaluation.scores), NUM_IMAGES)
    titles, wrong = titles_of(evaluation, numbers)
    title = f"{len(numbers)} of {len(evaluation.scores):,} {evaluation.name} images: true / predicted, mistakes framed"
    return figures.image_grid(evaluation.pixels(numbers), titles, title=title, framed=wrong)


def mistakes(evaluation: Evaluation) -> Figure:
    """The wrong predictions, most confident first."""
    wrong = (evaluation.predicted != evaluation.labels).nonzero().flatten()
    confidence = evaluation.probabilities[wrong].amax(dim=1)
    numbers = wrong[confidence.argsort(descending=True, stable=True)[:NUM_MISTAKES]]
    titles, _ = titles_of(evaluation, numbers)
    percent = evaluation.probabilities[numbers].amax(dim=1) * 100
    titles = [f"{title}\n{value:.1f} %" for title, value in zip(titles, percent.tolist(), strict=True)]
    title = f"The most confident of {len(wrong):,} mistakes: true / predicted, its probability"
    return figures.image_grid(evaluation.pixels(numbers), titles, title=title)


def titles_of(evaluation: Evaluation, numbers: Tensor) -> tuple[list[str], list[bool]]:
    """`true / predicted` for some images, and whether each prediction is wrong."""
    pairs = list(zip(evaluation.labels[numbers].tolist(), evaluation.predicted[numbers].tolist(), strict=True))
    names = evaluation.class_names
    return [f"{names[true]} /\n{names[guess]}" for true, guess in pairs], [true != guess for true, guess in pairs]


def shifts(evaluation: Evaluation, parts: Rebuilt) -> Figure:
    """Accuracy on shifted images, the same images for every shift."""
    numbers = spread(len(evaluation.scores), NUM_SHIFTED)
    pixels, labels = evaluation.pixels(numbers), evaluation.labels[numbers]
    largest = min(LARGEST_SHIFT, pixels.shape[-1] - 1)
    steps = range(-largest, largest + 1)
    curves = {}
    for direction in ("right", "down"):
        moved = (shifted(pixels, **({"right": 0, "down": 0} | {direction: step})) for step in steps)
        curves[direction] = [accuracy(parts, images, labels) for images in moved]
    return figures.shift_curves(list(steps), curves, num_images=len(numbers), num_classes=len(evaluation.class_names))


def shifted(pixels: Tensor, *, right: int, down: int) -> Tensor:
    """Shifts images by whole pixels; negative is left and up. The gap is black (0), as in training."""
    height, width = pixels.shape[-2:]
    moved = torch.zeros_like(pixels)
    to_rows, from_rows = slice(max(0, down), height + min(0, down)), slice(max(0, -down), height - max(0, down))
    to_columns, from_columns = slice(max(0, right), width + min(0, right)), slice(max(0, -right), width - max(0, right))
    moved[..., to_rows, to_columns] = pixels[..., from_rows, from_columns]
    return moved


@torch.inference_mode()
def accuracy(parts: Rebuilt, pixels: Tensor, labels: Tensor) -> float:
    """The fraction of images that are predicted correctly, computed on the CPU."""
    network = parts.task.network.eval()
    dtype = next(network.parameters()).dtype
    guesses = [network(images.to(dtype)).argmax(dim=1) for images, _ in parts.data.batches_of(pixels)]
    return int((torch.cat(guesses) == labels).sum()) / len(labels)


def weights(network: Classifier, evaluation: Evaluation) -> dict[str, Figure]:
    """A figure of the first layer's weights, for each class or for some hidden units; empty for other networks."""
    shape = evaluation.split.images.pixels.shape[1:]
    if isinstance(network, OneLayer | SoftmaxRegressionScratch):
        rows = network.W.T if isinstance(network, SoftmaxRegressionScratch) else network.output.weight
        title = "Weight of each pixel for the score of a class"
        shown = rows.detach().float()[:NUM_IMAGES].reshape(-1, *shape)
        return {"weights": figures.weight_grid(shown, evaluation.class_names[:NUM_IMAGES], title=title)}
    if isinstance(network, MLP):
        rows = cast(nn.Linear, network.layers[1]).weight.detach().float()
        largest = rows.norm(dim=1).argsort(descending=True, stable=True)[:NUM_IMAGES].sort().values
        title = f"First layer: the {len(largest)} of {len(rows)} hidden units with the largest weights"
        names = [f"unit {number}" for number in largest.tolist()]
        return {"filters": figures.weight_grid(rows[largest].view(-1, *shape), names, title=title)}
    return {}


def write_examples(folder: Path, evaluation: Evaluation) -> None:
    """Writes some images as files, named by their number in the split and their class."""
    numbers = spread(len(evaluation.scores), NUM_EXAMPLES)
    pixels = evaluation.pixels(numbers)
    if pixels.shape[1] not in (1, 3):
        return
    folder.mkdir()
    for number, image in zip(numbers.tolist(), pixels, strict=True):
        array = image.permute(1, 2, 0).squeeze(-1).numpy()
        name = evaluation.class_names[int(evaluation.labels[number])].replace(" ", "-")
        Image.fromarray(array).save(folder / f"{number:05d}_{name}.png")

"""Pictures from data and results."""

from collections.abc import Mapping, Sequence

import numpy
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

# Colours that are told apart with any colour vision (Okabe and Ito, 2008; viridis, and a scale of red to blue).
BLUE, MARK = "#0072B2", "#D55E00"
SPLIT_COLOURS = {"train": MARK, "val": BLUE}
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
COLUMNS, FEW = 8, 5  # images side by side, and where there are two rows at most
GAP = 2  # pixels between them
INCHES_A_LETTER = 0.08  # of a title, at most
LARGEST_SIDE = 64  # pixels of an image that are shown
CLIPPED_AT = 0.995  # of the weights lie within the colour scale: a few large ones would make all others pale
MOST_FOR_QUANTILE = 16_000_000  # torch's limit
MOST_WITH_TEXT = 20  # classes
OPPOSITE = {"right": "left", "down": "up"}


def class_grid(examples: Sequence[Tensor], class_names: Sequence[str], *, title: str) -> Figure:
    """A row of images for each class, with its label and name on the left; in grey unless they have three channels.

    Args:
        examples: for each class (count, channels, height, width), uint8; the same count for all.
        class_names: in the order of the labels.
        title: of the picture.
    """
    rows, columns = len(class_names), len(examples[0])
    figure = Figure(figsize=(0.8 * columns + 1.6, 0.8 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for label, (name, images) in enumerate(zip(class_names, examples, strict=True)):
        for axes, image in zip(grid[label], images, strict=True):
            shown = image.permute(1, 2, 0) if len(image) == 3 else image.float().mean(dim=0)
            axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
        grid[label][0].set_ylabel(f"{label}  {name}", rotation="horizontal", ha="right", va="center")
    return figure


def as_colours(pixels: Tensor) -> Tensor:
    """Bytes (count, channels, height, width) to colours 0..1, (count, height, width, 3): grey unless there are three.

    Every second, third, ... pixel of large images.
    """
    step = -(-max(pixels.shape[-2:]) // LARGEST_SIDE)
    shown = pixels[..., ::step, ::step].float() / 255
    shown = shown if shown.shape[1] == 3 else shown.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return shown.permute(0, 2, 3, 1)


def image_grid(pixels: Tensor, titles: Sequence[str], *, title: str, framed: Sequence[bool] = ()) -> Figure:
    """Images, each under its title; some of them framed, and their titles in the frame's colour.

    Args:
        pixels: (count, channels, height, width), uint8.
        titles: one an image.
        title: of the picture.
        framed: which ones.
    """
    return grid_of_tiles(as_colours(pixels), titles, title=title, framed=framed)


def grid_of_tiles(tiles: Tensor, titles: Sequence[str], *, title: str, framed: Sequence[bool] = ()) -> Figure:
    """One image of all tiles, (count, height, width, 3): axes for each of them would take seconds to draw."""
    count, height, width, _ = tiles.shape
    columns = min(COLUMNS if count > 2 * FEW else FEW, max(count, 1))
    rows = -(-max(count, 1) // columns)
    lines = max((text.count("\n") + 1 for text in titles), default=1)
    room = height * 0.16 * lines  # for the title above each tile
    inches = 1.15 * max(columns, 4)
    unit = inches / columns / (width + GAP)
    wide = max(inches + 0.4, INCHES_A_LETTER * len(title))
    figure = Figure(figsize=(wide, unit * rows * (height + room + GAP) + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots()
    axes.set_axis_off()
    if not count:
        axes.text(0.5, 0.5, "none", ha="center", va="center")
        return figure
    for number, tile in enumerate(tiles):
        left, top = number % columns * (width + GAP), number // columns * (height + room + GAP) + room
        box = (left, left + width, top + height, top)  # of pixels, the first row on top
        axes.imshow(tile.numpy(), extent=box, interpolation="nearest")
        marked = bool(framed) and framed[number]
        if marked:
            frame = Rectangle((left, top), width, height, fill=False, edgecolor=MARK, linewidth=2.5)
            axes.add_patch(frame)
        axes.text(
            left + width / 2,
            top - height * 0.02,
            titles[number],
            ha="center",
            va="bottom",
            fontsize=6.5,
            linespacing=1.0,
            color=MARK if marked else "black",
            weight="bold" if marked else "normal",
        )
    axes.set(xlim=(-GAP, columns * (width + GAP)), ylim=(rows * (height + room + GAP), 0), aspect="equal")
    return figure


def weight_grid(weights: Tensor, titles: Sequence[str], *, title: str) -> Figure:
    """Weights as images on one colour scale, from as far below zero as above: white, or grey in colour, is zero.

    Args:
        weights: (count, channels, height, width).
        titles: one an image.
        title: of the picture.
    """
    limit = float(weights.abs().flatten().quantile(CLIPPED_AT)) if weights.numel() <= MOST_FOR_QUANTILE else 0.0
    limit = limit or float(weights.abs().max()) or 1.0
    if weights.shape[1] == 3:
        tiles = (0.5 + weights / (2 * limit)).clamp(0, 1).permute(0, 2, 3, 1)
        return grid_of_tiles(tiles, titles, title=f"{title}; each of red, green, blue from {-limit:.3g} to {limit:.3g}")
    scale = ScalarMappable(Normalize(-limit, limit), cmap=DIVERGING)
    colours = numpy.asarray(scale.cmap(scale.norm(weights.mean(dim=1).numpy())))
    tiles = torch.from_numpy(colours[..., :3])
    figure = grid_of_tiles(tiles, titles, title=title)
    figure.colorbar(scale, ax=figure.axes[0], label="weight", shrink=0.7, extend="both")
    return figure


def confusion_matrix(counts: Tensor, class_names: Sequence[str]) -> Figure:
    """Counts (num_classes, num_classes), true classes down; coloured by the share of the true class."""
    num_classes = len(class_names)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(2.6 + 0.52 * num_classes, 12)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares.numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1)
    if num_classes <= MOST_WITH_TEXT:
        for row in range(num_classes):
            for column in range(num_classes):
                colour = "white" if shares[row, column] < 0.5 else "black"
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(range(num_classes), class_names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(num_classes), class_names)
    right = int(counts.trace())
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"Confusion matrix: {right:,} of {int(counts.sum()):,} images right", fontsize=10)
    figure.colorbar(shown, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def learning_curves(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Loss and accuracy by epoch, training and validation; the epoch of the best checkpoint is marked.

    Args:
        rows: of metrics.csv.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    figure.suptitle("Learning curves", fontsize=10)
    validated = [row for row in rows if "val/acc" in row]
    best = max(validated, key=lambda row: row["val/acc"])["epoch"] if validated else None
    for axes, (name, label) in zip(figure.subplots(1, 2), (("loss", "loss"), ("acc", "accuracy")), strict=True):
        for split, title, style in (("train", "training", "--"), ("val", "validation", "-")):
            points = [(row["epoch"], row[f"{split}/{name}"]) for row in rows if f"{split}/{name}" in row]
            epochs, values = zip(*points, strict=True) if points else ((), ())
            axes.plot(epochs, values, style, color=SPLIT_COLOURS[split], marker="o", markersize=3, label=title)
        if best is not None:
            axes.axvline(best, color="0.5", linewidth=1, linestyle=":", label=f"best epoch, {best:.0f}")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def shift_curves(
    steps: Sequence[int], curves: Mapping[str, Sequence[float]], *, num_images: int, num_classes: int
) -> Figure:
    """Accuracy against a shift of the images; always from 0 to 1, so that runs can be compared.

    Args:
        steps: pixels.
        curves: the accuracies (0..1) of each direction, `right` and `down`.
        num_images: that were shifted.
        num_classes: for the line of guessing.
    """
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for (direction, values), (style, colour) in zip(curves.items(), (("o-", BLUE), ("s--", MARK)), strict=False):
        axes.plot(
            steps, values, style, color=colour, markersize=4, label=f"{direction} (negative: {OPPOSITE[direction]})"
        )
    axes.axhline(1 / num_classes, color="0.5", linewidth=1, linestyle=":", label="guessing")
    axes.set(xlabel="shift, pixels", ylabel="accuracy", ylim=(0, 1))
    axes.set_title(f"Accuracy of shifted images ({num_images:,} of them)", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower center")
    return figure

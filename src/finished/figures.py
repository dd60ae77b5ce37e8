"""Draws the figures of a run: grids of images, matrices and curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from src.metrics import TITLES

# Colours that suit colour-blind readers (Okabe and Ito, 2008; viridis; and a scale from red to blue).
BLUE, MARK = "#0072B2", "#D55E00"
SPLIT_COLOURS = {"train": MARK, "val": BLUE}
SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"
COLUMNS, COLUMNS_OF_FEW = 8, 5  # images in a row; the second number if these fill at most two rows
GAP = 2  # pixels between images
INCHES_A_LETTER = 0.08  # of a title
LARGEST_SIDE = 64  # pixels; larger images are subsampled
CLIPPED_AT = 0.995  # the quantile of the weights that ends the colour scale; outliers would make all others pale
MOST_FOR_QUANTILE = 16_000_000  # numbers; the limit of torch.quantile
MOST_WITH_TEXT = 20  # classes; larger confusion matrices have no text
OPPOSITE = {"right": "left", "down": "up"}


def image_grid(pixels: Tensor, titles: Sequence[str], *, title: str, framed: Sequence[bool] = ()) -> Figure:
    """Images (count, channels, height, width), uint8, each under its title; some are framed, with coloured titles."""
    step = -(-max(pixels.shape[-2:]) // LARGEST_SIDE)
    shown = pixels[..., ::step, ::step].float() / 255
    shown = shown if shown.shape[1] == 3 else shown.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)  # in grey
    return grid_of_tiles(shown.permute(0, 2, 3, 1), titles, title=title, framed=framed)


def grid_of_tiles(tiles: Tensor, titles: Sequence[str], *, title: str, framed: Sequence[bool] = ()) -> Figure:
    """Draws all tiles, (count, height, width, 3), on one Axes: one Axes for each tile would take seconds to draw."""
    count, height, width, _ = tiles.shape
    columns = min(COLUMNS if count > 2 * COLUMNS_OF_FEW else COLUMNS_OF_FEW, max(count, 1))
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
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 6.5, "linespacing": 1.0}
        if framed and framed[number]:
            axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=MARK, linewidth=2.5))
            style |= {"color": MARK, "weight": "bold"}
        axes.text(left + width / 2, top - height * 0.02, titles[number], **style)
    axes.set(xlim=(-GAP, columns * (width + GAP)), ylim=(rows * (height + room + GAP), 0), aspect="equal")
    return figure


def weight_grid(weights: Tensor, titles: Sequence[str], *, title: str) -> Figure:
    """Weights (count, channels, height, width) as images on a symmetric scale: zero is white, or grey for colours."""
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
    """Counts (num_classes, num_classes) with true classes as rows, coloured by their share of the true class."""
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


def learning_curves(rows: Sequence[Mapping[str, float]], *, best_epoch: int) -> Figure:
    """Loss and metrics by epoch, training and validation, with the epoch of the best checkpoint marked."""
    figure = Figure(figsize=(4.5 * len(TITLES), 3.6), layout="constrained")
    figure.suptitle("Learning curves", fontsize=10)
    for axes, (name, label) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        for split, title, style in (("train", "training", "--"), ("val", "validation", "-")):
            points = [(row["epoch"], row[f"{split}/{name}"]) for row in rows if f"{split}/{name}" in row]
            epochs, values = zip(*points, strict=True) if points else ((), ())
            axes.plot(epochs, values, style, color=SPLIT_COLOURS[split], marker="o", markersize=3, label=title)
        axes.axvline(best_epoch, color="0.5", linewidth=1, linestyle=":", label=f"best epoch, {best_epoch}")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def shift_curves(
    steps: Sequence[int], curves: Mapping[str, Sequence[float]], *, num_images: int, num_classes: int
) -> Figure:
    """Accuracy (0..1) by shift in pixels, for each direction, always on an axis from 0 to 1."""
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

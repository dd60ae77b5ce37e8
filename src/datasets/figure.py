"""The picture of a data set: some images of each class."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor


def class_grid(examples: Sequence[Tensor], class_names: Sequence[str], *, title: str) -> Figure:
    """Draws a row of images for each class, with its label and name on the left; grey unless there are three channels.

    `examples` has the images of each class, (count, channels, height, width), uint8, with equal counts.
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

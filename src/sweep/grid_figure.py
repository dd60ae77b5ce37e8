"""The grid of a sweep as a picture: a heatmap for two keys, a curve for one."""

from collections.abc import Sequence
from itertools import pairwise
from math import log
from pathlib import Path
from statistics import stdev
from typing import TYPE_CHECKING

from src.files import whole
from src.metrics import MONITOR
from src.sweep.grid import Grid, is_geometric
from src.sweep.leaderboard import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROWEST = 4  # largest ratio of the widest cell to the narrowest


def draw(grid: Grid, path: Path) -> None:
    """Draws a grid into a PNG file."""
    from matplotlib.figure import Figure

    columns = len(grid.panels) if len(grid.keys) == 2 else 1
    figure = Figure(figsize=(4.2 * columns + 1.6, 4.4), layout="constrained")
    if len(grid.keys) == 2:
        draw_heatmaps(grid, figure)
    else:
        draw_curves(grid, figure)
    with whole(path) as part:
        figure.savefig(part, format="png", dpi=120)


def draw_curves(grid: Grid, figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    (key,), (values,) = grid.keys, grid.axes
    axes = figure.subplots()
    for name, cells in grid.panels.items():
        done = [(value, cells[value,]) for value in values if (value,) in cells and cells[value,].completed]
        spread = [deviation(entry) for _, entry in done]
        at, means = [float(value) for value, _ in done], [entry.mean(MONITOR) for _, entry in done]
        axes.errorbar(at, means, yerr=spread if any(spread) else None, marker="o", capsize=3, label=name or None)
    axes.plot(float(grid.best.values[key]), grid.best.mean(MONITOR), "*", color="black", markersize=14, label="best")
    failed = [value for cells in grid.panels.values() for (value,), entry in cells.items() if not entry.completed]
    for value in failed:
        axes.axvline(float(value), color="0.6", linestyle=":")
    if failed:
        axes.add_line(Line2D([], [], color="0.6", linestyle=":", label="no result"))
    scale_axis(axes, "x", values, at=[float(value) for value in values])
    axes.set(xlabel=key, ylabel="validation accuracy")
    axes.grid(alpha=0.3)
    axes.legend()


def deviation(entry: Entry) -> float:
    return stdev(run.result[MONITOR] for run in entry.runs) if len(entry.runs) > 1 else 0.0


def draw_heatmaps(grid: Grid, figure: "Figure") -> None:
    import numpy

    rows, columns = grid.axes
    all_axes = figure.subplots(1, len(grid.panels), squeeze=False)[0]
    done = [entry.mean(MONITOR) for cells in grid.panels.values() for entry in cells.values() if entry.completed]
    low, high = min(done), max(done)
    across, down = places(columns), places(rows)
    for axes, (name, cells) in zip(all_axes, grid.panels.items(), strict=True):
        image = numpy.full((len(rows), len(columns)), numpy.nan)
        for (row, column), entry in cells.items():
            if entry.completed:
                image[rows.index(row), columns.index(column)] = entry.mean(MONITOR)
        mesh = axes.pcolormesh(
            bounds(across), bounds(down), image, cmap="viridis", vmin=low, vmax=high, edgecolors="white", linewidth=1
        )
        for (row, column), entry in cells.items():
            dark = entry.completed and entry.mean(MONITOR) < (low + high) / 2
            weight = "bold" if entry is grid.best else "normal"
            x, y, colour = across[columns.index(column)], down[rows.index(row)], "white" if dark else "black"
            axes.text(x, y, grid.cell(entry), ha="center", va="center", color=colour, weight=weight)
        scale_axis(axes, "x", columns, at=across)
        scale_axis(axes, "y", rows, at=down)
        axes.set(xlabel=grid.keys[1], ylabel=grid.keys[0], title=name)
    figure.colorbar(mesh, ax=list(all_axes), label="validation accuracy (* best)")


def places(values: Sequence[str]) -> list[float]:
    """The positions of values on an axis: the values, or 0, 1, 2, ... if some cells would be too narrow to read."""
    numbers = [float(value) for value in values]
    scale = log if is_geometric(numbers) else float
    gaps = [scale(after) - scale(before) for before, after in pairwise(numbers)]
    return numbers if min(gaps) * NARROWEST >= max(gaps) else [float(place) for place in range(len(values))]


def bounds(numbers: Sequence[float]) -> list[float]:
    """The borders of the cells around values, halfway between neighbours on a linear or logarithmic scale."""
    if is_geometric(numbers):
        middles = [(before * after) ** 0.5 for before, after in pairwise(numbers)]
        return [numbers[0] ** 2 / middles[0], *middles, numbers[-1] ** 2 / middles[-1]]
    middles = [(before + after) / 2 for before, after in pairwise(numbers)]
    return [2 * numbers[0] - middles[0], *middles, 2 * numbers[-1] - middles[-1]]


def scale_axis(axes: "Axes", side: str, values: Sequence[str], *, at: Sequence[float]) -> None:
    """Puts a tick at each value; the axis is logarithmic if the positions are geometric."""
    from matplotlib.ticker import NullLocator

    axis = axes.xaxis if side == "x" else axes.yaxis
    if is_geometric(at):
        (axes.set_xscale if side == "x" else axes.set_yscale)("log")
    axis.set_ticks(list(at), labels=list(values))
    axis.set_minor_locator(NullLocator())

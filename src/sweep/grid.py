"""The grid of a sweep over one or two numbers: on the terminal, as a picture, and what lies beyond its edge."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

from src.checks import RULES
from src.files import whole
from src.settings import key_of
from src.sweep.leaderboard import Entry, Leaderboard, as_number
from src.sweep.plan import Plan
from src.tables import as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = 30  # characters
NARROWEST = 4  # the widest cell of a heatmap by the narrowest
MORE = 2  # values beyond the edge
LARGEST_RATIO = 10.0  # of one to the next


@dataclass(frozen=True)
class Grid:
    """The leaderboard's entries by the values of one or two numeric keys.

    Attributes:
        keys: one or two.
        axes: the values of each key as typed, from the lowest to the highest.
        panels: one for each combination of the other keys' values, by its name: the entry of each cell.
        best: the best entry of all.
    """

    keys: list[str]
    axes: list[list[str]]
    panels: dict[str, dict[tuple[str, ...], Entry]]
    best: Entry

    def cell(self, entry: Entry | None) -> str:
        if entry is None:
            return ""
        if not entry.completed:
            return entry.runs[0].status
        return f"{entry.mean('val/acc'):.4f}" + "*" * (entry is self.best)


def numeric_keys(board: Leaderboard) -> list[str]:
    """The keys, but for the seed, that have several values, all of them numbers."""

    def is_numeric(key: str) -> bool:
        values = {entry.values[key] for entry in board.entries}
        return len(values) > 1 and all(as_number(value) is not None for value in values)

    return [key for key in board.keys if key != "seed" and is_numeric(key)]


def grid_of(board: Leaderboard) -> Grid | None:
    """The grid, where there are one or two numeric keys and a completed run."""
    keys = numeric_keys(board)
    if not 1 <= len(keys) <= 2 or not board.completed:
        return None
    others = [key for key in board.keys if key not in (*keys, "seed")]
    panels: dict[str, dict[tuple[str, ...], Entry]] = {}
    for entry in board.entries:  # the completed ones come first: a failed seed does not hide the others
        panel = panels.setdefault("  ".join(f"{key}={entry.values[key]}" for key in others), {})
        panel.setdefault(tuple(entry.values[key] for key in keys), entry)
    axes = [axis(board, key) for key in keys]
    best = max(board.completed, key=lambda entry: entry.mean("val/acc"))
    return Grid(keys, axes, panels, best)


def grid_text(grid: Grid) -> str:
    """The grid for a terminal: a table for two keys, bars for one; the best is marked by a star."""
    parts = []
    for name, cells in grid.panels.items():
        if len(grid.keys) == 2:
            rows, columns = grid.axes
            body = [[row, *(grid.cell(cells.get((row, column))) for column in columns)] for row in rows]
            lines = [[f"val acc, {grid.keys[0]} down", *(f"{grid.keys[1]}={column}" for column in columns)], *body]
        else:
            lines = [[grid.keys[0], "val acc", ""]]
            lines += [[value, grid.cell(cells.get((value,))), bar(grid, cells.get((value,)))] for value in grid.axes[0]]
        parts.append(f"{name}\n" * bool(name) + as_text(lines))
    return "\n\n".join(parts)


def bar(grid: Grid, entry: Entry | None) -> str:
    """The accuracy of an entry as a bar, from the lowest of the grid to the highest."""
    accuracies = [each.mean("val/acc") for panel in grid.panels.values() for each in panel.values() if each.completed]
    if entry is None or not entry.completed:
        return ""
    share = (entry.mean("val/acc") - min(accuracies)) / ((max(accuracies) - min(accuracies)) or 1.0)
    return "#" * max(1, round(share * BAR))


def is_geometric(values: Sequence[float]) -> bool:
    """Whether values are spread more evenly by their ratios than by their differences."""
    if len(values) < 3:
        return len(values) == 2 and values[0] > 0 and values[1] / values[0] >= 4
    if values[0] <= 0:
        return False
    ratios = [log(after / before) for before, after in pairwise(values)]
    steps = [after - before for before, after in pairwise(values)]
    return max(ratios) / min(ratios) < max(steps) / min(steps)


def beyond(values: Sequence[str], best: str, *, key: str) -> list[str]:
    """The values to try next, where the best one is the lowest or highest of a grid, spaced as the grid is."""
    numbers = [float(value) for value in values]
    if len(numbers) < 2:
        return []
    fits = RULES[key].holds if key in RULES else lambda value: True
    whole = all(value.lstrip("-").isdigit() for value in values) and not (key in RULES and fits(0.5))
    if best not in (values[0], values[-1]):
        return []
    end, inner = (numbers[0], numbers[1]) if best == values[0] else (numbers[-1], numbers[-2])
    found = []
    ratio = min(max(end / inner, 1 / LARGEST_RATIO), LARGEST_RATIO) if is_geometric(numbers) else 1.0
    for number in range(1, MORE + 1):
        value = end * ratio**number if ratio != 1 else end + number * (end - inner)
        value = round(value) if whole else value
        if fits(value):
            found.append(f"{value}" if whole else f"{value:.4g}")
    least = min(1.0, numbers[0]) if whole else 0.0  # of a size or a rate: what is above 0 stays there
    least = least if numbers[0] >= 0 else float("-inf")
    return list(dict.fromkeys(text for text in found if text not in values and float(text) >= least))


def advice(board: Leaderboard, plan: Plan, launched_by: Sequence[str] = ()) -> list[str]:
    """What to say where the best value lies on the edge of the grid: which, and the next command to type."""
    if plan.space or not board.completed:
        return []
    best_of_all = max(board.completed, key=lambda entry: entry.mean("val/acc"))
    further = {}
    for key in numeric_keys(board):
        values = values_of(board.completed, key)
        best = best_of_all.values[key]
        if next_values := beyond(values, best, key=key):
            end = "lowest" if best == values[0] else "highest"
            further[key] = (f"The best {key}, {best}, is the {end} of the grid.", [best, *next_values])
    if not further:
        return []
    words = [shlex.quote(text) for text in launched_by]
    for text in plan.overrides:
        key, typed = key_of(text), text.partition("=")[0]
        if key in further:
            text = f"{typed}={','.join(sorted(further[key][1], key=float))}"
        elif key in best_of_all.values:
            text = f"{typed}={best_of_all.values[key]}"
        words.append(shlex.quote(text))
    earlier = (key for key in plan.swept if key in best_of_all.values and key not in map(key_of, plan.overrides))
    words += [shlex.quote(f"{key}={best_of_all.values[key]}") for key in earlier]  # swept by an earlier command
    said = [sentence for sentence, _ in further.values()]
    return [*said, f"  next         python -m src.train -m {' '.join(words)}"]


def axis(board: Leaderboard, key: str) -> list[str]:
    """The values of a numeric key, from the lowest to the highest."""
    return values_of(board.entries, key)


def values_of(entries: Sequence[Entry], key: str) -> list[str]:
    return sorted({entry.values[key] for entry in entries}, key=float)


def draw(grid: Grid, path: Path) -> None:
    """Draws grid.png: a heatmap for two keys, a curve for one."""
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
        axes.errorbar(
            [float(value) for value, _ in done],
            [entry.mean("val/acc") for _, entry in done],
            yerr=spread if any(spread) else None,
            marker="o",
            capsize=3,
            label=name or None,
        )
    axes.plot(float(grid.best.values[key]), grid.best.mean("val/acc"), "*", color="black", markersize=14, label="best")
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
    from statistics import stdev

    return stdev(run.result["val/acc"] for run in entry.runs) if len(entry.runs) > 1 else 0.0


def draw_heatmaps(grid: Grid, figure: "Figure") -> None:
    import numpy

    rows, columns = grid.axes
    all_axes = figure.subplots(1, len(grid.panels), squeeze=False)[0]
    done = [entry.mean("val/acc") for cells in grid.panels.values() for entry in cells.values() if entry.completed]
    low, high = min(done), max(done)
    across, down = places(columns), places(rows)
    for axes, (name, cells) in zip(all_axes, grid.panels.items(), strict=True):
        image = numpy.full((len(rows), len(columns)), numpy.nan)
        for (row, column), entry in cells.items():
            if entry.completed:
                image[rows.index(row), columns.index(column)] = entry.mean("val/acc")
        mesh = axes.pcolormesh(
            bounds(across), bounds(down), image, cmap="viridis", vmin=low, vmax=high, edgecolors="white", linewidth=1
        )
        for (row, column), entry in cells.items():
            dark = entry.completed and entry.mean("val/acc") < (low + high) / 2
            weight = "bold" if entry is grid.best else "normal"
            text = grid.cell(entry) if entry.completed else f"{entry.runs[0].status}"
            axes.text(
                across[columns.index(column)],
                down[rows.index(row)],
                text,
                ha="center",
                va="center",
                color="white" if dark else "black",
                weight=weight,
            )
        scale_axis(axes, "x", columns, at=across)
        scale_axis(axes, "y", rows, at=down)
        axes.set(xlabel=grid.keys[1], ylabel=grid.keys[0], title=name)
    figure.colorbar(mesh, ax=list(all_axes), label="validation accuracy (* best)")


def places(values: Sequence[str]) -> list[float]:
    """Where values lie on an axis: at their numbers, or evenly, where cells would be too narrow to be read."""
    numbers = [float(value) for value in values]
    scale = log if is_geometric(numbers) else float
    gaps = [scale(after) - scale(before) for before, after in pairwise(numbers)]
    return numbers if min(gaps) * NARROWEST >= max(gaps) else [float(place) for place in range(len(values))]


def bounds(numbers: Sequence[float]) -> list[float]:
    """The borders of the cells around values, half-way between them as they are spaced."""
    if is_geometric(numbers):
        middles = [(before * after) ** 0.5 for before, after in pairwise(numbers)]
        return [numbers[0] ** 2 / middles[0], *middles, numbers[-1] ** 2 / middles[-1]]
    middles = [(before + after) / 2 for before, after in pairwise(numbers)]
    return [2 * numbers[0] - middles[0], *middles, 2 * numbers[-1] - middles[-1]]


def scale_axis(axes: "Axes", side: str, values: Sequence[str], *, at: Sequence[float]) -> None:
    """A tick at each value; a logarithmic axis where they are geometric."""
    from matplotlib.ticker import NullLocator

    axis = axes.xaxis if side == "x" else axes.yaxis
    if is_geometric(at):
        (axes.set_xscale if side == "x" else axes.set_yscale)("log")
    axis.set_ticks(list(at), labels=list(values))
    axis.set_minor_locator(NullLocator())

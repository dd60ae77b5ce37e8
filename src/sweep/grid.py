"""The grid of a sweep over one or two numeric keys: as text, and the values to try beyond its edge."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from src.metrics import MONITOR
from src.rules import RULES
from src.settings import key_of
from src.sweep.leaderboard import Entry, Leaderboard, as_number
from src.sweep.plan import Plan
from src.tables import as_text

BAR = 30  # characters of the longest bar
MORE = 2  # values to try beyond the edge
LARGEST_RATIO = 10.0  # of neighbouring values beyond the edge


@dataclass(frozen=True)
class Grid:
    """The leaderboard's entries, arranged by the values of one or two numeric keys."""

    keys: list[str]  # one or two
    axes: list[list[str]]  # the values of each key as typed, from the lowest to the highest
    panels: dict[str, dict[tuple[str, ...], Entry]]  # text of the other keys' values -> values of `keys` -> entry
    best: Entry  # the best entry of all

    def cell(self, entry: Entry | None) -> str:
        if entry is None:
            return ""
        if not entry.completed:
            return entry.runs[0].status
        return f"{entry.mean(MONITOR):.4f}" + "*" * (entry is self.best)


def numeric_keys(board: Leaderboard) -> list[str]:
    """The keys with several values that are all numbers, without the seed."""

    def is_numeric(key: str) -> bool:
        values = {entry.values[key] for entry in board.entries}
        return len(values) > 1 and all(as_number(value) is not None for value in values)

    return [key for key in board.keys if key != "seed" and is_numeric(key)]


def best_entry(board: Leaderboard) -> Entry:
    return max(board.completed, key=lambda entry: entry.mean(MONITOR))


def grid_of(board: Leaderboard) -> Grid | None:
    """The grid; None unless there are one or two numeric keys and a completed run."""
    keys = numeric_keys(board)
    if not 1 <= len(keys) <= 2 or not board.completed:
        return None
    others = [key for key in board.keys if key not in (*keys, "seed")]
    panels: dict[str, dict[tuple[str, ...], Entry]] = {}
    for entry in board.entries:  # completed ones come first, so a failed seed does not hide them
        panel = panels.setdefault("  ".join(f"{key}={entry.values[key]}" for key in others), {})
        panel.setdefault(tuple(entry.values[key] for key in keys), entry)
    return Grid(keys, [values_of(board.entries, key) for key in keys], panels, best_entry(board))


def values_of(entries: Sequence[Entry], key: str) -> list[str]:
    """The values of a numeric key, from the lowest to the highest."""
    return sorted({entry.values[key] for entry in entries}, key=float)


def grid_text(grid: Grid) -> str:
    """The grid for a terminal: a table for two keys, bars for one. A star marks the best entry."""
    title = MONITOR.replace("/", " ")
    parts = []
    for name, cells in grid.panels.items():
        if len(grid.keys) == 2:
            rows, columns = grid.axes
            body = [[row, *(grid.cell(cells.get((row, column))) for column in columns)] for row in rows]
            lines = [[f"{title}, {grid.keys[0]} down", *(f"{grid.keys[1]}={column}" for column in columns)], *body]
        else:
            lines = [[grid.keys[0], title, ""]]
            lines += [[value, grid.cell(cells.get((value,))), bar(grid, cells.get((value,)))] for value in grid.axes[0]]
        parts.append(f"{name}\n" * bool(name) + as_text(lines))
    return "\n\n".join(parts)


def bar(grid: Grid, entry: Entry | None) -> str:
    """The accuracy of an entry as a bar, scaled from the lowest accuracy of the grid to the highest."""
    accuracies = [each.mean(MONITOR) for panel in grid.panels.values() for each in panel.values() if each.completed]
    if entry is None or not entry.completed:
        return ""
    share = (entry.mean(MONITOR) - min(accuracies)) / ((max(accuracies) - min(accuracies)) or 1.0)
    return "#" * max(1, round(share * BAR))


def is_geometric(values: Sequence[float]) -> bool:
    """Whether the ratios of sorted values vary less than their differences."""
    if len(values) < 3:
        return len(values) == 2 and values[0] > 0 and values[1] / values[0] >= 4
    if values[0] <= 0:
        return False
    ratios = [log(after / before) for before, after in pairwise(values)]
    steps = [after - before for before, after in pairwise(values)]
    return max(ratios) / min(ratios) < max(steps) / min(steps)


def beyond(values: Sequence[str], best: str, *, key: str) -> list[str]:
    """The values to try next, spaced like the grid; empty unless the best value is the lowest or the highest."""
    numbers = [float(value) for value in values]
    if len(numbers) < 2 or best not in (values[0], values[-1]):
        return []
    fits = RULES[key].holds if key in RULES else lambda value: True
    whole = all(value.lstrip("-").isdigit() for value in values) and not (key in RULES and fits(0.5))
    end, inner = (numbers[0], numbers[1]) if best == values[0] else (numbers[-1], numbers[-2])
    found = []
    ratio = min(max(end / inner, 1 / LARGEST_RATIO), LARGEST_RATIO) if is_geometric(numbers) else 1.0
    for number in range(1, MORE + 1):
        value = end * ratio**number if ratio != 1 else end + number * (end - inner)
        value = round(value) if whole else value
        if fits(value):
            found.append(f"{value}" if whole else f"{value:.4g}")
    least = min(1.0, numbers[0]) if whole else 0.0  # sizes and rates must be above 0
    least = least if numbers[0] >= 0 else float("-inf")
    return list(dict.fromkeys(text for text in found if text not in values and float(text) >= least))


def advice(board: Leaderboard, plan: Plan, launched_by: Sequence[str] = ()) -> list[str]:
    """Reports best values on the edge of the grid, and a next command that repeats Hydra's overrides `launched_by`."""
    if plan.space or not board.completed:
        return []
    best, said, further = best_entry(board), [], {}
    for key in numeric_keys(board):
        values = values_of(board.completed, key)
        if next_values := beyond(values, best.values[key], key=key):
            end = "lowest" if best.values[key] == values[0] else "highest"
            said.append(f"The best {key}, {best.values[key]}, is the {end} of the grid.")
            further[key] = ",".join(sorted([best.values[key], *next_values], key=float))
    if not further:
        return []
    words = [*launched_by, *next_overrides(plan, best.values | further)]
    return [*said, f"  next         python -m src.train -m {shlex.join(words)}"]


def next_overrides(plan: Plan, values: dict[str, str]) -> list[str]:
    """A plan's overrides with new values for some keys, including keys that only an earlier command swept."""
    typed = [text.partition("=")[0] for text in plan.overrides]
    now = [
        f"{name}={values[key_of(name)]}" if key_of(name) in values else text
        for name, text in zip(typed, plan.overrides, strict=True)
    ]
    earlier = [key for key in plan.swept if key in values and key not in map(key_of, typed)]
    return [*now, *(f"{key}={values[key]}" for key in earlier)]

"""The history of a run, one row for each epoch, in memory and in metrics.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from src.files import whole
from src.metrics import COLUMNS
from src.run.result import CURVES_FILE

Row = dict[str, float]  # keys are from `COLUMNS`; an epoch without validation has no `val/` values


class History:
    """The rows of a run. Every process of a distributed run has them, and the first one writes metrics.csv."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / CURVES_FILE
        self.rows: list[Row] = []  # one for each epoch so far

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if len(self.rows) == 1:
            self.rewrite()
        else:
            self.append(row)

    def restore(self, rows: Sequence[Row]) -> None:
        """Restores the rows of a checkpoint; later rows are removed from the file."""
        self.rows = list(rows)
        self.rewrite()

    @rank_zero_only
    def append(self, row: Row) -> None:
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(row)

    @rank_zero_only
    def rewrite(self) -> None:
        with whole(self.path) as part, part.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(self.rows)

    def row_with(self, name: str, value: float) -> Row:
        """The first row in which a metric has this value."""
        return next(row for row in self.rows if row.get(name) == value)


def row_of(epoch: int, metrics: Row) -> Row:
    """The row of an epoch, with its columns in order."""
    return {"epoch": epoch} | {name: metrics[name] for name in COLUMNS if name in metrics}


def read_rows(folder: Path) -> list[Row]:
    """The rows of a finished run's metrics.csv."""
    with (folder / CURVES_FILE).open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]

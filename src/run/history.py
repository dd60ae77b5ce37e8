"""The history of a run, one row for each epoch, in memory and in metrics.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from src.errors import DataError
from src.files import in_one_line, read_bytes, whole
from src.metrics import COLUMNS
from src.run.records import CURVES_FILE

MOST_BYTES = 256 << 20  # of metrics.csv
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
        """The first row in which a metric has this value.

        Raises:
            DataError: there is none, because the checkpoint that the run continued from was changed.
        """
        for row in self.rows:
            if row.get(name) == value:
                return row
        raise DataError(f"no epoch has {name} {value}, the best of the checkpoint. Train again in a new folder.")


def row_of(epoch: int, metrics: Row) -> Row:
    """The row of an epoch, with its columns in order."""
    return {"epoch": epoch} | {name: metrics[name] for name in COLUMNS if name in metrics}


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run's metrics.csv; empty if there is no such file.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / CURVES_FILE
    try:
        table = csv.DictReader(read_bytes(path, most_bytes=MOST_BYTES).decode().splitlines())
        return [{name: float(row[name]) for name in COLUMNS if row.get(name)} for row in table]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({in_one_line(error)}).") from error

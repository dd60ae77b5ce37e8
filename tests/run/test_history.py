import csv
from pathlib import Path

import pytest

from src.errors import DataError
from src.metrics import COLUMNS
from src.run.history import History, Row, read_rows, row_of


def row(epoch: int, accuracy: float, **others: float) -> Row:
    return row_of(epoch, {"val/acc": accuracy, "train/loss": 2 / epoch, "lr": 0.1, **others})


def history(folder: Path, *accuracies: float) -> History:
    made = History(folder)
    for epoch, accuracy in enumerate(accuracies, start=1):
        made.add(row(epoch, accuracy))
    return made


def test_metrics_csv_has_one_row_per_epoch_with_its_columns_in_order(tmp_path: Path) -> None:
    history(tmp_path, 0.5, 0.75)
    rows = list(csv.reader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert rows[0] == ["epoch", "train/loss", "train/acc", "val/loss", "val/acc", "lr"] == list(COLUMNS)
    assert rows[1:] == [["1", "2.0", "", "", "0.5", "0.1"], ["2", "1.0", "", "", "0.75", "0.1"]]
    assert read_rows(tmp_path) == [row(1, 0.5), row(2, 0.75)]


def test_values_without_a_column_are_left_out_of_a_row() -> None:
    assert row_of(3, {"lr": 0.1, "step": 3.0, "val/acc": 0.5}) == {"epoch": 3, "val/acc": 0.5, "lr": 0.1}


def test_row_with_finds_the_first_epoch_with_a_value(tmp_path: Path) -> None:
    assert history(tmp_path, 0.5, 0.75, 0.75, 0.625).row_with("val/acc", 0.75)["epoch"] == 2
    with pytest.raises(DataError, match=r"^no epoch has val/acc 0\.75, the best of the checkpoint\."):
        history(tmp_path).row_with("val/acc", 0.75)


def test_a_resumed_run_drops_later_rows_from_the_file(tmp_path: Path) -> None:
    rows = history(tmp_path, 0.5, 0.75, 0.9).rows
    (tmp_path / "metrics.csv").write_text((tmp_path / "metrics.csv").read_text() + "4,half of a r")
    later = History(tmp_path)
    later.restore(rows[:2])
    later.add(row(3, 0.8))
    assert read_rows(tmp_path) == [*rows[:2], row(3, 0.8)]

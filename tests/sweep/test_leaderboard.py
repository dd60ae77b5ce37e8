import os
from pathlib import Path
from typing import Any

import pytest

from src.files import write_json
from src.sweep import leaderboard as module
from src.sweep.leaderboard import as_csv, leaderboard, table, warnings, write_leaderboard
from tests.conftest import Patch
from tests.sweeps import Sweep


def test_the_best_accuracy_is_first_and_failed_jobs_are_last_with_their_reasons(tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=0.1,1,10,100").left({"val/acc": 0.7}, {"val/acc": 0.9}, "training diverged", None)
    head, *lines = table(leaderboard([tmp_path]), tmp_path)
    assert head == ["lr", "val acc", "test acc", "best epoch", "seconds", "folder", "reason"]
    assert lines == [
        ["1", "0.9000", "0.8000", "3", "2.0", "001_lr=1", ""],
        ["0.1", "0.7000", "0.8000", "3", "2.0", "000_lr=0.1", ""],
        ["10", "failed", "", "", "", "002_lr=10", "training diverged"],
        ["100", "unfinished", "", "", "", "003_lr=100", ""],
    ]


def test_seeds_share_a_row_with_mean_and_std_but_failed_ones_have_their_own(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "lr=0.1,1", "seed=1,2,3")
    accuracies = (0.70, 0.80, 0.90, 0.75)
    sweep.left(*({"val/acc": value, "best_epoch": epoch} for epoch, value in enumerate(accuracies)), "gone", None)
    lines = table(leaderboard([tmp_path]), tmp_path)[1:]
    assert [line[:4] for line in lines] == [
        ["0.1", "0.8000 ± 0.1000 (3)", "0.8000 ± 0.0000 (3)", "0-2"],
        ["1", "0.7500", "0.8000", "3"],
        ["1", "failed", "", ""],
        ["1", "unfinished", "", ""],
    ]
    assert lines[0][5] == "002_lr=0.1,seed=3"  # the folder of the best seed


def test_results_csv_has_one_row_per_job_and_exactly_these_columns(tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=0.1,1", "seed=1,2").left({"val/acc": 0.7}, {"val/acc": 0.9}, "failed, badly")
    assert as_csv(leaderboard([tmp_path]), tmp_path).splitlines() == [
        "lr,seed,val/acc,val/loss,test/acc,test/loss,best_epoch,train_seconds,status,folder",
        '0.1,1,0.7,0.5,0.8,0.6,3,2.0,completed,"000_lr=0.1,seed=1"',
        '0.1,2,0.9,0.5,0.8,0.6,3,2.0,completed,"001_lr=0.1,seed=2"',
        '1,1,,,,,,,failed,"002_lr=1,seed=1"',
        '1,2,,,,,,,unfinished,"003_lr=1,seed=2"',
    ]


def test_runs_are_compared_by_differing_keys_and_defaults_come_from_their_configs(tmp_path: Path) -> None:
    for name, lr, batch_size in (("a", "optimizer.lr=1", 64), ("b", "data=other", 32)):
        hydra = tmp_path / name / ".hydra"
        hydra.mkdir(parents=True)
        write_json(tmp_path / name / "metrics.json", Sweep.RESULT | {"overrides": [lr, "model=mlp"], "val/acc": 0.5})
        (hydra / "config.yaml").write_text(f"optimizer: {{lr: 0.1}}\ndata: {{batch_size: {batch_size}}}\n")
        (hydra / "hydra.yaml").write_text("hydra: {runtime: {choices: {data: fashion}}}\n")
    board = leaderboard([tmp_path])
    assert board.keys == ["optimizer.lr", "data"]
    assert [[run.value(key) for key in board.keys] for run in board.runs] == [["1", "fashion"], ["0.1", "other"]]


def test_folders_are_merged_and_a_run_that_is_in_two_of_them_counts_once(tmp_path: Path) -> None:
    Sweep(tmp_path / "a", "lr=0.1,1").left({"val/acc": 0.7}, {"val/acc": 0.9})
    Sweep(tmp_path / "b", "lr=10,100").left({"val/acc": 0.8}, {"val/acc": 0.6})
    board = leaderboard([tmp_path / "a", tmp_path / "b", tmp_path / "a" / "000_lr=0.1"])
    assert [entry.values["lr"] for entry in board.entries] == ["1", "10", "0.1", "100"]
    assert table(board, tmp_path)[1][-1] == "a/001_lr=1"


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        *[("val/acc", "2 10 1"), ("test/acc", "1 2 10"), ("val/loss", "10 1 2")],
        *[("train_seconds", "2 1 10"), ("lr", "1 2 10")],
    ],
)
def test_the_leaderboard_can_be_sorted_by_any_result_or_key(sort: str, order: str, tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=1,2,10").left(
        {"val/acc": 0.1, "test/acc": 0.9, "val/loss": 0.3, "train_seconds": 5.0},
        {"val/acc": 0.5, "test/acc": 0.8, "val/loss": 0.4, "train_seconds": 1.0},
        {"val/acc": 0.4, "test/acc": 0.1, "val/loss": 0.2, "train_seconds": 9.0},
    )
    assert [entry.values["lr"] for entry in leaderboard([tmp_path], sort=sort).entries] == order.split()


def test_a_new_column_is_empty_for_older_runs_and_they_are_sorted_last(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(module, "SHOWN", ("val/acc", "images_per_second"))
    monkeypatch.setattr(module, "COLUMNS", ("val/acc", "images_per_second"))
    fast, slow = {"images_per_second": 2000.0}, {"images_per_second": 1000.0}
    Sweep(tmp_path, "lr=1,2,10").left(fast | {"val/acc": 0.1}, {"val/acc": 0.9}, slow | {"val/acc": 0.5})
    board = leaderboard([tmp_path], sort="images_per_second")
    assert [line[:3] for line in table(board, tmp_path)] == [
        ["lr", "val acc", "images_per_second"],
        ["10", "0.5000", "1000.0000"],
        ["1", "0.1000", "2000.0000"],
        ["2", "0.9000", ""],
    ]
    assert as_csv(board, tmp_path).splitlines()[2].startswith("2,0.9,,completed")


def test_equal_accuracies_are_ordered_by_the_loss(tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=1,2").left({"val/acc": 0.5, "val/loss": 2.0}, {"val/acc": 0.5, "val/loss": 1.0})
    assert [entry.values["lr"] for entry in leaderboard([tmp_path]).entries] == ["2", "1"]


@pytest.mark.parametrize(
    ("key", "one", "other", "text"),
    [
        ("git_commit", "a" * 40, "b" * 40, "these runs mix 2 git commits: aaaaaaaa, bbbbbbbb"),
        ("data_source", "data/x", "synthetic", "these runs mix 2 data sources: data/x, synthetic"),
        (
            "validation",
            "official test",
            "train split",
            "these runs mix 2 validation protocols: official test, train split",
        ),
        ("git_dirty", True, False, "some of these runs were made with uncommitted changes, some without"),
    ],
)
def test_incomparable_runs_cause_a_warning(key: str, one: Any, other: Any, text: str, tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=1,2").left({key: one}, {key: one})
    assert warnings(leaderboard([tmp_path])) == []
    Sweep(tmp_path, "lr=1,2").left({key: one}, {key: other})
    assert warnings(leaderboard([tmp_path])) == [text]
    assert f"Warning: {text}." in (write_leaderboard(tmp_path) and (tmp_path / "results.md").read_text())


def test_different_data_sets_are_not_different_sources(tmp_path: Path) -> None:
    Sweep(tmp_path, "data=fashion_mnist,cifar2").left({"data_source": "x"}, {"data_source": "y"})
    assert warnings(leaderboard([tmp_path])) == []


def test_the_table_is_written_beside_the_jobs(tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=1,2").left({"val/acc": 0.5}, {"val/acc": 0.6})
    write_leaderboard(tmp_path)
    assert (tmp_path / "results.csv").read_text().count("\n") == 3
    assert (tmp_path / "results.md").read_text().splitlines()[2] == "| 2 | 0.6000 | 0.8000 | 3 | 2.0 | 001_lr=2 |"
    assert not list(tmp_path.glob("*.part"))


def test_jobs_that_never_started_are_in_the_table(tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=1,2")
    lines = table(leaderboard([tmp_path]), tmp_path)[1:]
    assert [line[:2] for line in lines] == [["1", "unfinished"], ["2", "unfinished"]]


def test_runs_with_the_same_settings_and_seed_count_once(tmp_path: Path) -> None:
    Sweep(tmp_path / "a", "lr=0.1,1", "seed=1,2").left(*[{"val/acc": 0.5}] * 4)
    Sweep(tmp_path / "b", "lr=0.1,1", "seed=2,3").left(*[{"val/acc": 0.8}] * 4)
    board = leaderboard([tmp_path])
    assert [entry.cell("val/acc") for entry in board.entries] == ["0.7000 ± 0.1732 (3)"] * 2
    assert warnings(board) == ["2 runs are left out: a longer or newer run has the same settings and seed"]


def test_among_equal_runs_the_longest_counts_then_the_newest(tmp_path: Path) -> None:
    """A search may stop the second of two equal trials early, and folders may be in any order."""
    newer, older = Sweep(tmp_path / "newer", "lr=1,2"), Sweep(tmp_path / "older", "lr=1,2")
    newer.left({"val/acc": 0.6, "epochs": 1}, {"val/acc": 0.4})
    older.left({"val/acc": 0.7, "epochs": 5}, {"val/acc": 0.9})
    for job in older.plan.jobs:
        os.utime(tmp_path / "older" / job.folder / "metrics.json", (1, 1))
    for folders in ([newer.folder, older.folder], [older.folder, newer.folder]):
        found = {entry.values["lr"]: entry.mean("val/acc") for entry in leaderboard(folders).entries}
        assert found == {"1": 0.7, "2": 0.4}


def test_a_damaged_or_foreign_result_is_a_failed_run(tmp_path: Path) -> None:
    contents = ['{"status": "completed", "val/acc": 1}', "[]", '{"status": "comp', "{}"]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "metrics.json").write_text(content)
    lacking, alien, damaged, empty = leaderboard([tmp_path]).runs
    assert [run.status for run in (lacking, alien, damaged, empty)] == [*["failed"] * 4]
    lacks = "metrics.json lacks best_epoch, epochs, test/acc, test/loss, train_seconds, val/loss"
    assert [lacking.result["reason"], empty.result["reason"]] == [lacks, "metrics.json lacks status"]
    assert all("metrics.json is damaged" in run.result["reason"] for run in (alien, damaged))


def test_a_number_is_the_same_value_however_it_is_written(tmp_path: Path) -> None:
    Sweep(tmp_path / "a", "lr=0.1,1").left({}, {})
    Sweep(tmp_path / "b", "lr=1e-1,1.0,2").left({}, {}, {})
    assert sorted(entry.values["lr"] for entry in leaderboard([tmp_path]).entries) == ["0.1", "1", "2"]


def test_a_sweep_with_a_damaged_plan_is_compared_by_its_jobs(tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=0.1,1").left({"val/acc": 0.7}, {"val/acc": 0.9})
    (tmp_path / "sweep.json").write_text("{")
    assert [entry.values for entry in leaderboard([tmp_path]).entries] == [{"lr": "1"}, {"lr": "0.1"}]

"""The arms of the benchmark train the same network. Only the benchmark itself measures their time."""

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import bare
from benchmarks.__main__ import Case
from benchmarks.processes import run
from benchmarks.report import markdown, ratio
from benchmarks.turns import Turns
from src.train import train
from tests import runs

SMALL = [*runs.SMALL, "trainer=cpu", "threads=1"]
COLOURS = ["data.channels=3", "data.normalize=true", "data.mean=[0.5,0.4,0.3]", "data.std=[0.25,0.2,0.3]"]


@pytest.mark.filterwarnings("ignore")  # as in the benchmark: STOCK is usual code, which causes warnings
@pytest.mark.parametrize("overrides", [["model=softmax"], ["model=mlp", "model.hidden_sizes=[16]", *COLOURS]])
def test_all_arms_end_with_the_same_weights(overrides: list[str], tmp_path: Path) -> None:
    equal = Case([*SMALL, *overrides], tmp_path).check_weights()
    assert equal.startswith("OURS, BARE, BAREBONES")  # STOCK is equal up to rounding: it has its own number of threads


@pytest.mark.filterwarnings("ignore")
def test_an_arm_that_ends_with_other_weights_is_detected(tmp_path: Path) -> None:
    case = Case(SMALL, tmp_path)
    case.weights = {name: values + 0.1 for name, values in case.weights.items()}  # BARE's initial weights
    with pytest.raises(AssertionError, match="OURS trains something else"):
        case.check_weights()


def test_bare_computes_the_same_loss_and_accuracy_as_ours(tmp_path: Path) -> None:
    case = Case(SMALL, tmp_path)
    case.cfg.trainer.max_epochs = 2
    train(case.cfg, tmp_path / "run")
    (*_, row) = csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines())
    _, _, counted = bare.train(case.resident, case.weights, epochs=2)
    ours = [float(row[name]) for name in ("train/loss", "train/acc", "val/loss", "val/acc")]
    assert counted == pytest.approx(ours, rel=1e-5)


def test_alternating_arms_end_with_the_same_weights_and_each_epoch_is_timed(tmp_path: Path) -> None:
    case = Case(SMALL, tmp_path)
    seconds = case.in_turn(epochs=3)
    assert len(Turns.ours) == len(Turns.others) == 3
    assert seconds == (pytest.approx(sum(Turns.others) / 3), pytest.approx(sum(Turns.ours) / 3))
    assert all(torch.equal(*pair) for pair in zip(case.final["OURS"], case.final["BARE"], strict=True))
    bare_alone = bare.train(case.resident, case.weights, epochs=3)[1]
    assert all(torch.equal(*pair) for pair in zip(case.final["BARE"], bare_alone, strict=True))


def test_a_process_with_another_exit_code_is_an_error() -> None:
    assert run([sys.executable, "-c", "print(1); raise SystemExit(2)"], exit_code=2).output == "1\n"
    with pytest.raises(RuntimeError, match=r"ended with 1: .*gone"):
        run([sys.executable, "-c", "raise SystemExit('gone')"])


def test_ratios_are_computed_from_pairs() -> None:
    assert ratio([2.0, 40.0, 3.0], [1.0, 10.0, 1.0]) == "3.00 (2.00 - 4.00)"


def test_the_report_says_what_was_measured_and_where() -> None:
    facts = {"date": "2026-11-21", "commit": "abc", "cpu": "a CPU", "cores": 2, "gpu": None, "python": "3.11"}
    packages = dict.fromkeys(("torch", "torchvision", "lightning", "torchmetrics", "hydra-core"), "1.0")
    seconds = {"BARE": [1.0], "OURS": [1.1], "BAREBONES": [1.5], "STOCK": [22.0]}
    case = {"images": 1100, "threads": 2, "stock_workers": 4, "bitwise_equal_weights": "OURS, BARE"}
    figures: dict[str, Any] = {"machine": facts | packages, "repeats": 1}
    figures |= {
        "cases": {"softmax": case | {"epoch_seconds": seconds}},
        "answer_seconds": {"import torch, lightning": [5.0, 6.0], "--help": [0.5, 0.3]},
        "around_the_fit_seconds": {arm: [8.0, 6.0] for arm in seconds},
        "peak_megabytes": {arm: [800.0, 800.0] for arm in seconds},
        "sweep_seconds": {"OURS": [40.0], "STOCK": [800.0]},  # the benchmark was stopped before the second repeat
        "later_job_seconds": {"OURS": [0.35]},
        "launcher_seconds": {"sequential": [100.0, 140.0], "joblib": [80.0, 80.0]},
        "launcher_job_seconds": {"sequential": [20.0, 22.0], "joblib": [30.0, 30.0]},
        "search_epochs": {"grid": [350], "optuna": [105]},
        "search_best": {"grid": [0.85], "optuna": [0.8475]},
        "search_seconds": {"grid": [200.0], "optuna": [100.0]},
    }
    table = markdown(figures)
    assert "| STOCK / OURS | 20.00 (20.00 - 20.00) |" in table and "end to end, 1 repeats" in table
    assert "0.85 (0.85 - 0.85) of 1.1 x BARE + 60 MB" in table and "take 0.350 s in addition to their fit" in table
    assert "| sequential / joblib | 1.50 (1.25 - 1.75) |" in table and "| joblib | 80.0 (80.0 - 80.0) | 30.0 |" in table
    assert "takes 0.30 (0.30 - 0.30) of the grid's epochs; its best is 0.25 points below" in table
    assert "2 cores of a CPU" in table
    assert "| softmax (2 threads) | 1.000 | 1.100 | 1.500 | 22.000 | 1,000 | 1.10 (1.10 - 1.10) | 20.00 " in table

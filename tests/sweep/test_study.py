from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.sweep.study import Pruner, open_study

optuna = pytest.importorskip("optuna")
HALVING = {"min_epochs": 1, "reduction_factor": 2}


def trained(epoch: int, accuracy: float, *, stop: bool = False) -> Any:
    """The part of a trainer that the pruner uses at the end of an epoch."""
    strategy = SimpleNamespace(broadcast=lambda decision: decision or stop)
    metrics = {"val/acc": torch.tensor(accuracy)}
    settings: dict[str, Any] = {"callback_metrics": metrics, "strategy": strategy, "is_global_zero": not stop}
    return SimpleNamespace(current_epoch=epoch, should_stop=False, **settings)


def epochs_of(journal: Path, number: int, accuracies: list[float]) -> int:
    """The number of epochs for which a trial with these accuracies is trained."""
    pruner = Pruner(str(journal), number, **HALVING)
    for epoch, accuracy in enumerate(accuracies):
        trainer = trained(epoch, accuracy)
        pruner.on_train_epoch_end(trainer, trainer)
        if trainer.should_stop:
            return epoch + 1
    return len(accuracies)


def test_a_trial_that_falls_behind_is_stopped(tmp_path: Path) -> None:
    study = open_study(tmp_path / "journal", seed=0, **HALVING)
    for _ in range(3):
        study.ask()
    assert epochs_of(tmp_path / "journal", 0, [0.5, 0.6, 0.7, 0.8]) in (1, 2, 4)
    assert epochs_of(tmp_path / "journal", 1, [0.9, 0.9, 0.9, 0.9]) == 4
    assert epochs_of(tmp_path / "journal", 2, [0.1, 0.2, 0.3, 0.4]) == 1
    again = open_study(tmp_path / "journal", seed=0, **HALVING)
    assert [len(trial.intermediate_values) for trial in again.trials][1:] == [4, 1]


def test_without_halving_every_trial_is_trained_to_its_end(tmp_path: Path) -> None:
    settings = {"min_epochs": 1, "reduction_factor": 1}
    study = open_study(tmp_path / "journal", seed=0, **settings)
    for number in range(4):
        study.ask()
        pruner = Pruner(str(tmp_path / "journal"), number, **settings)
        trainer = trained(0, 0.5 - number / 10)
        pruner.on_train_epoch_end(trainer, trainer)
        assert not trainer.should_stop


def test_an_epoch_that_was_reported_before_an_interruption_is_not_reported_again(tmp_path: Path) -> None:
    open_study(tmp_path / "journal", seed=0, **HALVING).ask()
    epochs_of(tmp_path / "journal", 0, [0.5])
    epochs_of(tmp_path / "journal", 0, [0.7])
    study = open_study(tmp_path / "journal", seed=0, **HALVING)
    assert study.trials[0].intermediate_values == {1: 0.5}


def test_the_sampler_of_a_resumed_search_draws_other_values(tmp_path: Path) -> None:
    space = {"lr": optuna.distributions.FloatDistribution(0, 1)}
    draws = [open_study(tmp_path / "journal", seed=0, **HALVING).ask(space).params["lr"] for _ in range(3)]
    assert len(set(draws)) == 3
    assert draws[0] == open_study(tmp_path / "other", seed=0, **HALVING).ask(space).params["lr"]


def test_the_other_processes_of_a_distributed_job_stop_when_the_first_one_does(tmp_path: Path) -> None:
    study = open_study(tmp_path / "journal", seed=0, **HALVING)
    study.ask()
    trainer = trained(0, 0.5, stop=True)
    Pruner(str(tmp_path / "journal"), 0, **HALVING).on_train_epoch_end(trainer, trainer)
    assert trainer.should_stop
    assert study.trials[0].intermediate_values == {}

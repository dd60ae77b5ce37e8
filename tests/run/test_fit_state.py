from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from src.run import fit_state as module
from src.run.epoch_logger import EpochLogger
from src.run.event_file import EventFile
from src.run.fit_state import FitState
from src.run.history import History
from tests.conftest import Patch


def fit_state(folder: Path) -> FitState:
    history = History(folder)
    return FitState(EpochLogger(history, EventFile(folder, history), max_epochs=4), settings="digest", force=False)


def trainer(epoch: int, fn: TrainerFn = TrainerFn.FITTING) -> Any:
    metrics = {"train/loss": torch.tensor(9.0), "train/acc": torch.tensor(0.25)}
    optimizers = [SimpleNamespace(param_groups=[{"lr": 0.1}])]
    state: dict[str, Any] = {"current_epoch": epoch, "state": SimpleNamespace(fn=fn)}
    return SimpleNamespace(callback_metrics=metrics, optimizers=optimizers, **state)


@pytest.fixture(autouse=True)
def optimizers_are_checked_elsewhere(monkeypatch: Patch) -> None:
    monkeypatch.setattr(module, "check_optimizers", lambda *arguments: None)


def test_a_checkpoint_saves_and_restores_the_rows_of_all_ended_epochs(tmp_path: Path) -> None:
    state, checkpoint = fit_state(tmp_path), dict[str, Any]()
    task: Any = SimpleNamespace(train_tally=SimpleNamespace(images=120))
    state.on_train_start(trainer(0), task)
    state.logger.log_metrics({"val/loss": 0.5, "val/acc": 0.625}, 1)
    state.on_save_checkpoint(trainer(0), task, checkpoint)
    assert checkpoint["history"]["rows"] == []  # the epoch has not ended yet
    state.on_train_epoch_end(trainer(0), task)
    state.on_save_checkpoint(trainer(0), task, checkpoint)
    row = {"epoch": 1, "train/loss": 9.0, "train/acc": 0.25, "val/loss": 0.5, "val/acc": 0.625, "lr": 0.1}
    assert checkpoint["history"]["rows"] == [row]
    state.logger.log_metrics({"train/loss": 9.0, "train/acc": 0.25}, 1)
    state.on_save_checkpoint(trainer(0), task, checkpoint)
    assert state.logger.history.rows == checkpoint["history"]["rows"] == [row]

    later, task.train_tally.images = fit_state(tmp_path), 0
    later.on_load_checkpoint(trainer(1, TrainerFn.TESTING), task, checkpoint)
    assert later.logger.history.rows == [] and task.train_tally.images == 0
    later.on_load_checkpoint(trainer(1), task, checkpoint)
    assert later.logger.history.rows == [row] and task.train_tally.images == 120
    later.on_train_start(trainer(1), task)
    later.on_train_end(trainer(1), task)
    assert later.train_seconds > checkpoint["history"]["train_seconds"] > 0

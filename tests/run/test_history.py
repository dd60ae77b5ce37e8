import csv
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.metrics import COLUMNS
from src.run.history import History, readable

TRAINER: Any = SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])])


def recorded(tmp_path: Path, accuracies: list[float]) -> History:
    history = History(tmp_path, max_epochs=len(accuracies))
    history.on_train_start(TRAINER, TRAINER)
    for epoch, accuracy in enumerate(accuracies, start=1):
        history.log_metrics({"val/loss": 1 / epoch, "val/acc": accuracy}, epoch)
        history.log_metrics({"train/loss": 2 / epoch, "train/acc": accuracy / 2}, epoch)
    history.on_train_end(None, None)  # type: ignore[arg-type]
    history.close()
    return history


def test_an_epoch_is_a_row_of_metrics_csv(tmp_path: Path) -> None:
    recorded(tmp_path, [0.5, 0.75])
    rows = list(csv.reader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert rows[0] == ["epoch", "train/loss", "train/acc", "val/loss", "val/acc", "lr"] == list(COLUMNS)
    assert rows[1:] == [["1", "2.0", "0.25", "1.0", "0.5", "0.1"], ["2", "1.0", "0.375", "0.5", "0.75", "0.1"]]


def test_curves_have_the_epoch_as_x_axis_in_one_event_file(tmp_path: Path) -> None:
    recorded(tmp_path, [0.5, 0.75, 0.625])
    assert len(list(tmp_path.glob("events.*"))) == 1
    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(COLUMNS[1:])
    assert [(event.step, event.value) for event in events.Scalars("val/acc")] == [(1, 0.5), (2, 0.75), (3, 0.625)]


def test_the_best_epoch_is_the_first_with_the_highest_validation_accuracy(tmp_path: Path) -> None:
    assert recorded(tmp_path, [0.5, 0.75, 0.75, 0.625]).best["epoch"] == 2


def test_an_epoch_without_validation_leaves_its_columns_empty(tmp_path: Path) -> None:
    history = History(tmp_path, max_epochs=2)
    history.on_train_start(TRAINER, TRAINER)
    for epoch in (1, 2):
        if epoch == 1:
            history.log_metrics({"val/loss": 1.0, "val/acc": 0.5}, epoch)
        history.log_metrics({"train/loss": 2.0, "train/acc": 0.25}, epoch)
    history.close()
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1:] == ["1,2.0,0.25,1.0,0.5,0.1", "2,2.0,0.25,,,0.1"]
    assert history.best["epoch"] == 1


def test_what_was_drawn_before_a_failure_is_on_disk(tmp_path: Path) -> None:
    history = History(tmp_path, max_epochs=2)
    history.on_train_start(TRAINER, TRAINER)
    history.log_metrics({"val/loss": 1.0, "val/acc": 0.5}, 1)
    history.finalize("failed")
    assert EventAccumulator(str(tmp_path)).Reload().Scalars("val/acc")[0].value == 0.5


def test_the_time_of_the_fit_is_taken(tmp_path: Path) -> None:
    assert 0 < recorded(tmp_path, [0.5]).train_seconds < 10


def test_huge_losses_stay_readable() -> None:
    assert readable(0.7865) == "0.7865"
    assert readable(71929142314352495571304544468992.0) == "7.19e+31"


def test_a_quiet_run_leaves_the_lines_of_its_epochs_to_train_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for quiet, name in ((False, "src.run.history"), (True, "details")):
        history = History(tmp_path, max_epochs=3, quiet=quiet)
        history.on_train_start(TRAINER, TRAINER)
        with caplog.at_level(logging.INFO):
            history.log_metrics({"train/loss": 2.0, "train/acc": 0.25}, 2)
        history.close()
        assert caplog.records[-1].name == name
        assert caplog.records[-1].message.startswith("epoch 2/3   train loss 2.0000 acc 0.2500   ")


def trainer(epoch: int, fn: TrainerFn = TrainerFn.FITTING) -> Any:
    metrics = {"train/loss": torch.tensor(9.0), "train/acc": torch.tensor(0.25)}
    optimizers = [SimpleNamespace(param_groups=[{"lr": 0.1}])]
    state: dict[str, Any] = {"current_epoch": epoch, "state": SimpleNamespace(fn=fn)}
    return SimpleNamespace(callback_metrics=metrics, optimizers=optimizers, **state)


def test_a_checkpoint_holds_the_row_of_the_epoch_that_has_just_ended(tmp_path: Path) -> None:
    history, task, checkpoint = recorded(tmp_path, [0.5, 0.75]), SimpleNamespace(), {}
    task.train_tally = SimpleNamespace(images=120)
    history.log_metrics({"val/loss": 0.5, "val/acc": 0.625}, 3)
    history.on_save_checkpoint(trainer(2), task, checkpoint)  # type: ignore
    assert [row["epoch"] for row in checkpoint["history"]["rows"]] == [1, 2]  # in the middle of the third
    history.on_train_epoch_end(trainer(2), task)  # type: ignore
    history.on_save_checkpoint(trainer(2), task, checkpoint)  # type: ignore
    row = {"epoch": 3, "train/loss": 9.0, "train/acc": 0.25, "val/loss": 0.5, "val/acc": 0.625, "lr": 0.1}
    assert checkpoint["history"]["rows"][2:] == [row]
    history.log_metrics({"train/loss": 9.0, "train/acc": 0.25}, 3)
    assert history.rows[2:] == [row]

    (tmp_path / "metrics.csv").write_text((tmp_path / "metrics.csv").read_text() + "4,half of a r")
    expected = (tmp_path / "metrics.csv").read_text().splitlines()[:4]
    later, task.train_tally.images = History(tmp_path, max_epochs=4), 0
    later.on_load_checkpoint(trainer(3, TrainerFn.TESTING), task, checkpoint)  # type: ignore
    assert later.rows == []
    later.on_load_checkpoint(trainer(3), task, checkpoint)  # type: ignore
    assert (tmp_path / "metrics.csv").read_text().splitlines() == expected
    assert task.train_tally.images == 120 and later.train_seconds == checkpoint["history"]["train_seconds"] > 0
    later.on_train_start(trainer(3), task)  # type: ignore
    later.on_train_end(trainer(3), task)  # type: ignore
    assert later.train_seconds > checkpoint["history"]["train_seconds"]


def test_the_curves_of_a_run_that_goes_on_have_each_epoch_once(tmp_path: Path) -> None:
    earlier = recorded(tmp_path, [0.5, 0.75, 0.9])
    later = History(tmp_path, max_epochs=4)
    later.rows = earlier.rows[:2]
    later.on_train_start(TRAINER, TRAINER)
    for epoch, accuracy in ((3, 0.8), (4, 0.85)):
        later.log_metrics({"val/acc": accuracy}, epoch)
    later.close()
    assert len(list(tmp_path.glob("events.*"))) == 1
    events = EventAccumulator(str(tmp_path)).Reload()
    found = [(event.step, round(event.value, 4)) for event in events.Scalars("val/acc")]
    assert found == [(1, 0.5), (2, 0.75), (3, 0.8), (4, 0.85)]

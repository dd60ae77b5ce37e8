import logging
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.metrics import COLUMNS
from src.run.epoch_logger import EpochLogger, readable
from src.run.event_file import EventFile
from src.run.history import History, read_rows


def logger(folder: Path, max_epochs: int = 3, *, quiet: bool = False) -> EpochLogger:
    history = History(folder)
    return EpochLogger(history, EventFile(folder, history), max_epochs=max_epochs, quiet=quiet)


def log_epochs(made: EpochLogger, *accuracies: float | None, first: int = 1) -> EpochLogger:
    """Logs epochs with these validation accuracies, where None is an epoch without validation."""
    for epoch, accuracy in enumerate(accuracies, start=first):
        if accuracy is not None:
            made.log_metrics({"val/loss": 1 / epoch, "val/acc": accuracy}, epoch)
        made.log_metrics({"train/loss": 2 / epoch, "train/acc": 0.25}, epoch)
    made.events.close()
    return made


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, round(event.value, 4)) for event in events.Scalars(name)]


def test_curves_have_the_epoch_as_x_axis_in_one_event_file(tmp_path: Path) -> None:
    log_epochs(logger(tmp_path), 0.5, 0.75, 0.625)
    assert len(list(tmp_path.glob("events.*"))) == 1
    assert curve(tmp_path, "val/acc") == [(1, 0.5), (2, 0.75), (3, 0.625)]
    assert sorted(EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]) == sorted(COLUMNS[1:])


def test_an_epoch_without_validation_leaves_its_columns_empty(tmp_path: Path) -> None:
    made = logger(tmp_path)
    made.lr = 0.1
    log_epochs(made, 0.5, None)
    first, second = read_rows(tmp_path)
    assert list(first) == list(COLUMNS)
    assert second == {"epoch": 2, "train/loss": 1.0, "train/acc": 0.25, "lr": 0.1}


def test_curves_logged_before_a_failure_are_on_disk(tmp_path: Path) -> None:
    made = logger(tmp_path)
    made.log_metrics({"val/acc": 0.5}, 1)
    made.finalize("failed")
    assert curve(tmp_path, "val/acc") == [(1, 0.5)]


@pytest.mark.parametrize(("quiet", "name"), [(False, "src.run.epoch_logger"), (True, "details")])
def test_a_quiet_run_logs_the_lines_of_its_epochs_only_to_train_log(
    quiet: bool, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        log_epochs(logger(tmp_path, quiet=quiet), 0.5, first=2)
    assert caplog.records[-1].name == name
    line = "epoch 2/3   train loss 1.0000 acc 0.2500   val loss 0.5000 acc 0.5000   "
    assert caplog.records[-1].message.startswith(line)


def test_huge_losses_stay_readable() -> None:
    assert readable(0.7865) == "0.7865"
    assert readable(71929142314352495571304544468992.0) == "7.19e+31"


def test_the_curves_of_a_resumed_run_have_each_epoch_once(tmp_path: Path) -> None:
    earlier = log_epochs(logger(tmp_path), 0.5, 0.75, 0.9)
    later = logger(tmp_path, max_epochs=4)
    later.history.restore(earlier.history.rows[:2])
    log_epochs(later, 0.8, first=3)
    assert len(list(tmp_path.glob("events.*"))) == 1
    assert curve(tmp_path, "val/acc") == [(1, 0.5), (2, 0.75), (3, 0.8)]

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from src.errors import BadInput, CannotWrite, DataError, Diverged, Stopped
from src.run import result as module
from src.run.records import read_result
from src.run.result import RunFacts, RunResult, record, report
from tests.conftest import Patch

Log = pytest.LogCaptureFixture
FACTS: dict[str, Any] = {
    **{"best_epoch": 2, "epochs": 3, "train_seconds": 1.5, "images_per_second": 1000.0, "num_parameters": 7850},
    **{"device": "cpu", "threads": 2, "data_source": "synthetic", "validation": "train split"},
}
RESULT = RunResult({"val/acc": 0.75, "val/loss": 0.5, "test/acc": 0.7, "test/loss": 0.6}, **FACTS)
FULL = OSError(28, "No space left on device", "last.ckpt")
MISSING = OSError(2, "No such file or directory", "x")
WRAPPED = RuntimeError("Error in call to target")  # as Hydra wraps an error in a constructor
WRAPPED.__cause__ = DataError("gone")


def recorded(run_dir: Path, error: BaseException | None = None, **facts: bool) -> tuple[int, dict[str, Any]]:
    """The exit code and the metrics.json of a run that completes or ends with an error."""
    code = record(Mock(return_value=RESULT, side_effect=error), RunFacts(run_dir, 7, ["model=mlp"], **facts))
    return code, json.loads((run_dir / "metrics.json").read_text())


def test_metrics_json_has_exactly_these_entries(tmp_path: Path) -> None:
    code, metrics = recorded(tmp_path)
    assert code == 0
    assert set(metrics) == {
        *("status", "val/acc", "val/loss", "test/acc", "test/loss", "best_epoch", "epochs"),
        *("train_seconds", "images_per_second", "seed", "num_parameters", "device", "threads"),
        *("data_source", "validation", "overrides", "versions", "git_commit", "git_dirty"),
    }
    assert (metrics["status"], metrics["seed"], metrics["overrides"]) == ("completed", 7, ["model=mlp"])
    assert metrics["val/acc"] == 0.75 and metrics["best_epoch"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {".hydra", "metrics.json"}


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        *[(BadInput("bad"), 2, "bad"), (DataError("gone"), 3, "gone"), (WRAPPED, 3, "gone")],
        *[(Diverged("nan"), 4, "nan"), (CannotWrite("full"), 74, "full"), (SystemExit(7), 1, "SystemExit: 7")],
        (ZeroDivisionError("ours"), 1, "ZeroDivisionError: ours"),
        (MemoryError("no more"), 74, "this machine has too little memory, or a limit is set (see ulimit -v)."),
        (FULL, 74, "could not write last.ckpt: No space left on device. Make room, or set hydra.run.dir."),
        (MISSING, 3, "x is missing (No such file or directory). It may have been moved while it was in use."),
    ],
)
def test_a_failure_is_recorded_with_its_reason_and_exit_code(
    tmp_path: Path, error: BaseException, code: int, reason: str
) -> None:
    found, metrics = recorded(tmp_path, error)
    assert (found, metrics["status"], metrics["reason"]) == (code, "failed", reason)


def test_only_an_unexpected_error_prints_a_traceback(tmp_path: Path, caplog: Log) -> None:
    with caplog.at_level(logging.ERROR):
        recorded(tmp_path, DataError("gone"))
        (reported,) = [record for record in caplog.records if record.name == "failure"]
        assert reported.getMessage() == "error: gone" and not reported.exc_info
        recorded(tmp_path, ZeroDivisionError("ours"))
        assert caplog.records[-1].name == "failure" and caplog.records[-1].exc_info


def test_the_log_of_a_run_has_the_traceback_of_any_failure(tmp_path: Path, caplog: Log) -> None:
    with caplog.at_level(logging.INFO):
        recorded(tmp_path, Diverged("nan"))
    (held,) = [record for record in caplog.records if record.name == "details"]
    assert held.exc_info and held.exc_info[0] is Diverged


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        *[(Stopped(130), "Ctrl-C"), (KeyboardInterrupt(), "Ctrl-C")],
        *[(Stopped(143), "SIGTERM"), (SIGTERMException(), "SIGTERM")],  # the latter by Lightning, under a launcher
    ],
)
def test_an_interruption_is_recorded_and_raised_again(tmp_path: Path, stop: BaseException, reason: str) -> None:
    with pytest.raises(type(stop)) as stopped:
        recorded(tmp_path, stop)
    assert stopped.value is stop
    result = read_result(tmp_path)
    assert (result["status"], result["reason"]) == ("interrupted", reason)


def test_an_error_is_logged_if_no_result_can_be_written(tmp_path: Path, monkeypatch: Patch, caplog: Log) -> None:
    full = OSError(28, "No space left on device", "metrics.json")
    monkeypatch.setattr(module, "write_json", Mock(side_effect=full))
    assert record(lambda: RESULT, RunFacts(tmp_path, 0, [])) == 74
    assert "could not write metrics.json: No space left on device" in caplog.text


def test_a_quiet_run_reports_its_end_only_in_its_log(tmp_path: Path, caplog: Log) -> None:
    (tmp_path / "failed").mkdir()
    with caplog.at_level(logging.INFO):
        recorded(tmp_path, quiet=True)
        report(tmp_path, quiet=True)
        recorded(tmp_path / "failed", ZeroDivisionError("division by zero"), quiet=True)
    reported = [f"{record.name}: {record.getMessage()}" for record in caplog.records]
    assert reported[0].startswith("details: val acc 0.7500 (epoch 2 of 3, train split)")
    assert reported[-1] == "details: error: ZeroDivisionError: division by zero"
    assert all(line.startswith("details: ") for line in reported)


def test_the_end_of_a_run_prints_the_next_commands(tmp_path: Path, caplog: Log, monkeypatch: Patch) -> None:
    folder = tmp_path / "outputs" / "a run"
    folder.mkdir(parents=True)
    recorded(folder)
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO):
        report(folder, quiet=False)
        (folder / "figures" / "examples").mkdir(parents=True)
        report(folder, quiet=False)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[1:5] == [
        "  folder       'outputs/a run'",
        "  evaluate     python -m src.eval run='outputs/a run'",
        "  predict      python -m src.predict run='outputs/a run' images='photos/*.png'",
        "  tensorboard  tensorboard --logdir outputs",
    ]
    assert lines[8].endswith(" images='outputs/a run/figures/examples/*.png'")


def test_a_completed_run_is_not_run_again(tmp_path: Path) -> None:
    recorded(tmp_path)
    before = (tmp_path / "metrics.json").stat()
    assert recorded(tmp_path, ZeroDivisionError("ran again"))[0] == 0
    assert (tmp_path / "metrics.json").stat() == before


def test_an_earlier_failed_result_is_removed_before_the_run_starts_again(tmp_path: Path) -> None:
    recorded(tmp_path, ZeroDivisionError("ours"))

    def work() -> RunResult:
        assert read_result(tmp_path) == {}
        return RESULT

    assert record(work, RunFacts(tmp_path, 0, [])) == 0


def test_a_second_process_waits_and_does_not_run_again(tmp_path: Path, caplog: Log) -> None:
    def work() -> RunResult:
        second.start()
        while "waiting" not in caplog.text:
            time.sleep(0.01)
        return RESULT

    facts, again = RunFacts(tmp_path, 0, []), Mock()
    second = threading.Thread(target=record, args=(again, facts))
    with caplog.at_level(logging.INFO):
        assert record(work, facts) == 0
        second.join()
    assert not again.called and f"waiting for another process, which is running {tmp_path.name}" in caplog.text


@pytest.mark.parametrize("code", [-1, 144])
def test_a_job_that_is_queued_again_is_not_recorded_as_failed(code: int, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        recorded(tmp_path, SystemExit(code), may_be_requeued=True)
    assert read_result(tmp_path) == {}
    assert recorded(tmp_path, SystemExit(code))[0] == 1

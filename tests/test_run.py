import json
import logging
from pathlib import Path
from typing import NoReturn

import pytest

from src import run
from src.errors import BadInput, CannotWrite, DataError, Diverged
from src.run import RunResult, provenance, record, report_job, report_run

RESULT = RunResult(
    metrics={"val/acc": 0.75, "val/loss": 0.5, "test/acc": 0.7, "test/loss": 0.6},
    best_epoch=2,
    epochs=3,
    train_seconds=1.5,
    images_per_second=1000.0,
    num_parameters=7850,
    device="cpu",
    threads=2,
    data_source="synthetic",
    validation="train split",
)


def recorded(run_dir: Path, error: BaseException | None = None) -> tuple[int, dict[str, object]]:
    def work() -> RunResult:
        if error is not None:
            raise error
        return RESULT

    code = record(work, tell=report_run, run_dir=run_dir, seed=7, overrides=["model=mlp"])
    return code, json.loads((run_dir / "metrics.json").read_text())


def test_metrics_json_holds_what_the_contract_lists(tmp_path: Path) -> None:
    code, metrics = recorded(tmp_path)
    assert code == 0
    assert set(metrics) == {
        *("status", "val/acc", "val/loss", "test/acc", "test/loss", "best_epoch", "epochs"),
        *("train_seconds", "images_per_second", "seed", "num_parameters", "device", "threads"),
        *("data_source", "validation"),
        *("overrides", "versions", "git_commit", "git_dirty"),
    }
    assert metrics["status"] == "completed"
    assert metrics["seed"] == 7 and metrics["overrides"] == ["model=mlp"]
    assert metrics["val/acc"] == 0.75 and metrics["best_epoch"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (BadInput("bad"), 2, "bad"),
        (DataError("gone"), 3, "gone"),
        (Diverged("nan"), 4, "nan"),
        (CannotWrite("full"), 74, "full"),
        (
            OSError(28, "No space left on device", "last.ckpt"),
            74,
            "could not write last.ckpt: No space left on device. Make room, or set hydra.run.dir.",
        ),
        (ZeroDivisionError("ours"), 1, "ZeroDivisionError: ours"),
        (
            OSError(2, "No such file or directory", "x"),
            1,
            "FileNotFoundError: [Errno 2] No such file or directory: 'x'",
        ),
    ],
)
def test_a_failure_is_written_down_with_its_reason_and_exit_code(
    tmp_path: Path, error: Exception, code: int, reason: str
) -> None:
    found, metrics = recorded(tmp_path, error)
    assert found == code
    assert (metrics["status"], metrics["reason"]) == ("failed", reason)


def test_only_a_fault_of_ours_shows_a_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        recorded(tmp_path, DataError("gone"))
        assert "Traceback" not in caplog.text and "error: gone" in caplog.text
        recorded(tmp_path, ZeroDivisionError("ours"))
        assert "Traceback" in caplog.text


def test_the_failure_inside_a_constructor_is_found(tmp_path: Path) -> None:
    try:
        raise RuntimeError("Error in call to target") from DataError("gone")
    except RuntimeError as wrapped:
        assert recorded(tmp_path, wrapped)[0] == 3


@pytest.mark.parametrize(("code", "reason"), [(130, "Ctrl-C"), (143, "SIGTERM")])
def test_an_interruption_is_written_down_and_goes_on(tmp_path: Path, code: int, reason: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        recorded(tmp_path, SystemExit(code))
    assert stopped.value.code == code
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["status"], metrics["reason"]) == ("interrupted", reason)


def test_when_the_result_cannot_be_written_the_first_error_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> NoReturn:
        raise OSError(28, "No space left on device", "metrics.json")

    monkeypatch.setattr(run, "write_metrics", full)
    assert record(lambda: RESULT, tell=report_run, run_dir=tmp_path, seed=0, overrides=[]) == 74
    assert "could not write metrics.json: No space left on device" in caplog.text


def test_provenance_names_versions_and_the_commit_of_this_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rev-parse": "abc123", "status": " M src/task.py"}
    monkeypatch.setattr(run, "git", lambda *arguments: answers[arguments[0]])
    found = provenance()
    assert (found["git_commit"], found["git_dirty"]) == ("abc123", True)
    assert set(found["versions"]) == {"python", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core"}


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (provenance()["git_commit"], provenance()["git_dirty"]) == (None, None)


def test_a_job_of_a_sweep_is_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        report_job(RESULT, tmp_path / "003_optimizer.lr=0.1")
    (record,) = caplog.records
    assert record.message.startswith("003_optimizer.lr=0.1   val acc 0.7500 (epoch 2 of ")

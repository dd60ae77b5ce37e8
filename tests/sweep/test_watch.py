import io
import re
import time
from pathlib import Path

import pytest

from src.sweep.watch import Watch, duration, progress
from tests.sweeps import Sweep


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(text: str, out: io.StringIO) -> None:
    deadline = time.monotonic() + 10
    while text not in out.getvalue():
        assert time.monotonic() < deadline, out.getvalue()
        time.sleep(0.02)


def begin(sweep: Sweep, number: int, epochs: int) -> None:
    """Writes the curves of a job after some epochs."""
    folder = sweep.folder / sweep.plan.jobs[number].folder
    folder.mkdir(exist_ok=True)
    rows = [f"{epoch},0.5,0.6,0.5,0.{epoch}123456" for epoch in range(1, epochs + 1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,train/loss,train/acc,val/loss,val/acc", *rows]) + "\n")


def test_each_job_that_ends_prints_a_line_and_the_table_is_rewritten(tmp_path: Path) -> None:
    sweep, out = Sweep(tmp_path, "data=x", "lr=1,2,3"), io.StringIO()
    with Watch(tmp_path, sweep.plan, sweep.plan.jobs, out=out):
        sweep.ends(1, {"val/acc": 0.9})
        wait_for("[1/3] lr=2   val acc 0.9000 (epoch 3 of 5)   test acc 0.8000   2.0 s   ", out)
        wait_for("left\n", out)
        assert "2,0.9,0.5,0.8,0.6,3,2.0,completed" in (tmp_path / "results.csv").read_text()
        assert "1,,,,,,,unfinished" in (tmp_path / "results.csv").read_text()
        sweep.ends(0, "training diverged")
        wait_for("[2/3] lr=1   failed: training diverged   ", out)
        sweep.ends(2, {"val/acc": 0.4})  # just before the sweep ends
    assert out.getvalue().splitlines()[-1].startswith("[3/3] lr=3   val acc 0.4000")
    assert "left" not in out.getvalue().splitlines()[-1]
    assert out.getvalue().count("\n") == 3 and "\r" not in out.getvalue()


def test_on_a_terminal_the_last_line_shows_the_running_jobs(tmp_path: Path) -> None:
    sweep, out = Sweep(tmp_path, "lr=1,2"), Terminal()
    with Watch(tmp_path, sweep.plan, sweep.plan.jobs, out=out):
        begin(sweep, 0, epochs=2)
        wait_for("\r\x1b[K[1/2] lr=1   epoch 2/5   val acc 0.2123   ", out)
        assert re.search(r"0\.2123   \d+ s left", out.getvalue())
        begin(sweep, 1, epochs=0)
        wait_for("[1/2] lr=1   epoch 2/5   val acc 0.2123  |  lr=2   epoch 0/5", out)
        sweep.ends(0, {})
        wait_for("\r\x1b[K[1/2] lr=1   val acc", out)
        wait_for("[2/2] lr=2   epoch 0/5", out)
    assert out.getvalue().endswith("\r\x1b[K")


def test_results_of_an_earlier_start_are_not_reported_as_new(tmp_path: Path) -> None:
    sweep, out = Sweep(tmp_path, "lr=1,2,3"), io.StringIO()
    sweep.left({"val/acc": 0.9}, "gone")
    with Watch(tmp_path, sweep.plan, sweep.plan.jobs[1:], out=out) as watch:
        assert out.getvalue() == "[1/3] lr=1   val acc 0.9000 (epoch 3 of 5)   test acc 0.8000   2.0 s   (before)\n"
        watch.look()
        assert out.getvalue().count("\n") == 1
        (tmp_path / sweep.plan.jobs[1].folder / "metrics.json").unlink()
        watch.look()
        sweep.ends(1, {})
        wait_for("[2/3] lr=2   val acc", out)


def test_jobs_of_an_earlier_command_that_were_never_run_do_not_count(tmp_path: Path) -> None:
    sweep, out = Sweep(tmp_path, "lr=1,2,3,4"), io.StringIO()
    sweep.left({})
    with Watch(tmp_path, sweep.plan, sweep.plan.jobs[3:], out=out):
        sweep.ends(3, {})
    assert [line[:10] for line in out.getvalue().splitlines()] == ["[1/2] lr=1", "[2/2] lr=4"]


def test_the_time_left_is_for_the_whole_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep(tmp_path, "lr=1,2,3,4")
    watch = Watch(tmp_path, sweep.plan, sweep.plan.jobs, out=io.StringIO())
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    watch.started, watch.todo = 100.0, 4
    assert watch.time_left() == ""
    clock[0] = 130.0
    sweep.ends(0, {})
    begin(sweep, 1, epochs=0)
    watch.look()
    assert watch.time_left() == "90 s left"
    begin(sweep, 1, epochs=5)
    assert watch.time_left() == "30 s left"


def test_durations_are_readable() -> None:
    assert [duration(seconds) for seconds in (7.4, 99, 100, 3000, 9000)] == ["7 s", "99 s", "2 min", "50 min", "2.5 h"]


def test_a_run_without_curves_is_at_epoch_0(tmp_path: Path) -> None:
    assert progress(tmp_path) == (0, "")
    (tmp_path / "metrics.csv").write_text("")
    assert progress(tmp_path) == (0, "")
    (tmp_path / "metrics.csv").write_text("epoch,train/loss\n1,0.5\n")
    assert progress(tmp_path) == (1, "")

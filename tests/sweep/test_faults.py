"""Sweeps whose processes are killed or whose jobs fail, with real processes and real training."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from src.run.records import read_result
from src.sweep.search import JOURNAL
from src.sweep.study import open_study
from src.train import train
from tests.conftest import Compose
from tests.processes import Process, Starter, table
from tests.runs import SMALL, assert_same_weights

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes of these tests are forks")
TINY = [*SMALL, "model=mlp", "model.dropout=0.3", "model.hidden_sizes=[16]", "optimizer=adam", "scheduler=cosine"]
GRID = [*TINY, "trainer.max_epochs=8", "optimizer.lr=0.001,0.01,0.1", "seed=1,2,3,4"]


def kill(process: Process) -> bool:
    """Kills a process and waits for its end; returns whether it was still running."""
    ran = process.runs()
    if ran:
        os.kill(process.pid, signal.SIGKILL)
    while process.runs():
        time.sleep(0.01)
    return ran


def output(process: Process, code: int = 0) -> str:
    """The output of a command; checks its exit code."""
    assert process.exit_code() == code, process.log.read_text()
    return process.log.read_text()


def fingerprints(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of every file of the completed jobs."""
    done = [path.parent for path in folder.glob("*/metrics.json") if read_result(path.parent)["status"] == "completed"]
    found = ((path, path.stat()) for job in done for path in job.rglob("*") if path.is_file())
    return {str(path): (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found}


def test_a_sweep_that_is_killed_ten_times_ends_like_an_uninterrupted_one(start: Starter, tmp_path: Path) -> None:
    draw, kills = random.Random(0), 0
    output(start("-m", *GRID, "hydra.sweep.dir=whole"))
    for _ in range(99):
        process = start("-m", *GRID, "hydra.sweep.dir=killed", "resume=auto")
        before = fingerprints(tmp_path / "killed")
        if kills == 10:
            break
        time.sleep(draw.uniform(0.0, 1.8))
        kills += kill(process)
        assert before.items() <= fingerprints(tmp_path / "killed").items(), "a finished folder was touched"
    assert kills == 10 and output(process)
    assert before.items() <= fingerprints(tmp_path / "killed").items()
    assert table(tmp_path / "killed") == table(tmp_path / "whole") and len(table(tmp_path / "whole")) == 12
    for job in (tmp_path / "whole").glob("0*"):
        other = tmp_path / "killed" / job.name
        assert_same_weights(job / "checkpoints/last.ckpt", other / "checkpoints/last.ckpt")
        assert (job / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    assert len(list((tmp_path / "killed").glob("0*"))) == 12


def test_a_search_that_is_killed_repeatedly_has_each_trial_once(start: Starter, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    words = ["-m", "hydra/sweeper=optuna", *TINY, "data.batch_size=16,32", "trainer.max_epochs=6"]
    draw, before, kills = random.Random(1), {}, 0
    while True:
        process = start(*words, "hydra.sweeper.n_trials=16", "hydra.sweep.dir=search", "resume=auto")
        begun = len(list(tmp_path.glob("search/0*/train.log")))
        while kills < 4 and process.runs() and len(list(tmp_path.glob("search/0*/train.log"))) < begun + 2:
            time.sleep(0.01)
        if kills == 4 or not process.runs():
            break
        time.sleep(draw.uniform(0.0, 0.2))
        kills += kill(process)
        assert before.items() <= fingerprints(tmp_path / "search").items(), "a finished folder was touched"
        before = fingerprints(tmp_path / "search")
    assert kills >= 2 and output(process)
    assert before.items() <= fingerprints(tmp_path / "search").items()
    assert [row["status"] for row in table(tmp_path / "search")] == ["completed"] * 16
    assert sorted(path.name[:3] for path in tmp_path.glob("search/0*")) == [f"{number:03d}" for number in range(16)]
    trials = open_study(tmp_path / "search" / JOURNAL, seed=0, min_epochs=1, reduction_factor=3).trials
    reported = [trial.user_attrs["folder"] for trial in trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert sorted(reported) == sorted(path.name for path in tmp_path.glob("search/0*"))


def test_failed_jobs_have_rows_with_reasons_and_the_others_equal_single_runs(
    start: Starter, tmp_path: Path, config: Compose
) -> None:
    sweep = [*TINY, "trainer.max_epochs=2", f"seed={','.join(map(str, range(12)))}", "hydra.sweep.dir=grid"]
    printed = output(start("-m", *sweep, fail={"2": "exception", "5": "memory", "11": "exit"}), code=5)
    assert "9 of 12 jobs completed in grid" in printed
    reasons = {}
    for number in range(12):
        (folder,) = (tmp_path / "grid").glob(f"{number:03d}_*")
        result = read_result(folder)
        if result["status"] == "failed":
            reasons[number] = result["reason"]
            assert "Traceback" in (folder / "train.log").read_text()
            continue
        alone = train(config(*TINY, "trainer.max_epochs=2", f"seed={number}"), tmp_path / f"{number}")
        assert {name: result[name] for name in alone.metrics} == alone.metrics
        assert_same_weights(folder / "checkpoints/best.ckpt", tmp_path / f"{number}/checkpoints/best.ckpt")
    memory = "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB"
    assert reasons == {2: "ValueError: injected", 5: memory, 11: "SystemExit: 7"}
    markdown = (tmp_path / "grid" / "results.md").read_text()
    assert all(f"| {reason} |" in markdown for reason in reasons.values())
    assert "[12/12]" in output(start("-m", *sweep, "resume=auto"), code=5)  # failed jobs are not run again
    assert "12 of 12 jobs completed" in output(start("-m", *sweep, "resume=auto", "retry_failed=true"))


def test_after_ctrl_c_the_table_is_correct_and_the_sweep_can_be_resumed(start: Starter, tmp_path: Path) -> None:
    sweep = [*TINY, "trainer.max_epochs=40", "seed=1,2,3", "hydra.sweep.dir=grid"]
    process = start("-m", *sweep)
    while not any("epoch 1/40 " in log.read_text() for log in (tmp_path / "grid").glob("001_*/train.log")):
        assert process.runs(), process.log.read_text()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    assert "hydra.sweep.dir=grid resume=auto" in output(process, code=130)
    assert [row["status"] for row in table(tmp_path / "grid")] == ["completed", "interrupted", "unfinished"]
    (last,) = (tmp_path / "grid").glob("001_*/checkpoints/last.ckpt")
    epochs = torch.load(last, weights_only=True)["epoch"] + 1
    output(start("-m", *sweep, "resume=auto"))
    log = next((tmp_path / "grid").glob("001_*/train.log")).read_text()
    assert log.count("epoch 1/40 ") == 1 and log.count(f"epoch {epochs + 1}/40 ") >= 1
    output(start("-m", *sweep[:-1], "hydra.sweep.dir=whole"))
    assert table(tmp_path / "grid") == table(tmp_path / "whole")


def test_a_killed_run_is_resumed_by_the_same_command(start: Starter, tmp_path: Path) -> None:
    run = [*TINY, "trainer.max_epochs=60"]
    killed = start(*run)
    while not list(tmp_path.glob("outputs/runs/*/*/checkpoints/last.ckpt")):
        assert killed.runs(), killed.log.read_text()
        time.sleep(0.01)
    assert kill(killed)
    (folder,) = tmp_path.glob("outputs/runs/*/*")
    assert f"resume=auto: continuing {folder.relative_to(tmp_path)}" in output(start(*run, "resume=auto"))
    output(start(*run, "hydra.run.dir=whole"))
    assert list(tmp_path.glob("outputs/runs/*/*")) == [folder]
    assert_same_weights(folder / "checkpoints/last.ckpt", tmp_path / "whole/checkpoints/last.ckpt")
    assert (folder / "metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
    names = ("val/acc", "val/loss", "test/acc", "test/loss", "best_epoch", "epochs")
    ours, theirs = read_result(folder), read_result(tmp_path / "whole")
    assert {name: ours[name] for name in names} == {name: theirs[name] for name in names}
    before = (folder / "metrics.json").stat()
    assert "was completed before: val acc" in output(start(*run, f"resume={folder}"))
    assert (folder / "metrics.json").stat() == before


def test_two_sweeps_that_start_together_never_share_a_folder(start: Starter, tmp_path: Path) -> None:
    sweep = [*TINY, "trainer.max_epochs=1", "seed=1,2"]
    both = [start("-m", *sweep) for _ in range(2)]
    assert [process.exit_code() for process in both] == [0, 0]
    statuses = [[row["status"] for row in table(folder)] for folder in tmp_path.glob("outputs/sweeps/*/*")]
    assert statuses == [["completed", "completed"]] * 2


def test_the_memory_of_a_long_sweep_does_not_grow(start: Starter, tmp_path: Path) -> None:
    seeds = f"seed={','.join(map(str, range(200)))}"
    process = start("-m", *TINY, "trainer.max_epochs=1", seeds, "hydra.sweep.dir=grid")
    megabytes = {}
    while process.runs():
        done = len(list((tmp_path / "grid").glob("*/metrics.json")))
        with suppress(OSError):  # it has ended
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            megabytes[done] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        time.sleep(0.05)
    output(process)
    early = min(done for done in megabytes if done >= 20)
    assert early < 40 and max(megabytes) >= 195
    assert megabytes[max(megabytes)] - megabytes[early] < 50, megabytes

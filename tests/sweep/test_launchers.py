"""Each launcher runs a real sweep of four jobs on this machine, and a job equals the same command run alone."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from src.command import jobs
from src.run.records import read_result
from src.sweep import launchers
from src.sweep.launchers import free_gpu
from src.train import train
from tests.conftest import Compose, Patch
from tests.processes import table
from tests.runs import ROOT, SMALL, assert_same_weights, checked, command, refusal

JOB = [*SMALL, "model=mlp", "model.dropout=0.3", "trainer.max_epochs=2"]


def needs(launcher: str) -> pytest.MarkDecorator:
    plugin = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    return pytest.mark.skipif(importlib.util.find_spec(plugin) is None, reason=f"needs {plugin}")


LAUNCHERS = [pytest.param(name, marks=needs(name)) for name in ("joblib", "submitit_local", "ray")]


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_runs_a_sweep_like_the_basic_one(launcher: str, config: Compose, tmp_path: Path) -> None:
    settings = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    sweep = ["-m", f"hydra/launcher={launcher}", *settings, *JOB, "optimizer.lr=0.1,1e30", "seed=0,1"]
    done = command(*sweep, "hydra.sweep.dir=grid", cwd=tmp_path)
    assert done.returncode == 5, done.stdout + done.stderr
    assert launcher == "ray" or done.stderr == ""
    rows = table(tmp_path / "grid")
    assert [row["status"] for row in rows] == ["completed", "completed", "failed", "failed"]
    numbers = [line[:5] for line in done.stdout.splitlines() if line.startswith("[")]
    assert numbers == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert "2 of 4 jobs completed in grid" in done.stdout
    folder = next((tmp_path / "grid").glob("001_*"))
    assert read_result(folder)["threads"] == 1 and "threads=1" in read_result(folder)["overrides"]
    train(config(*JOB, "optimizer.lr=0.1", "seed=1", "threads=1"), tmp_path / "alone")
    assert_same_weights(folder / "checkpoints/best.ckpt", tmp_path / "alone/checkpoints/best.ckpt")
    again = command(*sweep, "hydra.sweep.dir=grid", "resume=auto", cwd=tmp_path)
    assert again.returncode == 5 and again.stdout.count("(before)") == 4


class Command:
    """A running command in its own session; its output goes to `log`."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.log = cwd / "command.log"
        line = [sys.executable, "-m", "src.train", *arguments]
        with self.log.open("w") as file:
            pipes: dict[str, Any] = {"stdout": file, "stderr": file, "start_new_session": True}
            self.process = subprocess.Popen(line, cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)

    def wait_for(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def wait_for_its_processes(self) -> None:
        """Waits until all processes that the command has started have ended."""
        deadline = time.monotonic() + 60
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.process.pid, 0)
                time.sleep(0.1)
            raise AssertionError("processes are left")


@needs("joblib")
def test_ctrl_c_interrupts_the_jobs_in_all_processes_and_they_can_be_resumed(tmp_path: Path) -> None:
    settings = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=grid"]
    words = ["-m", *settings, *SMALL, "seed=0,1,2", "trainer.max_epochs=60"]
    interrupted = Command(*words, cwd=tmp_path)
    interrupted.wait_for(lambda: len(list(tmp_path.glob("grid/*/checkpoints/last.ckpt"))) >= 2)
    os.killpg(interrupted.process.pid, signal.SIGINT)  # as a terminal does
    assert interrupted.process.wait(timeout=60) == 130, interrupted.log.read_text()
    interrupted.wait_for_its_processes()
    begun = [read_result(path) for path in sorted(tmp_path.glob("grid/00*"))]
    assert {result["status"] for result in begun} <= {"interrupted", "completed"} and "interrupted" in str(begun)
    again = command(*words, "resume=auto", cwd=tmp_path)
    assert again.returncode == 0 and "3 of 3 jobs completed" in again.stdout


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_after_the_command_was_killed_each_job_is_completed_once(launcher: str, tmp_path: Path) -> None:
    """Jobs may outlive the killed command; the next one waits for them."""
    sweep = ["-m", *JOB, "trainer.max_epochs=40", "seed=0,1,2,3"]
    words = [*sweep, f"hydra/launcher={launcher}", "hydra.sweep.dir=grid"]
    killed = Command(*words, cwd=tmp_path)
    killed.wait_for(lambda: list(tmp_path.glob("grid/*/checkpoints/last.ckpt")))
    killed.process.kill()
    killed.process.wait()
    again = command(*words, "resume=auto", cwd=tmp_path)
    killed.wait_for_its_processes()
    assert again.returncode == 0 and "4 of 4 jobs completed in grid" in again.stdout, again.stdout + again.stderr
    for log in tmp_path.glob("grid/00*/train.log"):
        epochs = [int(epoch) for epoch in re.findall(r"epoch (\d+)/40 ", log.read_text())]
        assert epochs == sorted(set(epochs))
        assert epochs[-1] == 40 <= len(epochs) + 1  # the line of one epoch may be missing, because of the kill
    whole = command(*sweep, "threads=1", "hydra.sweep.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0
    assert without_folders(tmp_path / "grid") == without_folders(tmp_path / "whole")


def without_folders(folder: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "folder"} for row in table(folder)]


@needs("submitit")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the process of a job in Linux's /proc")
def test_a_preempted_job_is_queued_again_and_continues_from_its_checkpoint(config: Compose, tmp_path: Path) -> None:
    words = [*JOB, "trainer.max_epochs=60", "hydra.sweep.dir=grid"]
    sweep = Command("-m", "hydra/launcher=submitit_local", *words, "seed=0", cwd=tmp_path)
    sweep.wait_for(lambda: any("epoch 5/60 " in log.read_text() for log in tmp_path.glob("grid/000_*/train.log")))
    (number,) = (path.name for path in tmp_path.glob("grid/.submitit/[0-9]*"))
    (job,) = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    os.kill(int(job), signal.SIGUSR2)  # as Slurm does before it takes the machine away
    assert sweep.process.wait(timeout=60) == 0 and "1 of 1 jobs completed" in sweep.log.read_text()
    assert "this job is preempted" in "".join(path.read_text() for path in tmp_path.glob("grid/.submitit/*/*.err"))
    (folder,) = tmp_path.glob("grid/000_*")
    log = (folder / "train.log").read_text()
    assert log.count("epoch 1/60 ") == 1 and log.count("epoch 60/60 ") == 1 and "interrupted" not in log
    train(config(*JOB, "trainer.max_epochs=60", "seed=0", "threads=1"), tmp_path / "alone")
    assert_same_weights(folder / "checkpoints/last.ckpt", tmp_path / "alone/checkpoints/last.ckpt")
    assert (folder / "metrics.csv").read_text() == (tmp_path / "alone/metrics.csv").read_text()


@needs("submitit")
def test_a_slurm_job_gets_its_settings_and_its_number_of_threads(monkeypatch: Patch) -> None:
    monkeypatch.setattr(launchers, "which", lambda name: "/usr/bin/srun")
    words = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.cpus_per_task=4"]
    found = checked("-m", *words, "hydra.launcher.gpus_per_node=1", "seed=0,1")
    launcher = found.whole.hydra.launcher
    assert (launcher.partition, launcher.gpus_per_node, launcher.max_num_timeout) == ("gpu", 1, 3)
    assert found.overrides == [["threads=4", "seed=0"], ["threads=4", "seed=1"]]


@pytest.mark.parametrize(
    ("word", "extra"),
    [
        *[("hydra/launcher=submitit_slurm", "submitit"), ("hydra/launcher=submitit_local", "submitit")],
        *[("hydra/launcher=joblib", "joblib"), ("hydra/launcher=ray", "ray"), ("hydra/sweeper=optuna", "optuna")],
    ],
)
def test_a_missing_plugin_is_reported_with_its_install_command(word: str, extra: str, monkeypatch: Patch) -> None:
    for module in (jobs, launchers):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert (
        refusal("-m", word, "optimizer.lr=0.1,1")
        == f"{word} is an extra. Try pip install -c constraints.txt -e '.[{extra}]'."
    )


@needs("joblib")
@needs("submitit")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["hydra/launcher=submitit_slurm"], "hydra/launcher=submitit_slurm needs Slurm, but srun was not found. Try "),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs must not be 0. Try "),
        (["hydra.launcher.n_jobs=2"], "hydra.launcher.n_jobs is not a setting of this launcher. Choose another: "),
        (["resume=auto,never"], "resume=auto,never must be one value: it is the same for all jobs of a sweep."),
    ],
)
def test_impossible_launcher_settings_are_refused(words: list[str], text: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(launchers, "which", lambda name: None)
    assert refusal("-m", *words, "seed=0,1").startswith(text)


def test_an_unknown_launcher_is_answered_with_a_known_one() -> None:
    expected = "unknown hydra/launcher 'joblibs'. Did you mean hydra/launcher=joblib?"
    assert refusal("-m", "hydra/launcher=joblibs", "seed=0,1").startswith(expected)


def test_jobs_are_spread_over_the_gpus_and_release_their_places(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    place = partial(free_gpu, {"accelerator": "auto", "devices": 1}, tmp_path)
    with ExitStack() as first, ExitStack() as others:
        assert first.enter_context(place()) == 0
        assert [others.enter_context(place()) for _ in range(4)] == [1, 2, 0, 1]
        first.close()
        assert others.enter_context(place()) == 0
    with place() as number:
        assert number == 0


@pytest.mark.parametrize(
    ("accelerator", "devices", "num_gpus", "expected"),
    [
        *[("auto", 1, 4, 0), ("gpu", 1, 4, 0), ("cpu", 1, 4, None), ("auto", 2, 4, None)],
        *[("auto", [3], 4, None), ("auto", 1, 1, None), ("auto", 1, 0, None)],
    ],
)
def test_only_a_job_for_one_of_several_gpus_gets_a_free_one(
    accelerator: str, devices: Any, num_gpus: int, expected: Any, monkeypatch: Patch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    with free_gpu({"accelerator": accelerator, "devices": devices}, tmp_path) as number:
        assert number == expected


@needs("joblib")
@pytest.mark.parametrize(
    ("words", "num_gpus", "expected"),
    [([], 4, 4), ([], 0, -1), (["trainer=cpu"], 4, -1), (["trainer=gpu", "hydra.launcher.n_jobs=8"], 4, 8)],
)
def test_joblib_runs_one_job_per_gpu_or_per_core(
    words: list[str], num_gpus: int, expected: int, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert checked("-m", "hydra/launcher=joblib", *words, "seed=0,1").whole.hydra.launcher.n_jobs == expected

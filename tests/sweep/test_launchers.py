"""Each launcher runs a real sweep of four jobs on this machine, and any of them equals the same command run alone."""

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
from src.command.jobs import checked_jobs
from src.errors import BadInput
from src.run.result import read_result
from src.sweep import launchers
from src.sweep.launchers import free_gpu
from src.train import train
from tests.conftest import Compose
from tests.processes import table
from tests.runs import ROOT, SMALL, assert_same_weights, command

JOB = [*SMALL, "model=mlp", "model.dropout=0.3", "trainer.max_epochs=2"]


def installed(plugin: str) -> bool:
    return importlib.util.find_spec(f"hydra_plugins.{plugin}") is not None


def needs(plugin: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not installed(plugin), reason=f"needs {plugin}")


@pytest.mark.parametrize(
    ("launcher", "settings"),
    [
        pytest.param("joblib", ["hydra.launcher.n_jobs=2"], marks=needs("hydra_joblib_launcher")),
        pytest.param("submitit_local", [], marks=needs("hydra_submitit_launcher")),
        pytest.param("ray", [], marks=needs("hydra_ray_launcher")),
    ],
)
def test_a_launcher_runs_a_sweep_as_the_basic_one_does(
    launcher: str, settings: list[str], config: Compose, tmp_path: Path
) -> None:
    sweep = ["-m", f"hydra/launcher={launcher}", *settings, *JOB, "optimizer.lr=0.1,1e30", "seed=0,1"]
    done = command(*sweep, "hydra.sweep.dir=grid", cwd=tmp_path)
    assert done.returncode == 5, done.stdout + done.stderr
    assert launcher == "ray" or done.stderr == ""
    rows = table(tmp_path / "grid")
    assert [row["status"] for row in rows] == ["completed", "completed", "failed", "failed"]
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert [line[:5] for line in lines] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert "2 of 4 jobs completed in grid" in done.stdout
    folder = next((tmp_path / "grid").glob("001_*"))
    assert read_result(folder)["threads"] == 1 and "threads=1" in read_result(folder)["overrides"]
    train(config(*JOB, "optimizer.lr=0.1", "seed=1", "threads=1"), tmp_path / "alone")
    assert_same_weights(folder / "checkpoints/best.ckpt", tmp_path / "alone/checkpoints/best.ckpt")
    again = command(*sweep, "hydra.sweep.dir=grid", "resume=auto", cwd=tmp_path)
    assert again.returncode == 5 and again.stdout.count("(before)") == 4


@needs("hydra_joblib_launcher")
def test_ctrl_c_interrupts_the_jobs_of_all_processes_and_they_go_on_where_they_were(tmp_path: Path) -> None:
    words = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *SMALL, "seed=0,1,2", "hydra.sweep.dir=grid"]
    line = [sys.executable, "-m", "src.train", *words, "trainer.max_epochs=60"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, text=True, **pipes)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("grid/*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    begun = [read_result(path) for path in sorted(tmp_path.glob("grid/00*"))]
    assert {result["status"] for result in begun} <= {"interrupted", "completed"} and "interrupted" in str(begun)
    again = command(*words, "trainer.max_epochs=60", "resume=auto", cwd=tmp_path)
    assert again.returncode == 0 and "3 of 3 jobs completed" in again.stdout


class Command:
    """A command that runs, in a session of its own, and what it prints."""

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
        """What a killed command has started ends, too."""
        deadline = time.monotonic() + 60
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.process.pid, 0)
                time.sleep(0.1)
            raise AssertionError("processes are left")


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib", marks=needs("hydra_joblib_launcher")),
        pytest.param("submitit_local", marks=needs("hydra_submitit_launcher")),
        pytest.param("ray", marks=needs("hydra_ray_launcher")),
    ],
)
def test_after_the_command_was_killed_each_job_is_completed_once(launcher: str, tmp_path: Path) -> None:
    """Its jobs may live on: they are waited for."""
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
        epochs = re.findall(r"epoch (\d+)/40 ", log.read_text())
        assert [int(epoch) for epoch in epochs] == sorted({int(epoch) for epoch in epochs})
        assert int(epochs[-1]) == 40 <= len(epochs) + 1  # the line of the epoch that the kill came in may be missing
    whole = command(*sweep, "threads=1", "hydra.sweep.dir=whole", cwd=tmp_path)
    assert whole.returncode == 0
    assert without_folders(tmp_path / "grid") == without_folders(tmp_path / "whole")


def without_folders(folder: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "folder"} for row in table(folder)]


@needs("hydra_submitit_launcher")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the process of a job as Linux tells it")
def test_a_job_that_is_preempted_is_queued_again_and_goes_on_where_it_was(config: Compose, tmp_path: Path) -> None:
    words = [*JOB, "trainer.max_epochs=60", "hydra.sweep.dir=grid"]
    sweep = Command("-m", "hydra/launcher=submitit_local", *words, "seed=0", cwd=tmp_path)
    sweep.wait_for(lambda: any("epoch 5/60 " in log.read_text() for log in tmp_path.glob("grid/000_*/train.log")))
    (number,) = (path.name for path in tmp_path.glob("grid/.submitit/[0-9]*"))
    (job,) = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    os.kill(int(job), signal.SIGUSR2)  # as Slurm does before it takes the machine away
    assert sweep.process.wait(timeout=60) == 0 and "1 of 1 jobs completed" in sweep.log.read_text()
    submitted = "".join(path.read_text() for path in tmp_path.glob("grid/.submitit/*/*.err"))
    assert "this job is preempted" in submitted
    (folder,) = tmp_path.glob("grid/000_*")
    log = (folder / "train.log").read_text()
    assert log.count("epoch 1/60 ") == 1 and log.count("epoch 60/60 ") == 1 and "interrupted" not in log
    train(config(*JOB, "trainer.max_epochs=60", "seed=0", "threads=1"), tmp_path / "alone")
    assert_same_weights(folder / "checkpoints/last.ckpt", tmp_path / "alone/checkpoints/last.ckpt")
    assert (folder / "metrics.csv").read_text() == (tmp_path / "alone/metrics.csv").read_text()


@needs("hydra_submitit_launcher")
def test_a_job_of_slurms_gets_what_it_is_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers, "which", lambda name: "/usr/bin/srun")
    words = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.cpus_per_task=4"]
    found = checked_jobs([*words, "hydra.launcher.gpus_per_node=1", "seed=0,1"], multirun=True)
    launcher = found.whole.hydra.launcher
    assert (launcher.partition, launcher.gpus_per_node, launcher.max_num_timeout) == ("gpu", 1, 3)
    assert found.overrides == [["threads=4", "seed=0"], ["threads=4", "seed=1"]]


@pytest.mark.parametrize(
    ("launcher", "extra"),
    [("joblib", "joblib"), ("submitit_slurm", "submitit"), ("submitit_local", "submitit"), ("ray", "ray")],
)
def test_a_launcher_that_is_not_installed_says_how_to(
    launcher: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (jobs, launchers):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(BadInput) as error:
        checked_jobs([f"hydra/launcher={launcher}", "seed=0,1"], multirun=True)
    expected = f"hydra/launcher={launcher} is an extra. Try pip install -c constraints.txt -e '.[{extra}]'."
    assert str(error.value) == expected
    with pytest.raises(BadInput, match=r"^hydra/sweeper=optuna is an extra. Try pip install .*\.\[optuna\]"):
        checked_jobs(["hydra/sweeper=optuna"], multirun=True)


@needs("hydra_joblib_launcher")
@needs("hydra_submitit_launcher")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["hydra/launcher=submitit_slurm"], "hydra/launcher=submitit_slurm needs Slurm, and here is no srun. Try "),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs must not be 0. Try "),
        (["hydra.launcher.n_jobs=2"], "hydra.launcher.n_jobs is no setting of this launcher. Choose another: "),
        (["resume=auto,never"], "resume=auto,never must be one value: it is the same for all jobs of a sweep."),
    ],
)
def test_what_no_launcher_could_do_is_refused_at_once(
    words: list[str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "which", lambda name: None)
    with pytest.raises(BadInput) as error:
        checked_jobs([*words, "seed=0,1"], multirun=True)
    assert str(error.value).startswith(text)


def test_a_launcher_that_is_unknown_is_met_with_a_known_one() -> None:
    with pytest.raises(BadInput, match=r"^unknown hydra/launcher 'joblibs'. Did you mean hydra/launcher=joblib\?"):
        checked_jobs(["hydra/launcher=joblibs", "seed=0,1"], multirun=True)


class Trainer(dict[str, Any]):
    """The settings of a trainer that wants one GPU."""

    def __init__(self, **settings: Any) -> None:
        super().__init__({"accelerator": "auto", "devices": 1} | settings)


def test_jobs_are_spread_over_the_gpus_and_places_are_given_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    place = partial(free_gpu, Trainer(), tmp_path)
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
        ("auto", 1, 4, 0),
        ("gpu", 1, 4, 0),
        ("cpu", 1, 4, None),
        ("auto", 2, 4, None),
        ("auto", [3], 4, None),
        ("auto", 1, 1, None),
        ("auto", 1, 0, None),
    ],
)
def test_a_job_that_wants_one_gpu_of_several_gets_a_free_one(
    accelerator: str, devices: Any, num_gpus: int, expected: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    with free_gpu(Trainer(accelerator=accelerator, devices=devices), tmp_path) as number:
        assert number == expected


@pytest.mark.parametrize(
    ("overrides", "num_gpus", "expected"),
    [
        ([], 4, 4),
        ([], 0, -1),
        (["trainer=cpu"], 4, -1),
        (["trainer=gpu", "hydra.launcher.n_jobs=8"], 4, 8),
    ],
)
def test_joblib_starts_a_job_a_gpu_or_one_a_core(
    overrides: list[str], num_gpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    jobs = checked_jobs(["hydra/launcher=joblib", *overrides, "seed=0,1"], multirun=True)
    assert jobs.whole.hydra.launcher.n_jobs == expected

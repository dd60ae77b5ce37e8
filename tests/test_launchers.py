"""Each launcher runs a real sweep of four jobs on this machine, and any of them equals the same command run alone."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from src import jobs
from src.errors import BadInput
from src.jobs import checked_jobs
from src.run import read_result
from src.train import train
from tests.conftest import Compose
from tests.test_faults import table
from tests.test_train import ROOT, SMALL, assert_same_weights, command

JOB = [*SMALL, "model=mlp", "model.dropout=0.3", "trainer.max_epochs=2"]


def installed(plugin: str) -> bool:
    return importlib.util.find_spec("hydra_plugins") is not None and (
        importlib.util.find_spec(f"hydra_plugins.{plugin}") is not None
    )


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


@needs("hydra_submitit_launcher")
def test_a_job_of_slurms_gets_what_it_is_trained_with() -> None:
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
    monkeypatch.setattr(jobs, "find_spec", lambda name: None)
    with pytest.raises(BadInput) as error:
        checked_jobs([f"hydra/launcher={launcher}", "seed=0,1"], multirun=True)
    expected = f"hydra/launcher={launcher} is an extra. Try pip install -c constraints.txt -e '.[{extra}]'."
    assert str(error.value) == expected
    with pytest.raises(BadInput, match=r"^hydra/sweeper=optuna is an extra. Try pip install .*\.\[optuna\]"):
        checked_jobs(["hydra/sweeper=optuna"], multirun=True)


def test_a_launcher_that_is_unknown_is_met_with_a_known_one() -> None:
    with pytest.raises(BadInput, match=r"^unknown hydra/launcher 'joblibs'. Did you mean hydra/launcher=joblib\?"):
        checked_jobs(["hydra/launcher=joblibs", "seed=0,1"], multirun=True)

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from src.sweep import sweeper
from src.sweep.plan import write_plan
from tests.runs import ROOT
from tests.sweeps import Sweep


class Launcher:
    def __init__(self) -> None:
        self.launched: list[list[str]] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        assert initial_job_idx == 0
        self.launched = [list(overrides) for overrides in job_overrides]
        return []


@pytest.fixture
def ours(tmp_path: Path) -> sweeper.GridSweeper:
    made = sweeper.GridSweeper()
    made.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    made.launcher = Launcher()  # type: ignore[assignment]
    return made


def test_the_launcher_gets_the_jobs_of_the_plan_each_with_its_folder(ours: sweeper.GridSweeper, tmp_path: Path) -> None:
    plan = Sweep(tmp_path, "a=x", "lr=1,2,3").plan
    write_plan(plan, tmp_path, launched=plan.jobs[1:])
    ours.sweep(["lr=1,2,3"])
    assert ours.launcher.launched == [  # type: ignore[attr-defined]
        ["a=x", "lr=2", "hydra.sweep.subdir='001_lr=2,a=x'"],
        ["a=x", "lr=3", "hydra.sweep.subdir='002_lr=3,a=x'"],
    ]
    assert (tmp_path / "multirun.yaml").exists()


def test_where_nothing_is_left_nothing_is_launched(ours: sweeper.GridSweeper, tmp_path: Path) -> None:
    plan = Sweep(tmp_path, "lr=1,2").plan
    write_plan(plan, tmp_path, launched=[])
    ours.sweep([])
    assert ours.launcher.launched == []  # type: ignore[attr-defined]


def results(folder: Path) -> list[tuple[str, str]]:
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*/metrics.json")))
    return [(result["status"], result.get("reason", "")) for result in found]


class Dying(Launcher):
    """Ends jobs one by one, and dies at some; `dies` counts how often still."""

    def __init__(self, sweep: Sweep, dies: dict[str, int]) -> None:
        super().__init__()
        self.sweep, self.dies, self.sizes = sweep, dies, list[int]()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        super().launch(job_overrides, initial_job_idx)
        self.sizes.append(len(job_overrides))
        for words in job_overrides:
            name = words[-1].partition("=")[2].strip("'")
            (self.sweep.folder / name / ".hydra").mkdir(parents=True, exist_ok=True)
            (self.sweep.folder / name / ".hydra" / "config.yaml").write_text("")
            if self.dies.get(name[:3], 0):
                self.dies[name[:3]] -= 1
                raise RuntimeError("a worker process was killed")
            self.sweep.ends(int(name[:3]), {})
        return []


@pytest.mark.parametrize(
    ("deaths", "last"), [(1, ("completed", "")), (9, ("failed", "its process died (RuntimeError)"))]
)
def test_a_job_whose_process_dies_is_launched_once_more_alone_and_the_others_go_on(
    deaths: int, last: tuple[str, str], ours: sweeper.GridSweeper, tmp_path: Path
) -> None:
    sweep = Sweep(tmp_path, "lr=1,2,3,4")
    launcher = ours.launcher = Dying(sweep, {"001": deaths})  # type: ignore[assignment]
    ours.sweep([])
    assert results(tmp_path) == [("completed", ""), last, ("completed", ""), ("completed", "")]
    assert launcher.sizes == [4, 2, 1]


def test_jobs_beside_one_that_dies_have_not_failed(ours: sweeper.GridSweeper, tmp_path: Path) -> None:
    class Pool(Dying):
        """Begins all its jobs at once."""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
            for words in job_overrides:
                folder = self.sweep.folder / words[-1].partition("=")[2].strip("'") / ".hydra"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "config.yaml").write_text("")
            return super().launch(sorted(job_overrides, key=lambda words: "001_" not in words[-1]), initial_job_idx)

    sweep = Sweep(tmp_path, "lr=1,2,3")
    launcher = ours.launcher = Pool(sweep, {"001": 9})  # type: ignore[assignment]
    ours.sweep([])
    assert results(tmp_path) == [("completed", ""), ("failed", "its process died (RuntimeError)"), ("completed", "")]
    assert launcher.sizes == [3, 1, 1, 1]


def test_jobs_that_an_earlier_start_has_begun_have_not_died_now(ours: sweeper.GridSweeper, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "lr=1,2,3")
    for job in sweep.plan.jobs:
        (tmp_path / job.folder / ".hydra").mkdir(parents=True)
        (tmp_path / job.folder / ".hydra" / "config.yaml").write_text("")
    launcher = ours.launcher = Dying(sweep, {"000": 9})  # type: ignore[assignment]
    ours.sweep([])
    assert [status for status, _ in results(tmp_path)] == ["failed", "completed", "completed"]
    assert launcher.sizes == [3, 2, 1]


def test_where_jobs_have_ended_a_launcher_that_gives_up_is_used_again(
    ours: sweeper.GridSweeper, tmp_path: Path
) -> None:
    class Impatient(Launcher):
        """Ends one job, and gives up."""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
            sweep.ends(int(job_overrides[0][-1].partition("'")[2][:3]), {})
            raise RuntimeError("a job was cancelled")

    sweep = Sweep(tmp_path, "lr=1,2,3")
    ours.launcher = Impatient()  # type: ignore[assignment]
    ours.sweep([])
    assert results(tmp_path) == [("completed", "")] * 3


def test_a_launcher_that_cannot_start_anything_says_so_itself(ours: sweeper.GridSweeper, tmp_path: Path) -> None:
    class Broken(Launcher):
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
            raise ConnectionError("no cluster")

    Sweep(tmp_path, "lr=1,2")
    ours.launcher = Broken()  # type: ignore[assignment]
    with pytest.raises(ConnectionError, match="no cluster"):
        ours.sweep([])


def test_what_kept_a_job_from_writing_its_result_is_written_for_it(ours: sweeper.GridSweeper, tmp_path: Path) -> None:
    class Failing(Launcher):
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
            return [JobReturn(status=JobStatus.FAILED, _return_value=OSError("no locks here"))]

    Sweep(tmp_path, "seed=1,2")
    ours.launcher = Failing()  # type: ignore[assignment]
    ours.sweep([])
    assert results(tmp_path) == [("failed", "OSError: no locks here")]


def test_hydra_finds_the_sweepers_as_a_namespace_package(tmp_path: Path) -> None:
    code = """
from hydra.core.plugins import Plugins
names = {"hydra_plugins.classifier_lab.GridSweeper", "hydra_plugins.classifier_lab.OptunaSweeper"}
assert names <= Plugins.instance().class_name_to_class.keys()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment).returncode == 0

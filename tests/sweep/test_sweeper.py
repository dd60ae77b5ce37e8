import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from src.sweep import sweeper
from src.sweep.plan import write_plan
from tests.runs import ROOT
from tests.sweeps import Sweep

Jobs = list[list[str]]  # the overrides of each job
DONE, DIED = ("completed", ""), ("failed", "its process died (RuntimeError)")


def launches(folder: Path, run: Callable[[Jobs], list[Any]]) -> list[Jobs]:
    """Sweeps the plan in a folder, with `run` as the launcher; returns the jobs of each launch."""
    ours, launch = sweeper.GridSweeper(), Mock(side_effect=lambda jobs, initial_job_idx: run(jobs))
    ours.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    ours.launcher = Mock(launch=launch)
    ours.sweep([])
    assert all(call.kwargs == {"initial_job_idx": 0} for call in launch.call_args_list)
    return [call.args[0] for call in launch.call_args_list]


def folder_of(overrides: list[str]) -> str:
    return overrides[-1].partition("=")[2].strip("'")


def begin(folder: Path) -> None:
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    (folder / ".hydra" / "config.yaml").write_text("")


def dying(sweep: Sweep, number: str, deaths: int, *, at_once: bool = False) -> Callable[[Jobs], list[Any]]:
    """A launcher that runs jobs one by one and dies at one of them, `deaths` times; `at_once` begins all jobs first."""
    left = [RuntimeError("a worker process was killed")] * deaths

    def run(jobs: Jobs) -> list[Any]:
        names = [folder_of(overrides) for overrides in jobs]
        if at_once:
            for name in names:
                begin(sweep.folder / name)
            names.sort(key=lambda name: name[:3] != number)
        for name in names:
            begin(sweep.folder / name)
            if name[:3] == number and left:
                raise left.pop()
            sweep.ends(int(name[:3]), {})
        return []

    return run


def results(folder: Path) -> list[tuple[str, str]]:
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*/metrics.json")))
    return [(result["status"], result.get("reason", "")) for result in found]


def test_the_launcher_gets_the_jobs_of_the_plan_each_with_its_folder(tmp_path: Path) -> None:
    plan = Sweep(tmp_path, "a=x", "lr=1,2,3").plan
    write_plan(plan, tmp_path, launched=plan.jobs[1:])
    assert launches(tmp_path, lambda jobs: []) == [
        [["a=x", "lr=2", "hydra.sweep.subdir='001_lr=2,a=x'"], ["a=x", "lr=3", "hydra.sweep.subdir='002_lr=3,a=x'"]]
    ]
    assert (tmp_path / "multirun.yaml").exists()


def test_nothing_is_launched_if_no_job_is_left(tmp_path: Path) -> None:
    write_plan(Sweep(tmp_path, "lr=1,2").plan, tmp_path, launched=[])
    assert launches(tmp_path, lambda jobs: []) == []


@pytest.mark.parametrize(("deaths", "last"), [(1, DONE), (9, DIED)])
def test_a_job_whose_process_dies_is_launched_once_more_alone_and_the_others_continue(
    deaths: int, last: tuple[str, str], tmp_path: Path
) -> None:
    found = launches(tmp_path, dying(Sweep(tmp_path, "lr=1,2,3,4"), "001", deaths))
    assert results(tmp_path) == [DONE, last, DONE, DONE]
    assert [len(jobs) for jobs in found] == [4, 2, 1]


def test_jobs_that_run_beside_one_that_dies_do_not_fail(tmp_path: Path) -> None:
    found = launches(tmp_path, dying(Sweep(tmp_path, "lr=1,2,3"), "001", 9, at_once=True))
    assert results(tmp_path) == [DONE, DIED, DONE]
    assert [len(jobs) for jobs in found] == [3, 1, 1, 1]


def test_jobs_that_only_an_earlier_start_had_begun_do_not_count_as_dead(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "lr=1,2,3")
    for job in sweep.plan.jobs:
        begin(tmp_path / job.folder)
    found = launches(tmp_path, dying(sweep, "000", 9))
    assert results(tmp_path) == [DIED, DONE, DONE]
    assert [len(jobs) for jobs in found] == [3, 2, 1]


def test_a_launcher_that_gives_up_after_some_jobs_have_ended_is_used_again(tmp_path: Path) -> None:
    def end_one_and_give_up(jobs: Jobs) -> list[Any]:
        sweep.ends(int(folder_of(jobs[0])[:3]), {})
        raise RuntimeError("a job was cancelled")

    sweep = Sweep(tmp_path, "lr=1,2,3")
    launches(tmp_path, end_one_and_give_up)
    assert results(tmp_path) == [DONE] * 3


def test_the_error_of_a_launcher_that_cannot_start_any_job_is_raised(tmp_path: Path) -> None:
    Sweep(tmp_path, "lr=1,2")
    with pytest.raises(ConnectionError, match="no cluster"):
        launches(tmp_path, Mock(side_effect=ConnectionError("no cluster")))


def test_the_error_that_kept_a_job_from_writing_its_result_becomes_the_result(tmp_path: Path) -> None:
    Sweep(tmp_path, "seed=1,2")
    launches(tmp_path, lambda jobs: [JobReturn(status=JobStatus.FAILED, _return_value=OSError("no locks here"))])
    assert results(tmp_path) == [("failed", "OSError: no locks here")]


def test_hydra_finds_the_sweepers_as_a_namespace_package(tmp_path: Path) -> None:
    code = """
from hydra.core.plugins import Plugins
names = {"hydra_plugins.classifier_lab.GridSweeper", "hydra_plugins.classifier_lab.OptunaSweeper"}
assert names <= Plugins.instance().class_name_to_class.keys()
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment).returncode == 0

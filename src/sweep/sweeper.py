"""Hydra's sweeper: hands the jobs of sweep.json to the chosen launcher."""

import io
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from src.errors import LabError, as_known
from src.files import printable, write_json, written
from src.run.records import CONFIG_FILE, METRICS_FILE
from src.sweep.plan import Job, read_plan
from src.sweep.watch import Watch


class PlannedSweeper(Sweeper):
    """Base class of the sweepers, which run the plan in sweep.json with a launcher."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the plan. Known errors are printed here: Hydra would print a traceback and exit with 1."""
        assert self.config is not None
        try:
            folder = Path(self.config.hydra.sweep.dir)
            OmegaConf.save(self.config, folder / "multirun.yaml")
            self.run_plan(folder)
        except (LabError, OSError) as error:
            if (known := as_known(error)) is None:
                raise
            print(f"error: {printable(str(known))}", file=sys.stderr)
            sys.exit(known.exit_code)

    @abstractmethod
    def run_plan(self, folder: Path) -> None:
        """Runs the jobs of the plan in a sweep's folder."""


class GridSweeper(PlannedSweeper):
    """Runs the jobs that were planned for this command, each in its planned folder."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params  # Hydra's name for overrides in a config; already in the plan

    def run_plan(self, folder: Path) -> None:
        assert self.launcher is not None
        plan = read_plan(folder)
        assert plan is not None, "the command has written the plan"
        jobs = plan.launched_jobs()
        with Watch(folder, plan, jobs) as watch:
            launch(self.launcher, {job.folder: job.overrides for job in jobs}, jobs, watch)


def launch(launcher: Launcher, overrides: Mapping[str, Sequence[str]], jobs: Sequence[Job], watch: Watch) -> None:
    """Runs all jobs to the end, even if worker processes of the launcher die.

    When a process dies, the launcher gives up on all jobs. Jobs that had not begun are then launched again together,
    and jobs that had begun one by one. If a process dies while a job runs alone, that job has failed. A job has begun
    if its folder has a new config.

    Raises:
        Exception: the launcher's own error, if no job has begun or ended.
    """
    batches = [list(jobs)]
    while batches:
        batch = [job for job in batches.pop(0) if not watch.has_ended(job)]
        if not batch:
            continue
        lines = [[*overrides[job.folder], f"hydra.sweep.subdir='{job.folder}'"] for job in batch]
        before = {job.folder: written(watch.folder / job.folder / CONFIG_FILE) for job in batch}
        try:
            returns = launcher.launch(lines, initial_job_idx=0)
        except Exception as error:
            left = [job for job in batch if not watch.has_ended(job)]
            begun = [job for job in left if written(watch.folder / job.folder / CONFIG_FILE) != before[job.folder]]
            if not begun and len(left) == len(batch):
                raise
            if left == batch and len(batch) == 1:
                write_failure(watch.folder, batch[0], f"its process died ({type(error).__name__})")
            else:
                batches += [[job for job in left if job not in begun], *([job] for job in begun)]
            continue
        for job, ended in zip(batch, returns, strict=False):
            if ended.status == JobStatus.FAILED and not watch.has_ended(job):
                write_failure(watch.folder, job, reason_of(ended))


def reason_of(ended: JobReturn) -> str:
    """Why a job failed. Hydra prints a line and raises the job's error when `return_value` is read."""
    try:
        with redirect_stderr(io.StringIO()):
            ended.return_value  # noqa: B018
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "unknown"


def write_failure(sweep_dir: Path, job: Job, reason: str) -> None:
    """Writes the result of a job that could not write it itself."""
    facts = {"seed": job.settings.get("seed"), "overrides": job.overrides}
    (sweep_dir / job.folder).mkdir(exist_ok=True)
    write_json(sweep_dir / job.folder / METRICS_FILE, {"status": "failed", "reason": reason, **facts})

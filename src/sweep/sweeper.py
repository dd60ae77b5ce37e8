"""Hydra's part of a sweep: hands the jobs of sweep.json to whatever launcher was chosen."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from src.files import write_json
from src.run import CONFIG_FILE, METRICS_FILE
from src.sweep.plan import Job, launched_jobs, read_plan
from src.sweep.watch import Watch, written


class PlannedSweeper(Sweeper):
    """A sweeper whose sweep has been planned in sweep.json, and that hands its jobs to a launcher."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )


class GridSweeper(PlannedSweeper):
    """Runs the jobs that were planned for this command, each in the folder that was planned for it.

    Args:
        params: what Hydra's own sweeper calls so: overrides of a config. They have been planned like typed ones.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = params

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None and self.launcher is not None
        folder = Path(self.config.hydra.sweep.dir)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        plan, jobs = read_plan(folder), launched_jobs(folder)
        assert plan is not None
        hide_plugins()
        with Watch(folder, plan, jobs) as watch:
            launch(self.launcher, {job.folder: job.overrides for job in jobs}, jobs, watch)
        return None


def launch(launcher: Launcher, overrides: Mapping[str, Sequence[str]], jobs: Sequence[Job], watch: Watch) -> None:
    """Runs jobs to their ends, whatever becomes of the processes that a launcher starts.

    Where one has died, the launcher has given up on all. The jobs that had not begun are launched again, and then those
    that had, one by one: a job whose process dies when it is alone has failed. Its folder tells, as that of a job which
    failed before it could write anything.

    Args:
        launcher: of Hydra.
        overrides: of each job, by its folder.
        jobs: to run.
        watch: knows which of them have ended.

    Raises:
        Exception: the launcher's own, where no job has begun or ended.
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
                fail(watch.folder, batch[0], f"its process died ({type(error).__name__})")
            else:
                batches += [[job for job in left if job not in begun], *([job] for job in begun)]
            continue
        for job, ended in zip(batch, returns, strict=False):
            if ended.status == JobStatus.FAILED and not watch.has_ended(job):
                raised = ended._return_value
                fail(watch.folder, job, f"{type(raised).__name__}: {raised}")


def fail(sweep_dir: Path, job: Job, reason: str) -> None:
    """Writes the result of a job that could not do so itself."""
    facts = {"seed": job.settings.get("seed"), "overrides": job.overrides}
    (sweep_dir / job.folder).mkdir(exist_ok=True)
    write_json(sweep_dir / job.folder / METRICS_FILE, {"status": "failed", "reason": reason, **facts})


def show_plugins() -> None:
    """Puts our part of `hydra_plugins` on the path, before Hydra looks for plugins."""
    if (folder := str(Path(__file__).parent)) not in sys.path:
        sys.path.append(folder)


def hide_plugins() -> None:
    """Launchers send what Hydra knows to other processes, which need not find our sweepers, and could not."""
    plugins = Plugins.instance()
    ours = {name for name in plugins.class_name_to_class if name.startswith("hydra_plugins.classifier_lab.")}
    found = [plugins.class_name_to_class.pop(name) for name in ours]
    for classes in plugins.plugin_type_to_subclass_list.values():
        classes[:] = [each for each in classes if each not in found]

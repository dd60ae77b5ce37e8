"""Hydra's part of a search: asks Optuna for jobs, hands them to the launcher, tells what came of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf, open_dict

from src.build import as_dict
from src.run import read_result
from src.settings import flat
from src.sweep.plan import Job, Plan, new_job, read_plan, write_plan
from src.sweep.space import as_typed, distributions
from src.sweep.sweeper import PlannedSweeper, hide_plugins, launch
from src.sweep.watch import Watch

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"


class OptunaSweeper(PlannedSweeper):
    """Searches the space of sweep.json for the highest validation accuracy.

    Args:
        n_trials: jobs in all; a search that is continued counts those it has.
        at_once: jobs that the launcher gets at a time.
        seed: of the sampler.
        min_epochs: before a trial can be stopped.
        reduction_factor: one in so many trials goes on; 1 stops none.
        params: overrides of a launcher's config, which have been planned like typed ones.
    """

    def __init__(
        self,
        *,
        n_trials: int,
        at_once: int,
        seed: int,
        min_epochs: int,
        reduction_factor: int,
        params: dict[str, str] | None = None,
    ) -> None:
        self.n_trials = n_trials
        self.at_once = at_once
        self.seed = seed
        self.halving = {"min_epochs": min_epochs, "reduction_factor": reduction_factor}

    def sweep(self, arguments: list[str]) -> Any:
        from src.sweep.study import open_study

        assert self.config is not None
        folder = Path(self.config.hydra.sweep.dir)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        plan = read_plan(folder)
        assert plan is not None and plan.space
        study = open_study(folder / JOURNAL, seed=self.seed, **self.halving)
        hide_plugins()
        tell_leftovers(study, plan, folder)
        with Watch(folder, plan, []) as watch:
            while batch := self.next_batch(study, plan, folder):
                plan = self.launch(batch, plan, folder, watch)
                for number, job in batch.items():
                    tell(study, number, job, read_result(folder / job.folder))

    def next_batch(self, study: "Study", plan: Plan, folder: Path) -> dict[int, Job]:
        """The jobs to launch next, by the numbers of their trials: first those that an earlier start has left."""
        from optuna.trial import TrialState

        jobs = {job.folder: job for job in plan.jobs}
        batch, ended = {}, 0
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished():
                ended += trial.user_attrs.get("folder") in jobs
            elif trial.user_attrs.get("folder") in jobs:
                batch[trial.number] = jobs[trial.user_attrs["folder"]]
            else:  # asked for, but never planned
                study.tell(trial.number, state=TrialState.FAIL)
        while len(batch) < self.at_once and ended + len(batch) < self.n_trials:
            asked = study.ask(distributions(plan.space))
            number = len(jobs) + sum(job.folder not in jobs for job in batch.values())
            batch[asked.number] = self.planned(plan, as_typed(asked.params), number)
            asked.set_user_attr("folder", batch[asked.number].folder)
        return batch

    def planned(self, plan: Plan, values: Sequence[str], number: int) -> Job:
        assert self.hydra_context is not None and self.config is not None
        overrides = [*plan.overrides, *values]
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            del config["hydra"]
        return new_job(number, overrides, flat(as_dict(config)), plan.swept)

    def launch(self, batch: dict[int, Job], plan: Plan, folder: Path, watch: Watch) -> Plan:
        """Runs a batch to its end; returns the plan with its jobs."""
        assert self.launcher is not None
        known = {job.folder: job for job in plan.jobs}
        plan = replace(plan, jobs=list((known | {job.folder: job for job in batch.values()}).values()))
        write_plan(plan, folder, launched=list(batch.values()))
        watch.begin(plan, list(batch.values()))
        overrides = {job.folder: [*job.overrides, self.pruner(number, folder)] for number, job in batch.items()}
        launch(self.launcher, overrides, list(batch.values()), watch)
        return plan

    def pruner(self, number: int, folder: Path) -> str:
        """The override by which a job knows its trial."""
        settings = {"journal": f"'{(folder / JOURNAL).resolve()}'", "trial": number, **self.halving}
        inner = ",".join(f"{key}:{value}" for key, value in settings.items())
        return f"pruner={{_target_:src.sweep.study.Pruner,{inner}}}"


def tell_leftovers(study: "Study", plan: Plan, folder: Path) -> None:
    """Tells the study of the jobs that had ended when an earlier start was killed."""
    jobs = {job.folder: job for job in plan.jobs}
    for trial in study.get_trials(deepcopy=False):
        job = jobs.get(trial.user_attrs.get("folder", ""))
        result = read_result(folder / job.folder) if job else {}
        if job and not trial.state.is_finished() and result.get("status") in ("completed", "failed"):
            tell(study, trial.number, job, result)


def tell(study: "Study", number: int, job: Job, result: dict[str, Any]) -> "FrozenTrial":
    """Tells the study how a trial has ended."""
    from optuna.trial import TrialState

    if result.get("status") != "completed":
        return study.tell(number, state=TrialState.FAIL)
    if result["epochs"] < job.settings["trainer.max_epochs"]:
        return study.tell(number, state=TrialState.PRUNED)
    return study.tell(number, result["val/acc"])

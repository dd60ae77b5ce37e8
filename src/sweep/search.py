"""Hydra's sweeper for a search: asks Optuna for jobs, hands them to the launcher, and reports their results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import open_dict

from src import settings
from src.build import as_dict
from src.errors import BadInput, DataError
from src.files import load_yaml
from src.run.records import read_result
from src.settings import flat
from src.sweep.plan import Job, Plan, new_job, read_plan, write_plan
from src.sweep.sweeper import PlannedSweeper, launch
from src.sweep.watch import Watch

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"


class OptunaSweeper(PlannedSweeper):
    """Searches the space of sweep.json for the highest validation accuracy.

    conf/hydra/sweeper/optuna.yaml explains the parameters; `params` are already in the plan, like typed overrides.
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

    def run_plan(self, folder: Path) -> None:
        from src.sweep.study import open_study

        plan = read_plan(folder)
        assert plan is not None and plan.space, "the command has written the plan"
        study = open_study(folder / JOURNAL, seed=self.seed, **self.halving)
        check_trials(study, plan, folder)
        report_leftovers(study, plan, folder)
        with Watch(folder, plan, []) as watch:
            while batch := self.next_batch(study, plan, folder):
                plan = self.launch(batch, plan, folder, watch)
                for number, job in batch.items():
                    report(study, number, job, read_result(folder / job.folder))

    def next_batch(self, study: "Study", plan: Plan, folder: Path) -> dict[int, Job]:
        """The jobs to launch next, by trial number. Jobs left over from an earlier start come first."""
        from optuna.trial import TrialState

        jobs = {job.folder: job for job in plan.jobs}
        batch, ended = {}, 0
        for trial in study.get_trials(deepcopy=False):
            job = jobs.get(str(trial.user_attrs.get("folder", "")))
            if trial.state.is_finished():
                ended += job is not None
            elif job and (same := self.planned_again(trial, plan, job)):
                batch[trial.number] = same
            else:  # proposed, but never planned
                study.tell(trial.number, state=TrialState.FAIL)
        while len(batch) < self.at_once and ended + len(batch) < self.n_trials:
            proposal = study.ask(distributions(plan.space))
            number = len(jobs) + sum(job.folder not in jobs for job in batch.values())
            batch[proposal.number] = self.planned(plan, as_typed(proposal.params), number)
            proposal.set_user_attr("folder", batch[proposal.number].folder)
        return batch

    def planned(self, plan: Plan, values: Sequence[str], number: int) -> Job:
        assert self.hydra_context is not None and self.config is not None
        overrides = [*plan.overrides, *values]
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            del config["hydra"]
        return new_job(number, overrides, flat(as_dict(config)), plan.swept)

    def planned_again(self, trial: "FrozenTrial", plan: Plan, job: Job) -> Job | None:
        """A job that an earlier command has planned, from this command's space; None if it is not of this space.

        From the sweep's files it takes only the folder's name, and values that are in this command's space.
        """
        space = distributions(plan.space)
        if trial.params.keys() != space.keys() or not all(
            contains(space[key], value) for key, value in trial.params.items()
        ):
            return None
        again = self.planned(plan, as_typed(trial.params), number=0)
        return replace(again, folder=job.folder) if again.identity == job.identity else None

    def launch(self, batch: dict[int, Job], plan: Plan, folder: Path, watch: Watch) -> Plan:
        """Runs a batch of jobs to the end; returns the plan with these jobs added."""
        assert self.launcher is not None
        known = {job.folder: job for job in plan.jobs}
        plan = replace(plan, jobs=list((known | {job.folder: job for job in batch.values()}).values()))
        write_plan(plan, folder, launched=list(batch.values()))
        watch.begin(plan, list(batch.values()))
        overrides = {job.folder: [*job.overrides, self.pruner(number, folder)] for number, job in batch.items()}
        launch(self.launcher, overrides, list(batch.values()), watch)
        return plan

    def pruner(self, number: int, folder: Path) -> str:
        """The override that connects a job to its trial."""
        settings = {"journal": f"'{(folder / JOURNAL).resolve()}'", "trial": number, **self.halving}
        inner = ",".join(f"{key}:{value}" for key, value in settings.items())
        return f"pruner={{_target_:src.sweep.study.Pruner,{inner}}}"


def check_trials(study: "Study", plan: Plan, folder: Path) -> None:
    """Raises DataError if the journal has trials of another space, which the sampler cannot learn from."""
    space = distributions(plan.space)
    for trial in study.get_trials(deepcopy=False):
        if trial.distributions != space:
            raise DataError(f"{folder / JOURNAL} has trials of another space. Leave resume out to start a new search.")


def report_leftovers(study: "Study", plan: Plan, folder: Path) -> None:
    """Reports jobs that ended in an earlier start, which was killed before it reported them."""
    jobs = {job.folder: job for job in plan.jobs}
    for trial in study.get_trials(deepcopy=False):
        job = jobs.get(str(trial.user_attrs.get("folder", "")))
        result = read_result(folder / job.folder) if job else {}
        if job and not trial.state.is_finished() and result.get("status") in ("completed", "failed"):
            report(study, trial.number, job, result)


def report(study: "Study", number: int, job: Job, result: Mapping[str, Any]) -> None:
    """Reports the outcome of a trial to the study."""
    from optuna.trial import TrialState

    if result.get("status") != "completed":
        study.tell(number, state=TrialState.FAIL)
    elif result["epochs"] < job.max_epochs:
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, result["val/acc"])


def space_of(model: str) -> dict[str, str]:
    """The default search space of a network: keys, and values as typed."""
    space = load_yaml(settings.CONF / "hydra" / "space" / f"{model}.yaml")
    return {str(key): str(value) for key, value in space.items()}


def ends(override: Override) -> list[str]:
    """The values that must be valid, as typed: both ends of an interval, or every choice."""
    if not override.is_sweep_override():
        raise BadInput(
            f"{override.input_line} leaves nothing to search. Name several values, or an interval(low,high)."
        )
    value = override.value()
    if isinstance(value, IntervalSweep):
        if value.start is None or value.end is None or not value.start < value.end:
            raise BadInput(f"{override.input_line} must be an interval(low,high), the lower first.")
        if "log" in value.tags and value.start <= 0:
            raise BadInput(f"{override.input_line} must be above 0 if it is logarithmic.")
        return [f"{value.start}", f"{value.end}"]
    return list(override.sweep_string_iterator())


def distributions(space: Mapping[str, str]) -> dict[str, "BaseDistribution"]:
    """Converts a space to Optuna's distributions; choices stay as typed."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for key, text in space.items():
        override = OverridesParser.create().parse_override(f"{key}={text}")
        value = override.value()
        if not isinstance(value, IntervalSweep):
            found[key] = CategoricalDistribution(list(override.sweep_string_iterator()))
            continue
        assert value.start is not None and value.end is not None, "`ends` has checked the interval"
        are_integers = isinstance(value.start, int) and isinstance(value.end, int)
        kind: Any = IntDistribution if are_integers else FloatDistribution
        found[key] = kind(value.start, value.end, log="log" in value.tags)
    return found


def contains(distribution: "BaseDistribution", value: Any) -> bool:
    """Whether a distribution can propose a value.

    Private: `BaseDistribution._contains` of optuna 5.0.
    """
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False


def as_typed(values: Mapping[str, Any]) -> list[str]:
    """Converts Optuna's proposal to overrides."""
    return [f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]

"""The plan of a sweep, sweep.json: its jobs, their folders, and what makes a job the same as an earlier one."""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from src.errors import BadInput, DataError
from src.files import read_json, write_json
from src.run import read_result
from src.settings import NOT_RESULTS, is_result, key_of

PLAN_FILE = "sweep.json"
LONGEST_FOLDER_NAME = 120  # file systems allow 255 bytes
UNTYPED = "left to the other settings"


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        folder: its name in the sweep's folder.
        overrides: as typed, without Hydra's own.
        settings: the whole config, resolved, its keys written with dots.
    """

    folder: str
    overrides: list[str]
    settings: dict[str, Any]

    @property
    def identity(self) -> str:
        """The same for two jobs that must have the same result."""
        return json.dumps(self.settings, sort_keys=True)


@dataclass(frozen=True)
class Plan:
    """A sweep, or a run as a plan of one job.

    Attributes:
        overrides: as typed, without Hydra's own.
        swept: the keys that were given several values, as typed.
        jobs: in the order they are run; those of a search so far.
        space: of a search: the values of each key, as typed.
        num_trials: of a search: how many jobs it will have.
        settings: of a search: those that its jobs start from.
    """

    overrides: list[str]
    swept: list[str]
    jobs: list[Job]
    space: dict[str, str] = field(default_factory=dict)
    num_trials: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def constants(self) -> dict[str, Any]:
        """The settings that are the same in all jobs."""
        if self.space:
            return self.settings
        first, *others = (job.settings for job in self.jobs)
        return {key: value for key, value in first.items() if all(same(job, key, value) for job in others)}

    def keys(self) -> set[str]:
        """The settings that any of the jobs has."""
        return {*self.settings, *(key for job in self.jobs for key in job.settings)}

    def own_overrides(self, job: Job) -> list[str]:
        """What tells a job from the others: its overrides of the swept keys."""
        return [text for text in job.overrides if key_of(text) in self.swept]


def same(settings: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether a setting is there with this value, and written alike: 1, 1.0 and true are equal in Python."""
    return key in settings and json.dumps(settings[key]) == json.dumps(value)


def new_plan(
    *, overrides: Sequence[str], swept: Sequence[str], jobs: Sequence[tuple[list[str], dict[str, Any]]]
) -> Plan:
    """A plan of jobs, each given by its overrides and settings; one that is there twice is run once."""
    planned: dict[str, Job] = {}
    for own, settings in jobs:
        job = new_job(len(planned), own, settings, swept)
        planned.setdefault(job.identity, job)
    return Plan([text for text in overrides if key_of(text) not in NOT_RESULTS], list(swept), list(planned.values()))


def new_job(number: int, overrides: list[str], settings: dict[str, Any], swept: Sequence[str] = ()) -> Job:
    results = {key: value for key, value in settings.items() if is_result(key)}
    return Job(folder_name(number, overrides, swept), overrides, results)


def folder_name(number: int, overrides: Sequence[str], swept: Sequence[str] = ()) -> str:
    """The name of a job's folder: `003_optimizer.lr=0.1,model=mlp`, with nothing that a file system or shell minds.

    What is swept comes first: a name that would be too long is cut.
    """
    shown = [text for text in overrides if key_of(text) not in NOT_RESULTS]
    text = ",".join(sorted(shown, key=lambda text: (key_of(text) not in swept, text)))
    return as_name(f"{number:03d}_{text}")


def as_name(text: str) -> str:
    """A text as the name of a folder, cut where it is too long."""
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "", text.replace("/", "-"))
    if len(name) <= LONGEST_FOLDER_NAME:
        return name
    return f"{name[: LONGEST_FOLDER_NAME - 9]}-{zlib.crc32(text.encode()):08x}"


def differences(old: Plan, new: Plan) -> dict[str, tuple[Any, Any]]:
    """The settings that are one value in all old jobs and another in all new ones, though no sweep is over them.

    What was typed comes first: other settings may follow from it.
    """
    swept = {*old.swept, *new.swept}
    typed = {key_of(text) for text in (*old.overrides, *new.overrides)}
    before = dict.fromkeys(new.keys() - old.keys()) | old.constants()
    now = dict.fromkeys(old.keys() - new.keys()) | new.constants()

    def is_swept(key: str) -> bool:
        return key in swept or (key not in typed and any(key.startswith(f"{group}.") for group in swept))

    shared = sorted((key for key in before if key in now), key=lambda key: key not in typed)
    found = {key: (before[key], now[key]) for key in shared if before[key] != now[key] and not is_swept(key)}
    # What other settings make different from job to job can still be typed for all.
    then, today = ({key_of(text): text.partition("=")[2] for text in plan.overrides} for plan in (old, new))
    unequal = {key: (then.get(key, UNTYPED), today.get(key, UNTYPED)) for key in then.keys() | today.keys()}
    several = (old.keys() | new.keys()) - swept - set(shared)
    return found | {key: pair for key, pair in sorted(unequal.items()) if key in several and pair[0] != pair[1]}


def joined(old: Plan, new: Plan, folder: Path) -> Plan:
    """The new plan in the old one's folder: jobs that were planned before keep their folders, others get new ones.

    Raises:
        BadInput: the results would not belong together.
    """
    if old.space != new.space:
        raise BadInput(
            f"resume would mix results: {folder} searches {old.space or 'nothing, it is a grid'}, and this command "
            f"{new.space or 'is a grid'}. Type the same space, or leave resume out to start anew."
        )
    if mixed := differences(old, new):
        key, (before, now) = next(iter(mixed.items()))
        others = f" ({len(mixed)} settings differ: {', '.join(mixed)})" if len(mixed) > 1 else ""
        hint = f"Type {key}={before}" if before != UNTYPED else "Leave it out"
        if key.endswith("._target_"):  # which another choice has brought
            hint = f"Type the same {key.partition('.')[0]}"
        raise BadInput(
            f"resume would mix results: {key} was {before} in {folder}, and is {now} now{others}. "
            f"{hint}, or leave resume out to start anew."
        )
    known = {job.identity: job for job in old.jobs}
    jobs = []
    for job in new.jobs:
        if job.identity not in known:
            number = len(known)
            known[job.identity] = replace(job, folder=folder_name(number, job.overrides, new.swept))
        jobs.append(known[job.identity])
    return replace(new, swept=list(dict.fromkeys([*old.swept, *new.swept])), jobs=jobs)


def unfinished(plan: Plan, folder: Path, *, retry_failed: bool) -> list[Job]:
    """The jobs of a plan that are still to be run."""
    done = {"completed"} if retry_failed else {"completed", "failed"}
    return [job for job in plan.jobs if status(folder / job.folder) not in done]


def status(run_dir: Path) -> str:
    """How a run ended, by its metrics.json; `unfinished` where there is none."""
    return str(read_result(run_dir).get("status", "unfinished"))


def write_plan(plan: Plan, folder: Path, *, launched: Sequence[Job]) -> None:
    """Writes sweep.json. Jobs of earlier commands that `plan` does not have stay in it.

    Args:
        plan: of the command that was typed.
        folder: of the sweep.
        launched: the jobs that are run now.
    """
    earlier = read_plan(folder)
    jobs = {job.folder: job for job in (*(earlier.jobs if earlier else ()), *plan.jobs)}
    whole = replace(plan, jobs=list(jobs.values()))
    common = whole.constants()
    content = {
        "overrides": plan.overrides,
        "swept": plan.swept,
        "space": plan.space,
        "num_trials": plan.num_trials,
        "launched": [job.folder for job in launched],
        "settings": common,
        "jobs": [
            vars(job)
            | {"settings": {key: value for key, value in job.settings.items() if not same(common, key, value)}}
            for job in whole.jobs
        ],
    }
    write_json(folder / PLAN_FILE, content)


def read_plan(folder: Path) -> Plan | None:
    """The plan of a sweep's folder, if it is one.

    Raises:
        DataError: its file is damaged.
    """
    try:
        content = read_json(folder / PLAN_FILE)
        if content is None:
            return None
        common = content["settings"]
        jobs = [Job(**{**job, "settings": common | job["settings"]}) for job in content["jobs"]]
        base = common if content["space"] else {}
        return Plan(content["overrides"], content["swept"], jobs, content["space"], content["num_trials"], base)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / PLAN_FILE} is damaged, or of another version ({error!r}).") from error


def launched_jobs(folder: Path) -> list[Job]:
    """The jobs that the last command in a sweep's folder runs."""
    plan = read_plan(folder)
    launched = (read_json(folder / PLAN_FILE) or {}).get("launched", [])
    jobs = {job.folder: job for job in plan.jobs} if plan else {}
    return [jobs[name] for name in launched]

"""The plan of a sweep in sweep.json: its jobs and their folders, kept when a later command resumes the sweep."""

import json
import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import JsonValue, StringConstraints

from src.errors import BadInput, DataError
from src.files import in_one_line, read_json, write_json
from src.run.records import Count, Text, checked, read_result, type_of
from src.settings import NOT_RESULTS, is_result, key_of

PLAN_FILE = "sweep.json"
LONGEST_FOLDER_NAME = 120  # bytes; file systems allow 255
MOST_BYTES = 64 << 20  # of sweep.json
UNTYPED = "not typed"  # shown instead of a value
FolderName = Annotated[str, StringConstraints(pattern=r"^[0-9]{3,}_[A-Za-z0-9_.,=+-]*$", max_length=255)]


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    folder: str  # name of its folder in the sweep's folder
    overrides: list[str]  # its overrides, without Hydra's own
    settings: dict[str, Any]  # all settings that its result depends on, by their keys

    @property
    def identity(self) -> str:
        """Equal for jobs that must have the same result."""
        return json.dumps(self.settings, sort_keys=True)

    @property
    def max_epochs(self) -> int:
        epochs = self.settings.get("trainer.max_epochs")
        return epochs if isinstance(epochs, int) and epochs > 0 else 1


@dataclass(frozen=True)
class Plan:
    """A sweep, or a run as a plan of one job."""

    overrides: list[str]  # the typed overrides, without Hydra's own
    swept: list[str]  # the keys that were given several values, as typed
    jobs: list[Job]  # in the order they are run; for a search, the jobs proposed so far
    space: dict[str, str] = field(default_factory=dict)  # search only: the values of each key, as typed
    num_trials: int = 0  # search only: the number of jobs it will have
    settings: dict[str, Any] = field(default_factory=dict)  # search only: the settings that its jobs start from
    launched: list[str] = field(default_factory=list)  # the folders of the jobs that the newest command runs

    def constants(self) -> dict[str, Any]:
        """The settings with the same value in all jobs."""
        if self.space:
            return self.settings
        first, *others = (job.settings for job in self.jobs)
        return {key: value for key, value in first.items() if all(same(job, key, value) for job in others)}

    def keys(self) -> set[str]:
        """The keys of all settings that any job has."""
        return {*self.settings, *(key for job in self.jobs for key in job.settings)}

    def launched_jobs(self) -> list[Job]:
        """The jobs that the newest command runs."""
        jobs = {job.folder: job for job in self.jobs}
        return [jobs[name] for name in self.launched]

    def own_overrides(self, job: Job) -> list[str]:
        """A job's overrides of the swept keys, which distinguish it from the other jobs."""
        return [text for text in job.overrides if key_of(text) in self.swept]


OF_JOB = {"folder": FolderName, "overrides": list[Text], "settings": dict[str, JsonValue]}  # settings that differ
OF_PLAN = {
    **dict.fromkeys(("overrides", "swept"), list[Text]),
    **{"jobs": list[dict[str, JsonValue]], "space": dict[Text, Text], "num_trials": Count},
    **{"settings": dict[str, JsonValue], "launched": list[FolderName]},
}
JOB_TYPE = type_of("SavedJob", OF_JOB, extra="forbid")
PLAN_TYPE = type_of("SavedPlan", OF_PLAN, extra="forbid")


def same(settings: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether a setting has this value in the same notation; for Python's `==`, 1, 1.0 and True are equal."""
    return key in settings and json.dumps(settings[key]) == json.dumps(value)


def new_plan(
    *, overrides: Sequence[str], swept: Sequence[str], jobs: Sequence[tuple[list[str], dict[str, Any]]]
) -> Plan:
    """A plan of jobs, each given by its overrides and settings. A job that occurs twice is planned once."""
    planned: dict[str, Job] = {}
    for own, settings in jobs:
        job = new_job(len(planned), own, settings, swept)
        planned.setdefault(job.identity, job)
    return Plan([text for text in overrides if key_of(text) not in NOT_RESULTS], list(swept), list(planned.values()))


def new_job(number: int, overrides: list[str], settings: dict[str, Any], swept: Sequence[str] = ()) -> Job:
    results = {key: value for key, value in settings.items() if is_result(key)}
    return Job(folder_name(number, overrides, swept), overrides, results)


def folder_name(number: int, overrides: Sequence[str], swept: Sequence[str] = ()) -> str:
    """The name of a job's folder, such as `003_optimizer.lr=0.1,model=mlp`, safe for file systems and shells.

    Swept keys come first, because a name that is too long is cut.
    """
    shown = [text for text in overrides if key_of(text) not in NOT_RESULTS]
    text = ",".join(sorted(shown, key=lambda text: (key_of(text) not in swept, text)))
    return as_name(f"{number:03d}_{text}")


def as_name(text: str) -> str:
    """Makes a folder name of a text: without special characters, and cut if it is too long."""
    name = re.sub(r"[^A-Za-z0-9_.,=+-]", "", text.replace("/", "-"))
    if len(name) <= LONGEST_FOLDER_NAME:
        return name
    return f"{name[: LONGEST_FOLDER_NAME - 9]}-{zlib.crc32(text.encode()):08x}"


def differences(old: Plan, new: Plan) -> dict[str, tuple[Any, Any]]:
    """The settings that have one value in all old jobs and another in all new jobs, but are not swept.

    Typed settings come first, because others may follow from them.
    """
    swept = {*old.swept, *new.swept}
    typed = {key_of(text) for text in (*old.overrides, *new.overrides)}
    before = dict.fromkeys(new.keys() - old.keys()) | old.constants()
    now = dict.fromkeys(old.keys() - new.keys()) | new.constants()

    def is_swept(key: str) -> bool:
        return key in swept or (key not in typed and any(key.startswith(f"{group}.") for group in swept))

    shared = sorted((key for key in before if key in now), key=lambda key: key not in typed)
    found = {key: (before[key], now[key]) for key in shared if before[key] != now[key] and not is_swept(key)}
    # Settings that vary between jobs, although they are not swept, are compared as typed.
    then, today = ({key_of(text): text.partition("=")[2] for text in plan.overrides} for plan in (old, new))
    unequal = {key: (then.get(key, UNTYPED), today.get(key, UNTYPED)) for key in then.keys() | today.keys()}
    several = (old.keys() | new.keys()) - swept - set(shared)
    return found | {key: pair for key, pair in sorted(unequal.items()) if key in several and pair[0] != pair[1]}


def joined(old: Plan, new: Plan, folder: Path) -> Plan:
    """Joins a new plan with the old plan of a folder: jobs planned before keep their folders, others get new ones.

    Raises:
        BadInput: the two plans differ in more than their swept values.
    """
    if old.space != new.space:
        before = in_one_line(old.space or "nothing (a grid)")
        raise BadInput(
            f"resume would mix results: {folder} searches {before}, and this command searches "
            f"{new.space or 'nothing (a grid)'}. Type the same space, or leave resume out to start a new one."
        )
    if mixed := differences(old, new):
        key, (before, now) = next(iter(mixed.items()))
        others = f" ({len(mixed)} settings differ: {in_one_line(', '.join(mixed))})" if len(mixed) > 1 else ""
        hint = f"Type {shlex.quote(in_one_line(f'{key}={before}'))}" if before != UNTYPED else "Leave it out"
        if key.endswith("._target_"):  # another choice was typed
            hint = f"Type the same {key.partition('.')[0]}"
        raise BadInput(
            f"resume would mix results: {in_one_line(key)} was {in_one_line(before)} in {folder}, and is {now} "
            f"now{others}. {hint}, or leave resume out to start a new one."
        )
    known = {job.identity: job for job in old.jobs}
    jobs = []
    for job in new.jobs:
        # Only the folder's name is taken from the file: the job is run with the overrides of this command.
        number, earlier = len(known), known.get(job.identity)
        folder_of_job = earlier.folder if earlier else folder_name(number, job.overrides, new.swept)
        known[job.identity] = replace(job, folder=folder_of_job)
        jobs.append(known[job.identity])
    return replace(new, swept=list(dict.fromkeys([*old.swept, *new.swept])), jobs=jobs)


def unfinished(plan: Plan, folder: Path, *, retry_failed: bool) -> list[Job]:
    """The jobs of a plan that are left to run."""
    done = {"completed"} if retry_failed else {"completed", "failed"}
    return [job for job in plan.jobs if status(folder / job.folder) not in done]


def status(run_dir: Path) -> str:
    """The status of a run in its metrics.json; `unfinished` if there is none."""
    return str(read_result(run_dir).get("status", "unfinished"))


def write_plan(plan: Plan, folder: Path, *, launched: Sequence[Job]) -> None:
    """Writes sweep.json for the typed command and the jobs that it launches. Jobs of earlier commands are kept."""
    earlier = read_plan(folder)
    jobs = {job.folder: job for job in (*(earlier.jobs if earlier else ()), *plan.jobs)}
    whole = replace(plan, jobs=list(jobs.values()))
    common = whole.constants()
    own = [{key: value for key, value in job.settings.items() if not same(common, key, value)} for job in whole.jobs]
    content = {
        **vars(plan),
        "launched": [job.folder for job in launched],
        "settings": common,
        "jobs": [vars(job) | {"settings": settings} for job, settings in zip(whole.jobs, own, strict=True)],
    }
    write_json(folder / PLAN_FILE, content)


def read_plan(folder: Path) -> Plan | None:
    """The plan in a sweep's folder, checked as data; None if the folder holds no sweep.

    Raises:
        DataError: the file is damaged, or names folders that no sweep has.
    """
    path = folder / PLAN_FILE
    content = read_json(path, most_bytes=MOST_BYTES)
    if content is None:
        return None
    saved = checked(PLAN_TYPE, content, path)
    common = saved.pop("settings")
    found = (checked(JOB_TYPE, job, path) for job in saved.pop("jobs"))
    jobs = [Job(**job | {"settings": common | job["settings"]}) for job in found]
    if unknown := set(saved["launched"]) - {job.folder for job in jobs}:
        raise DataError(f"{path} is damaged: it launches {min(unknown)}, which it does not plan.")
    return Plan(jobs=jobs, settings=common if saved["space"] else {}, **saved)

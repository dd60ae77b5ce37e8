"""The earlier run or sweep that a command resumes, and the jobs that are left to run in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from src.errors import BadInput, DataError, LabError
from src.files import lock, own_copy, refuse_links, typeable
from src.run.provenance import check_same_code
from src.run.records import CONFIG_FILE, saved_settings, typed_overrides
from src.settings import flat, is_result
from src.sweep.plan import PLAN_FILE, Job, Plan, joined, read_plan, status, unfinished

CLAIM_FILE = ".lock"
THIS_RUN = "."  # the folder of a run's only job, relative to the run's folder


@dataclass(frozen=True)
class Claim:
    """A folder that the command may write to."""

    folder: Path  # the folder of the run or sweep
    plan: Plan  # the command's plan
    todo: list[Job]  # the jobs of the plan that are left to run
    left: int  # number of jobs in `todo`; for a search, number of jobs that it may still propose
    lock: FileLock  # keeps other processes out of the folder
    is_same_command: bool = True  # whether the earlier sweep swept the same keys and has some of these jobs

    def is_complete(self) -> bool:
        """Whether all jobs of the command are completed. Failed jobs are not, even if none is left to run."""
        return not self.left and all(status(self.folder / job.folder) == "completed" for job in self.plan.jobs)


@dataclass(frozen=True)
class Request:
    """The run or sweep that a command asks for, and its folder."""

    plan: Plan  # the command's plan
    is_sweep: bool  # True for a sweep, False for a run
    resume: str  # `never`, `auto`, `must` or a folder
    retry_failed: bool  # whether failed jobs are run again
    force: bool  # whether runs are continued although the code has changed
    key: str  # Hydra's setting for the output folder
    wanted: Path  # the output folder of a new run or sweep
    is_typed: bool  # whether `wanted` was typed

    @property
    def kind(self) -> str:
        return "sweep" if self.is_sweep else "run"


def resumed(request: Request) -> Claim | None:
    """Claims the earlier run or sweep that `resume` means; returns None to start a new one.

    Raises:
        BadInput: the code that makes results has changed since, and `request.force` is not set.
    """
    found = earlier_claim(request)
    if found is None:
        return None
    try:
        for run in begun(found):
            check_same_code(run, force=request.force)
            own_copy(run / "train.log")
    except LabError:
        found.lock.release()
        raise
    return found


def begun(claim: Claim) -> list[Path]:
    """The folders of the runs that a claim continues or starts."""
    jobs = (read_plan(claim.folder) or claim.plan).jobs
    ended = {job.folder for job in jobs if status(claim.folder / job.folder) in ("completed", "failed")}
    left = [job.folder for job in jobs if job.folder not in ended] + [job.folder for job in claim.todo]
    return [claim.folder / name for name in dict.fromkeys(left)]


def earlier_claim(request: Request) -> Claim | None:
    is_folder = request.resume not in ("auto", "must")
    if is_folder or request.is_typed:
        folder = Path(request.resume) if is_folder else request.wanted
        if found := continued(request, folder):
            return found
        reason = f"{folder} holds no {request.kind}"
    else:
        root = request.wanted.parents[min(1, len(request.wanted.parents) - 1)]  # without the date and the time
        if found := newest_unfinished(request, root):
            hint = "" if found.left else ", where only failed jobs are left. Add retry_failed=true to run them again"
            print(f"resume={request.resume}: continuing {typeable(found.folder)}{hint}")
            return found
        reason = f"{root} holds no unfinished {request.kind} of this command"
    if is_folder or request.resume == "must":
        raise DataError(f"nothing to resume: {reason}. Leave resume out to start a new one.")
    print(f"resume=auto: {reason}, starting a new one")
    return None


def newest_unfinished(request: Request, root: Path) -> Claim | None:
    """Claims the newest run or sweep of the same command that is not complete."""
    for folder in sorted(root.glob("*/*"), reverse=True):
        if status(folder) == "completed":
            continue
        try:
            found = continued(request, folder)
        except LabError:
            continue  # another command's, in use, or damaged
        if found and (found.left or request.is_sweep) and found.is_same_command and not found.is_complete():
            return found
    return None


def continued(request: Request, folder: Path) -> Claim | None:
    """Claims an earlier folder for the unfinished jobs of the plan; None if the folder holds no run or sweep."""
    plan, is_sweep = request.plan, request.is_sweep
    if not (folder / (PLAN_FILE if is_sweep else CONFIG_FILE)).is_file():
        return None
    refuse_links(folder)
    if not is_sweep and has_interpolations(saved_settings(folder)):  # killed before it wrote its own settings
        return None
    joined(earlier_plan(folder, is_sweep=is_sweep), plan, folder)  # refuse first, so a refused folder stays untouched
    held = hold(folder)
    earlier = earlier_plan(folder, is_sweep=is_sweep)
    whole = joined(earlier, plan, folder)
    if plan.space:
        ended = sum(status(folder / job.folder) in ("completed", "failed") for job in earlier.jobs)
        return Claim(folder, whole, [], max(0, plan.num_trials - ended), held)
    todo = unfinished(whole, folder, retry_failed=request.retry_failed)
    planned = {job.identity for job in earlier.jobs}
    is_same = set(earlier.swept) == set(plan.swept) and any(job.identity in planned for job in plan.jobs)
    return Claim(folder, whole, todo, len(todo), held, is_same)


def has_interpolations(settings: Mapping[str, Any]) -> bool:
    return any("${" in str(value) for value in flat(settings).values())


def hold(folder: Path) -> FileLock:
    """Locks the folder of a run or sweep for as long as the returned lock is kept."""
    try:
        held = lock(folder / CLAIM_FILE)
    except OSError as error:
        raise BadInput(f"cannot write to {folder} ({error.strerror}). Leave resume out to start a new one.") from error
    if held is None:
        raise BadInput(f"another process uses {typeable(folder)}. Wait for it, or leave resume out to start a new one.")
    return held


def earlier_plan(folder: Path, *, is_sweep: bool) -> Plan:
    """The plan of the sweep or run in a folder."""
    if is_sweep and (plan := read_plan(folder)):
        return plan
    config, overrides = flat(saved_settings(folder)), typed_overrides(folder)
    settings = {key: value for key, value in config.items() if is_result(key)}
    return Plan(overrides, [], [Job(THIS_RUN, overrides, settings)])

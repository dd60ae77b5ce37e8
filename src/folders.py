"""The folder of a run or sweep: a new one that no other gets, or an earlier one that is continued."""

import itertools
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from filelock import FileLock
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.build import as_dict
from src.errors import BadInput, DataError, LabError
from src.files import lock, typeable
from src.jobs import Jobs
from src.run import CONFIG_FILE
from src.settings import NOT_RESULTS, flat, is_result, key_of
from src.sweep.plan import (
    PLAN_FILE,
    Job,
    Plan,
    as_name,
    joined,
    new_job,
    new_plan,
    read_plan,
    status,
    unfinished,
    write_plan,
)

LEFT_AT_ONCE = (".", "sweep.json.", "train.log")
THIS_RUN = "."  # the folder of the one job of a run, seen from the run's


@dataclass(frozen=True)
class Claim:
    """A folder that the command may write to.

    Attributes:
        folder: of the run or sweep.
        plan: of the command.
        todo: the jobs of the plan that are to be run.
        left: how many they are; of a search, how many it may still propose.
        lock: of a sweep: keeps other processes from it.
        is_same_command: whether an earlier sweep is over the same keys, and has some of these jobs.
    """

    folder: Path
    plan: Plan
    todo: list[Job]
    left: int
    lock: FileLock | None = None
    is_same_command: bool = True


def claim(jobs: Jobs) -> Claim:
    """The folder for what was typed, and what there is left to do in it.

    Raises:
        BadInput: the folder that was asked for is in use, cannot be made, or holds something else.
        DataError: there is nothing to continue, where there must be.
    """
    if any(argument.startswith("hydra.sweep.subdir=") for argument in sys.argv):
        raise BadInput("hydra.sweep.subdir cannot be set: jobs are found by their number. Try hydra.sweep.dir instead.")
    key = "hydra.sweep.dir" if jobs.is_sweep else "hydra.run.dir"
    HydraConfig.instance().set_config(jobs.whole)
    wanted = Path(OmegaConf.select(jobs.whole, key))
    is_typed = any(argument.startswith(f"{key}=") for argument in sys.argv)
    plan = plan_of(jobs)
    if not plan.space and (again := len(jobs.configs) - len(plan.jobs)):
        print(f"{again} of {len(jobs.configs)} jobs are the same as others, and are run once")
    first = jobs.configs[0]
    found = None
    if first.retry_failed and first.resume == "never":
        raise BadInput("retry_failed=true is for a run or sweep that is continued. Add resume=auto.")
    if first.resume != "never":
        found = to_continue(
            plan, first.resume, wanted, is_typed=is_typed, is_sweep=jobs.is_sweep, retry=first.retry_failed
        )
    if found is None:
        if not is_typed and not jobs.is_sweep:
            wanted = with_overrides(wanted, jobs.typed)
        folder = claim_typed(wanted, key, resumes=first.resume != "never") if is_typed else claim_new(wanted, key)
        lock = hold(folder) if jobs.is_sweep else None
        found = Claim(folder, plan, plan.jobs, plan.num_trials or len(plan.jobs), lock)
    if jobs.is_sweep:
        write_plan(found.plan, found.folder, launched=found.todo)
    # Jobs of a sweep may run elsewhere.
    sys.argv.append(folder_override(key, found.folder.absolute() if jobs.is_sweep else found.folder))
    return found


def plan_of(jobs: Jobs) -> Plan:
    settings = [flat(as_dict(config)) for config in jobs.configs]
    if jobs.space:
        base = new_job(0, jobs.overrides[0], settings[0])
        return Plan(base.overrides, jobs.swept, [], jobs.space, jobs.whole.hydra.sweeper.n_trials, base.settings)
    return new_plan(overrides=jobs.typed, swept=jobs.swept, jobs=list(zip(jobs.overrides, settings, strict=True)))


def to_continue(plan: Plan, resume: str, wanted: Path, *, is_typed: bool, is_sweep: bool, retry: bool) -> Claim | None:
    """The earlier run or sweep that `resume` means; None to start anew.

    Args:
        plan: of the command.
        resume: `auto`, `must`, or a folder.
        wanted: where the run or sweep would go.
        is_typed: whether that was asked for.
        is_sweep: or a run.
        retry: whether failed jobs are run again.

    Raises:
        BadInput: the folder holds something else, or other settings.
        DataError: there is nothing to continue, where there must be.
    """
    is_folder = resume not in ("auto", "must")
    if is_folder or is_typed:
        folder = Path(resume) if is_folder else wanted
        if found := continued(plan, folder, is_sweep=is_sweep, retry=retry):
            return found
        reason = f"{folder} holds no {'sweep' if is_sweep else 'run'}"
    else:
        root = wanted.parents[min(1, len(wanted.parents) - 1)]  # without the date and the time
        for folder in sorted(root.glob("*/*"), reverse=True):
            if status(folder) == "completed":
                continue
            try:
                found = continued(plan, folder, is_sweep=is_sweep, retry=retry)
            except LabError:
                continue  # another command's, in use, or damaged
            if found and (found.left or is_sweep) and found.is_same_command and not is_complete(found):
                hint = "" if found.left else ", where all is done but what has failed. Add retry_failed=true for that"
                print(f"resume={resume}: continuing {typeable(folder)}{hint}")
                return found
        reason = f"{root} holds no unfinished {'sweep' if is_sweep else 'run'} of this command"
    if is_folder or resume == "must":
        raise DataError(f"nothing to resume: {reason}. Leave resume out to start anew.")
    print(f"resume=auto: {reason}, starting anew")
    return None


def is_complete(claim: Claim) -> bool:
    """Whether every job of the command has been completed: a sweep with failed ones is not, though none may be left."""
    return not claim.left and all(status(claim.folder / job.folder) == "completed" for job in claim.plan.jobs)


def continued(plan: Plan, folder: Path, *, is_sweep: bool, retry: bool) -> Claim | None:
    """What is left to do of a plan in an earlier folder; None where that holds no run or sweep.

    Raises:
        BadInput: other settings, or another process is at work there.
        DataError: its files are damaged.
    """
    if not (folder / (PLAN_FILE if is_sweep else CONFIG_FILE)).is_file():
        return None
    joined(earlier_plan(folder, is_sweep=is_sweep), plan, folder)  # what is refused is left as it was, without a lock
    lock = hold(folder) if is_sweep else None
    earlier = earlier_plan(folder, is_sweep=is_sweep)
    whole = joined(earlier, plan, folder)
    todo = unfinished(whole, folder, retry_failed=retry)
    planned = {job.identity for job in earlier.jobs}
    is_same = set(earlier.swept) == set(plan.swept) and any(job.identity in planned for job in plan.jobs)
    if not plan.space:
        return Claim(folder, whole, todo, len(todo), lock, is_same)
    ended = sum(status(folder / job.folder) in ("completed", "failed") for job in earlier.jobs)
    return Claim(folder, whole, [], max(0, plan.num_trials - ended), lock)


def hold(folder: Path) -> FileLock:
    """Keeps other processes from the sweep in a folder, for as long as what is returned is kept.

    Raises:
        BadInput: another process is at work there.
    """
    try:
        held = lock(folder / ".lock")
    except OSError as error:
        raise BadInput(f"cannot write to {folder} ({error.strerror}). Leave resume out to start anew.") from error
    if held is None:
        raise BadInput(
            f"another process is running the sweep in {folder}. Wait for it, or leave resume out to start anew."
        )
    return held


def earlier_plan(folder: Path, *, is_sweep: bool) -> Plan:
    """The plan of the sweep, or of the run, that a folder holds.

    Raises:
        DataError: it is damaged.
    """
    if is_sweep and (plan := read_plan(folder)):
        return plan
    try:
        config = flat(as_dict(cast(DictConfig, OmegaConf.load(folder / CONFIG_FILE))))
        typed = folder / ".hydra" / "overrides.yaml"
        overrides: list[str] = (yaml.safe_load(typed.read_text()) if typed.exists() else None) or []
    except (OmegaConfBaseException, yaml.YAMLError, OSError, AttributeError) as error:
        raise DataError(f"{folder / CONFIG_FILE} is damaged ({type(error).__name__}).") from error
    settings = {key: value for key, value in config.items() if is_result(key)}
    return Plan(overrides, [], [Job(THIS_RUN, overrides, settings)])


def folder_override(key: str, folder: Path) -> str:
    if re.fullmatch(r"[\w./-]+", str(folder)):
        return f"{key}={folder}"
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def with_overrides(folder: Path, typed: Sequence[str]) -> Path:
    """A run's folder, named by its overrides as well: so TensorBoard tells it from others of its model and data."""
    others = [text for text in typed if key_of(text) not in {"model", "data", *NOT_RESULTS}]
    return folder.with_name(as_name("_".join([folder.name, *([",".join(sorted(others))] if others else [])])))


def claim_new(wanted: Path, key: str) -> Path:
    for number in itertools.count(1):  # another run may have started in the same second
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            make(folder, key)
            return folder
        except FileExistsError:
            continue
    raise AssertionError("numbers have an end")


def claim_typed(folder: Path, key: str, *, resumes: bool) -> Path:
    """The folder that was typed, which must be new or empty, but for what a start that was killed at once has left."""
    left = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if folder.is_dir() and (not left or (resumes and all(name.startswith(LEFT_AT_ONCE) for name in left))):
        if not os.access(folder, os.W_OK):
            raise BadInput(f"cannot write to {folder} (permission denied). Try another {key}.")
        return folder
    try:
        make(folder, key)
    except FileExistsError as error:
        rule = f"{key} must be a new or empty folder"
        raise BadInput(f"{rule}, got {str(folder)!r}. Try {key}={folder}_2, or resume=auto to go on in it.") from error
    return folder


def make(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise BadInput(f"cannot make the output folder {folder} ({error.strerror}). Try another {key}.") from error

"""The output folder of a run or sweep: a newly created one, or an earlier one that is resumed."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from src.build import as_dict
from src.command.compose import wanted_folder
from src.command.jobs import Jobs
from src.command.resume import CLAIM_FILE, Claim, Request, hold, resumed
from src.errors import BadInput
from src.settings import NOT_RESULTS, flat, key_of
from src.sweep.plan import Plan, as_name, new_job, new_plan

LEFT_BY_A_KILLED_START = (".", "sweep.json.", "train.log")  # prefixes of file names


def claim(jobs: Jobs) -> Claim:
    """Claims the output folder of a command, with the jobs that are left to run in it.

    Raises:
        BadInput: the folder is in use, cannot be created, or holds something else.
        DataError: there is nothing to resume, although `resume` is `must` or a folder.
    """
    request = requested(jobs)
    found = resumed(request) if request.resume != "never" else None
    if found is None:
        found = claim_new(request, jobs.typed)
    return found


def requested(jobs: Jobs) -> Request:
    if any(text.startswith("hydra.sweep.subdir=") for text in jobs.hydra):
        raise BadInput("hydra.sweep.subdir cannot be set: jobs are found by their number. Try hydra.sweep.dir instead.")
    key, first = "hydra.sweep.dir" if jobs.is_sweep else "hydra.run.dir", jobs.configs[0]
    if first.force_resume and first.resume == "never":
        raise BadInput("resume.force=true is for a run or sweep that is continued. Add resume=auto.")
    if first.retry_failed and first.resume == "never":
        raise BadInput("retry_failed=true is for a run or sweep that is continued. Add resume=auto.")
    return Request(
        plan_of(jobs),
        jobs.is_sweep,
        resume=str(first.resume),
        retry_failed=first.retry_failed,
        force=first.force_resume,
        key=key,
        wanted=wanted_folder(jobs.whole, key),
        is_typed=any(text.startswith(f"{key}=") for text in jobs.hydra),
    )


def plan_of(jobs: Jobs) -> Plan:
    settings = [flat(as_dict(config)) for config in jobs.configs]
    if jobs.space:
        base = new_job(0, jobs.overrides[0], settings[0])
        return Plan(base.overrides, jobs.swept, [], jobs.space, jobs.whole.hydra.sweeper.n_trials, base.settings)
    return new_plan(overrides=jobs.typed, swept=jobs.swept, jobs=list(zip(jobs.overrides, settings, strict=True)))


def claim_new(request: Request, typed: Sequence[str]) -> Claim:
    """Claims a folder that no other run or sweep uses: the typed one, or one with a new name."""
    if request.is_typed:
        folder = make_typed(request.wanted, request.key, resumes=request.resume != "never")
    else:
        wanted = request.wanted if request.is_sweep else with_overrides(request.wanted, typed)
        folder = make_new(wanted, request.key)
    held = hold(folder)
    if request.is_typed and not is_new(folder, resumes=request.resume != "never"):  # taken while this process looked
        raise must_be_new(folder, request.key)
    return Claim(folder, request.plan, request.plan.jobs, request.plan.num_trials or len(request.plan.jobs), held)


def with_overrides(folder: Path, typed: Sequence[str]) -> Path:
    """Adds the overrides to the name of a run's folder, so that TensorBoard distinguishes runs of one network."""
    others = [text for text in typed if key_of(text) not in {"model", "data", *NOT_RESULTS}]
    return folder.with_name(as_name("_".join([folder.name, *([",".join(sorted(others))] if others else [])])))


def make_new(wanted: Path, key: str) -> Path:
    for number in itertools.count(1):  # another run may have started in the same second
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            make(folder, key)
            return folder
        except FileExistsError:
            continue
    raise AssertionError("the count never ends")


def make_typed(folder: Path, key: str, *, resumes: bool) -> Path:
    """Creates the typed folder, which must be new or empty; with `resumes`, files of a start killed early may exist."""
    if folder.is_dir() and is_new(folder, resumes=resumes):
        if not os.access(folder, os.W_OK):
            raise BadInput(f"cannot write to {folder} (permission denied). Try another {key}.")
        return folder
    try:
        make(folder, key)
    except FileExistsError as error:
        raise must_be_new(folder, key) from error
    return folder


def is_new(folder: Path, *, resumes: bool) -> bool:
    """Whether a folder holds nothing; with `resumes`, files of a start killed early may exist."""
    names = [path.name for path in folder.iterdir() if path.name != CLAIM_FILE]
    return not names or (resumes and all(name.startswith(LEFT_BY_A_KILLED_START) for name in names))


def must_be_new(folder: Path, key: str) -> BadInput:
    rule = f"{key} must be a new or empty folder"
    return BadInput(f"{rule}, got {str(folder)!r}. Try {key}={folder}_2, or add resume=auto.")


def make(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise BadInput(f"cannot make the output folder {folder} ({error.strerror}). Try another {key}.") from error

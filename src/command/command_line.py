"""The command line of `python -m src.train`: prints help, refuses bad input, and runs jobs."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import settings
from src.command.argv import LEAVES_NO_FILES, Typed, folder_override, hand_over, parse
from src.command.compose import prepare_hydra
from src.command.frame import ready_output, reported
from src.command.jobs import Jobs, checked_jobs
from src.command.output_folder import claim
from src.command.processes import is_helper_process, set_environment, stop_on_signals
from src.command.resume import Claim
from src.errors import SWEEP_HAD_FAILURES, BadInput
from src.files import in_one_line, load_yaml, typeable
from src.run.records import read_result
from src.run.result import outcome
from src.sweep.plan import read_plan, status, write_plan
from src.sweep.report import report_sweep

Task = Callable[[DictConfig], None]


def run_command(
    words: Sequence[str], run: Task, share: Task, *, after_sweep: Callable[[Path], Any] = lambda sweep_dir: None
) -> int:
    """Runs the command; returns its exit code.

    Args:
        run: runs one job, a single run or one of a sweep, from its config.
        share: takes part in a distributed run, in a helper process.
        after_sweep: called with the folder of a sweep that has ended.
    """
    stop_on_signals()
    ready_output()
    set_environment()
    return reported(lambda: answer(parse(words), run, share, after_sweep))


def answer(typed: Typed, run: Task, share: Task, after_sweep: Callable[[Path], Any]) -> int:
    if typed.asks("help") and not typed.asks("config_path", "config_dir"):
        print(help_text())
        return 0
    if typed.asks("help", "hydra_help", "info", "shell_completion"):
        return with_hydra(run, typed.for_hydra())
    if is_helper_process():
        return with_hydra(share, [*typed.for_hydra(), *LEAVES_NO_FILES])
    refuse_flags(typed)
    paths = {name: typed.flags[name] for name in ("config_path", "config_name", "config_dir")}
    jobs = checked_jobs(typed.overrides, multirun=typed.asks("multirun"), **paths)
    if typed.asks("cfg"):
        return show_config(typed, jobs, run)
    claimed = claim(jobs)
    return run_sweep(typed, jobs, claimed, run, after_sweep) if jobs.is_sweep else run_once(typed, claimed, run)


def with_hydra(task: Task, words: Sequence[str]) -> int:
    """Starts Hydra, which composes the config and calls the task, or starts a sweeper that does."""
    prepare_hydra()
    try:
        hand_over(hydra.main(version_base="1.3", config_path=str(settings.CONF), config_name="config")(task), words)
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput(in_one_line(error)) from error
    return 0


def refuse_flags(typed: Typed) -> None:
    if typed.asks("experimental_rerun"):
        raise BadInput(
            "--experimental-rerun is not supported: it loads a pickle, which can run any code. Type the overrides."
        )
    if typed.asks("cfg") and typed.asks("multirun"):
        raise BadInput("--cfg shows the config of a single run. Leave out -m.")


def show_config(typed: Typed, jobs: Jobs, run: Task) -> int:
    """Prints a run's config. Only rare forms are left to Hydra, which would compose the config a second time."""
    if typed.flags["cfg"] == "job" and not typed.asks("package") and not jobs.is_sweep:
        print(OmegaConf.to_yaml(jobs.configs[0], resolve=typed.asks("resolve")), end="")
        return 0
    return with_hydra(run, typed.for_hydra())


def run_once(typed: Typed, claimed: Claim, run: Task) -> int:
    """Starts or resumes a run, unless it has already completed or failed."""
    if claimed.left:
        return with_hydra(run, [*typed.for_hydra(), folder_override("hydra.run.dir", claimed.folder)])
    result = read_result(claimed.folder)
    if result["status"] == "completed":
        print(f"{typeable(claimed.folder)} was completed before: {outcome(result)}")
        return 0
    reason = f"{typeable(claimed.folder)} has failed before: {result['reason']}"
    raise BadInput(f"{reason} Add retry_failed=true to run it again.")


def run_sweep(typed: Typed, jobs: Jobs, claimed: Claim, run: Task, after_sweep: Callable[[Path], Any]) -> int:
    """Runs the jobs of a sweep and prints its leaderboard, even if the sweep is interrupted."""
    if not jobs.space and (repeated := len(jobs.configs) - len(claimed.plan.jobs)):
        print(f"{repeated} of {len(jobs.configs)} jobs are the same as others, and are run once")
    write_plan(claimed.plan, claimed.folder, launched=claimed.todo)
    launched_by = [text for text in jobs.hydra if not is_folder(text)]
    folder = folder_override("hydra.sweep.dir", claimed.folder.absolute())  # jobs may have another working directory
    try:
        with_hydra(run, [*typed.for_hydra(), folder])
    except SystemExit:
        report_sweep(claimed.folder, launched_by)
        again = [word for word in typed.words if not word.startswith("resume=") and not is_folder(word)]
        words = shlex.join([*again, folder_override("hydra.sweep.dir", claimed.folder), "resume=auto"])
        print(f"to resume: python -m src.train {words}", file=sys.stderr)
        raise
    report_sweep(claimed.folder, launched_by)
    after_sweep(claimed.folder)
    plan = claimed.plan if claimed.plan.jobs else read_plan(claimed.folder)  # a search plans its jobs while it runs
    complete = plan and all(status(claimed.folder / job.folder) == "completed" for job in plan.jobs)
    return 0 if complete else SWEEP_HAD_FAILURES


def is_folder(word: str) -> bool:
    return word.startswith("hydra.sweep.dir=")


def help_text() -> str:
    """The `--help` text of Hydra, in half the time: Hydra would first compose every choice of every group."""
    names = [(group, group) for group in settings.groups()]
    names += [(f"{group}.{inner}", f"{group}/{inner}") for group, _ in names for inner in settings.groups(group)]
    lines = [f"{name}: {', '.join(settings.choices(group))}" for name, group in names]
    template: str = load_yaml(settings.CONF / "hydra" / "help" / "lab.yaml")["template"]
    return template.replace("$APP_CONFIG_GROUPS", "\n".join(lines) + "\n")

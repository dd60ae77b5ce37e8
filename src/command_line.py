"""What every command does around its work: checks what was typed, claims a folder for it, sets the exit code."""

import os
import shlex
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from omegaconf import OmegaConf

from src.composer import CONF
from src.errors import BadInput, LabError, Stopped, as_known
from src.files import typeable
from src.folders import Claim, claim, folder_override
from src.jobs import checked_jobs
from src.run import read_result
from src.sweep.plan import read_plan, status
from src.sweep.report import report_sweep
from src.sweep.sweeper import show_plugins
from src.sweep.watch import outcome

SWEEP_HAD_FAILURES = 5
SECONDS_BETWEEN_LOOKS = 1.0
RUN_DIR = "LAB_RUN_DIR"  # tells the helper processes of a distributed run where its checkpoints are


def run_command(main: Callable[[], Any], *, after_sweep: Callable[[Path], Any] = lambda sweep_dir: None) -> int:
    """Runs a Hydra command whose arguments have been checked; returns the exit code.

    Args:
        main: a function decorated by `hydra.main`, which reads `sys.argv` itself.
        after_sweep: called with the folder of a sweep whose jobs have ended.
    """
    try:
        return answered(main, after_sweep)
    except BrokenPipeError:
        return nobody_reads()
    except OSError as error:
        if (known := as_known(error)) is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code


def nobody_reads() -> int:
    """Ends quietly where what is printed goes to `head`, say, which has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # as of a process that SIGPIPE has ended


def answered(main: Callable[[], Any], after_sweep: Callable[[Path], Any]) -> int:
    """What was typed, answered, run or refused."""
    stop_on_signals()
    show_plugins()
    arguments = get_args_parser().parse_intermixed_args()
    in_order(arguments)
    if arguments.help and not (arguments.config_path or arguments.config_dir):
        print(help_text())
        return 0
    if arguments.help or arguments.hydra_help or arguments.info or arguments.shell_completion:
        main()
        return 0
    if is_helper_process():
        join_distributed_run()
        main()
        return 0
    try:
        if arguments.experimental_rerun:
            raise BadInput(
                "--experimental-rerun is not supported: it runs what is in its file. Type the overrides instead."
            )
        if arguments.cfg and arguments.multirun:
            raise BadInput("--cfg shows the config of a single run. Leave out -m.")
        jobs = checked_jobs(
            arguments.overrides,
            multirun=arguments.multirun,
            config_path=arguments.config_path,
            config_name=arguments.config_name,
            config_dir=arguments.config_dir,
        )
        if arguments.cfg == "job" and not arguments.package and not jobs.is_sweep:
            print(OmegaConf.to_yaml(jobs.configs[0], resolve=arguments.resolve), end="")  # as Hydra, composed once
            return 0
        if arguments.cfg:
            main()
            return 0
        typed = [word for word in sys.argv[1:] if not word.startswith(("resume=", "hydra.sweep.dir="))]
        claimed = claim(jobs)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if not jobs.is_sweep:
        return run_once(main, claimed)
    exit_code = run_sweep(main, claimed, typed)
    after_sweep(claimed.folder)
    return exit_code


def run_once(main: Callable[[], Any], claimed: Claim) -> int:
    """One run, unless it has been completed before."""
    if claimed.left:
        main()
        wait_for_helpers()
        return 0
    result = read_result(claimed.folder)
    if result["status"] == "completed":
        print(f"{typeable(claimed.folder)} was completed before: {outcome(result)}")
        return 0
    error = f"{typeable(claimed.folder)} has failed before: {result['reason']} Add retry_failed=true to run it again."
    print(f"error: {error}", file=sys.stderr)
    return BadInput.exit_code


def run_sweep(main: Callable[[], Any], claimed: Claim, typed: Sequence[str]) -> int:
    """The jobs of a sweep, and its leaderboard, however it ends."""
    launched_by = [word for word in typed if word.startswith(("hydra/", "hydra."))]
    try:
        main()
        wait_for_helpers()
    except SystemExit:
        report_sweep(claimed.folder, launched_by)
        again = shlex.join([*typed, folder_override("hydra.sweep.dir", claimed.folder), "resume=auto"])
        print(f"to go on: python -m src.train {again}", file=sys.stderr)
        raise
    report_sweep(claimed.folder, launched_by)
    plan = claimed.plan if claimed.plan.jobs else read_plan(claimed.folder)  # a search has no jobs to begin with
    complete = plan and all(status(claimed.folder / job.folder) == "completed" for job in plan.jobs)
    return 0 if complete else SWEEP_HAD_FAILURES


def help_text() -> str:
    """What Hydra would print for `--help`, without its composing every choice of every group: in half the time."""
    groups = [folder for folder in sorted(Path(CONF).iterdir()) if folder.is_dir() and folder.name != "hydra"]
    choices = [f"{group.name}: {', '.join(sorted(file.stem for file in group.glob('*.yaml')))}" for group in groups]
    template: str = OmegaConf.load(Path(CONF) / "hydra" / "help" / "lab.yaml").template
    return template.replace("$APP_CONFIG_GROUPS", "\n".join(choices) + "\n")


def in_order(arguments: Namespace) -> None:
    """Puts the overrides last in `sys.argv`, wherever -m was typed, and makes a relative --config-path absolute.

    Hydra takes them only without flags in between, and would look for the path beside the file of the command. The name
    of a folder to resume is quoted: it tells overrides itself.
    """
    flags = [word for word in sys.argv[1:] if word not in arguments.overrides]
    arguments.overrides = [
        folder_override("resume", Path(word.removeprefix("resume=")))
        if word.startswith("resume=") and Path(word.removeprefix("resume=")).is_dir()
        else word
        for word in arguments.overrides
    ]
    if arguments.config_path:
        found = next(number for number, word in enumerate(flags) if word.endswith(arguments.config_path))
        absolute = str(Path(arguments.config_path).resolve())
        flags[found] = flags[found].removesuffix(arguments.config_path) + absolute
    sys.argv[1:] = [*flags, *arguments.overrides]


def stop_on_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)


def end_with_reader() -> None:
    """Ends the process quietly where what it prints goes to `head`, say, which has ended."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def settle_in_worker(folder: str, launcher: str) -> None:
    """A launcher may have started this process elsewhere, and Ctrl-C reaches it, too.

    SIGTERM is left to the launcher: submitit waits for the signal that comes with it, and queues the job again.
    """
    os.chdir(folder)
    signal.signal(signal.SIGINT, stop)
    if launcher.endswith(".JoblibLauncher"):
        end_with_parent()


@cache  # once in a process, which does one job after the other
def end_with_parent() -> None:
    """Where the command is killed, joblib's workers would wait for ever for what to do next."""
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=follow, name="end_with_parent", daemon=True).start()


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C and SIGTERM end the process from wherever it is, through every `finally`, with 130 and 143."""
    raise Stopped(128 + signum)


def is_helper_process() -> bool:
    """Whether this process was started to share the work of a distributed run."""
    return any(int(os.environ.get(name, 0)) > 0 for name in ("RANK", "LOCAL_RANK"))


def join_distributed_run() -> None:
    """Lightning started this process with the arguments of the first: it shares the work, and leaves no files."""
    own = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled")
    typed = [argument for argument in sys.argv[1:] if not argument.startswith(("hydra.run.dir=", "hydra.job.name="))]
    sys.argv[1:] = [*typed, *own]


def share_work(work: Callable[[Path], Any]) -> None:
    """Does a helper process's part of the work in the run's folder. What goes wrong, the first process tells."""
    try:
        work(Path(os.environ[RUN_DIR]))
    except (LabError, RuntimeError) as error:
        if isinstance(error, LabError) or "Connection closed by peer" in str(error):
            sys.exit(1)
        raise


def wait_for_helpers(seconds: float = 30) -> None:
    """Lets the other processes of a distributed run end first: they lose their last message if this one goes before."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:  # as Lightning sets it; a launcher's processes end by themselves
        return
    deadline = time.monotonic() + seconds
    while hasattr(os, "waitpid") and time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, getattr(os, "WNOHANG", 0))
        except ChildProcessError:
            return  # there is none, or none is left
        if not ended:
            time.sleep(0.05)

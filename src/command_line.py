"""What every command does around its work: checks what was typed, claims a folder for it, sets the exit code."""

import itertools
import os
import re
import signal
import sys
import time
import zlib
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.errors import BadInput
from src.jobs import CONF, Jobs, checked_jobs
from src.run import read_metrics, typeable

SWEEP_HAD_FAILURES = 5
LONGEST_FOLDER_NAME = 120  # file systems allow 255 bytes


def run_command(main: Callable[[], Any]) -> int:
    """Runs a Hydra command whose arguments have been checked; returns the exit code.

    Args:
        main: a function decorated by `hydra.main`, which reads `sys.argv` itself.
    """
    stop_on_signals()
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
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
        folder = claim_folder(jobs)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    main()
    wait_for_helpers()
    return report_sweep(folder, num_jobs=len(jobs.configs)) if jobs.is_sweep else 0


def help_text() -> str:
    """What Hydra would print for `--help`, without its composing every choice of every group: in half the time."""
    groups = [folder for folder in sorted(Path(CONF).iterdir()) if folder.is_dir() and folder.name != "hydra"]
    choices = [f"{group.name}: {', '.join(sorted(file.stem for file in group.glob('*.yaml')))}" for group in groups]
    template: str = OmegaConf.load(Path(CONF) / "hydra" / "help" / "lab.yaml").template
    return template.replace("$APP_CONFIG_GROUPS", "\n".join(choices) + "\n")


def build(config: DictConfig, **arguments: Any) -> Any:
    """What a part of the config describes.

    Raises:
        BadInput: its constructor refuses a parameter.
    """
    try:
        return instantiate(config, **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise BadInput(
            f"{config['_target_'].rpartition('.')[2]} cannot be made: {' '.join(str(cause).split())}"
        ) from error


def in_order(arguments: Namespace) -> None:
    """Puts the overrides last in `sys.argv`, wherever -m was typed, and makes a relative --config-path absolute.

    Hydra takes them only without flags in between, and would look for the path beside the file of the command.
    """
    flags = [word for word in sys.argv[1:] if word not in arguments.overrides]
    if arguments.config_path:
        found = next(number for number, word in enumerate(flags) if word.endswith(arguments.config_path))
        absolute = str(Path(arguments.config_path).resolve())
        flags[found] = flags[found].removesuffix(arguments.config_path) + absolute
    sys.argv[1:] = [*flags, *arguments.overrides]


def stop_on_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Ctrl-C and SIGTERM end the process from wherever it is, through every `finally`, with 130 and 143."""
    raise SystemExit(128 + signum)


def is_helper_process() -> bool:
    """Whether this process was started to share the work of a distributed run."""
    return any(int(os.environ.get(name, 0)) > 0 for name in ("RANK", "LOCAL_RANK"))


def join_distributed_run() -> None:
    """Lightning started this process with the arguments of the first: it shares the work, and leaves no files."""
    own = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled")
    typed = [argument for argument in sys.argv[1:] if not argument.startswith(("hydra.run.dir=", "hydra.job.name="))]
    sys.argv[1:] = [*typed, *own]


def wait_for_helpers(seconds: float = 30) -> None:
    """Lets the other processes of a distributed run end first: they lose their last message if this one goes before."""
    deadline = time.monotonic() + seconds
    while hasattr(os, "waitpid") and time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, getattr(os, "WNOHANG", 0))
        except ChildProcessError:
            return  # there is none, or none is left
        if not ended:
            time.sleep(0.05)


def claim_folder(jobs: Jobs) -> Path:
    """Makes the run's or sweep's folder, which no other run has or gets, and tells Hydra its name.

    Raises:
        BadInput: the folder that was asked for is in use, or cannot be made.
    """
    if any(argument.startswith("hydra.sweep.subdir=") for argument in sys.argv):
        raise BadInput("hydra.sweep.subdir cannot be set: jobs are found by their number. Try hydra.sweep.dir instead.")
    key = "hydra.sweep.dir" if jobs.is_sweep else "hydra.run.dir"
    HydraConfig.instance().set_config(jobs.whole)
    wanted = Path(OmegaConf.select(jobs.whole, key))
    if any(argument.startswith(f"{key}=") for argument in sys.argv):
        claim_typed(wanted, key)
        return tell_hydra(key, wanted)
    for number in itertools.count(1):  # another run may have started in the same second
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            make(folder, key)
            break
        except FileExistsError:
            continue
    return tell_hydra(key, folder)


def tell_hydra(key: str, folder: Path) -> Path:
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    sys.argv.append(f"{key}='{quoted}'")
    return folder


def claim_typed(folder: Path, key: str) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        if not os.access(folder, os.W_OK):
            raise BadInput(f"cannot write to {folder} (permission denied). Try another {key}.")
        return
    try:
        make(folder, key)
    except FileExistsError as error:
        raise BadInput(f"{key} must be a new or empty folder, got {str(folder)!r}. Try {key}={folder}_2.") from error


def make(folder: Path, key: str) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise BadInput(f"cannot make the output folder {folder} ({error.strerror}). Try another {key}.") from error


def job_folder(number: int, overrides: str) -> str:
    """The name of a sweep's job: `003_model=mlp,optimizer.lr=0.1`, with nothing that a file system or shell minds."""
    name = f"{number:03d}_{re.sub(r'[^A-Za-z0-9_.,=+-]', '', overrides.replace('/', '-'))}"
    if len(name) <= LONGEST_FOLDER_NAME:
        return name
    return f"{name[: LONGEST_FOLDER_NAME - 9]}-{zlib.crc32(overrides.encode()):08x}"


def report_sweep(folder: Path, *, num_jobs: int) -> int:
    """Says how a sweep went, by what its jobs have left on disk; returns the exit code."""
    results = read_metrics(folder)
    completed = [result for result in results.values() if result["status"] == "completed"]
    print(f"\n{len(completed)} of {num_jobs} jobs completed in {folder}")
    print(f"  tensorboard  tensorboard --logdir {typeable(folder)}")
    if len(completed) == num_jobs:
        return 0
    for job, result in results.items():
        if result["status"] != "completed":
            print(f"{job.name}: {result['status']}: {result['reason']}", file=sys.stderr)
    if len(results) < num_jobs:
        print(f"{num_jobs - len(results)} jobs left no result", file=sys.stderr)
    return SWEEP_HAD_FAILURES

"""Signals, worker processes and the helper processes of a distributed run.

The only place that reads or sets environment variables:

  variable          set by                what it decides
  RANK, LOCAL_RANK  Lightning, torchrun   above 0: this process helps with a distributed run
  MASTER_ADDR, ...  Lightning, torchrun   where the processes of such a run meet
  HYDRA_FULL_ERROR  set_environment       makes Hydra raise errors; the command reports them
  PYTHONWARNINGS    set_environment       which warnings the worker processes of a launcher show

torch itself reads OMP_NUM_THREADS, the largest number of CPU threads.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any, NoReturn

from src.errors import BadInput, LabError, Stopped

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_FOR_HELPERS = 30.0


def stop_on_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, stop)


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Ends the process through every `finally` block; the exit code is 130 for Ctrl-C and 143 for SIGTERM."""
    raise Stopped(128 + signum)


def end_with_reader() -> None:
    """Ends the process quietly when the reader of its output, such as `head`, has exited."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def set_environment() -> None:
    """Lets Hydra raise errors instead of printing them, and silences a warning in workers.

    `prepare_hydra` silences that warning here; in a worker it comes before our code runs.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    before = os.environ.get("PYTHONWARNINGS")
    ours = "ignore::UserWarning:multiprocessing.process"
    if ours not in (before or ""):
        os.environ["PYTHONWARNINGS"] = f"{before},{ours}" if before else ours


def settle_in_worker(folder: str, *, ends_with_parent: bool) -> None:
    """Prepares a worker process of a launcher: changes to the command's folder, and stops on Ctrl-C.

    SIGTERM is left to the launcher: submitit ignores it, waits for its own signal, and queues the job again.
    """
    os.chdir(folder)
    signal.signal(signal.SIGINT, stop)
    if ends_with_parent:
        end_with_parent()


@cache  # once per process, which may run several jobs
def end_with_parent() -> None:
    """Ends this process when its parent has ended. joblib's workers would wait forever if their command is killed."""
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=follow, name="end_with_parent", daemon=True).start()


def is_helper_process() -> bool:
    """Whether this process was started to share the work of a distributed run.

    Raises:
        BadInput: a rank is not a number, or a rank above 0 is set without MASTER_ADDR and MASTER_PORT.
    """
    ranks = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK") if name in os.environ}
    for name, rank in ranks.items():
        if not rank.isdecimal():
            raise BadInput(f"the environment variable {name} must be a number, got {rank!r}. Try unset {name}.")
    helps = any(int(rank) > 0 for rank in ranks.values())
    if helps and not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        name = min(ranks)
        raise BadInput(f"{name} is set, but MASTER_ADDR is not: this is no distributed run. Try unset {name}.")
    return helps


def share_work(work: Callable[[], Any]) -> None:
    """Does a helper process's share of the work, quietly: the first process reports the errors."""
    try:
        work()
    except (LabError, RuntimeError) as error:
        if isinstance(error, LabError) or "Connection closed by peer" in str(error):
            sys.exit(1)
        raise


def end_distributed_run() -> None:
    """Waits for the helpers of a distributed run and ends their process group; does nothing for other runs.

    The helpers end first: they fail if this process ends the group before they have received its last message.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        wait_for_children(SECONDS_FOR_HELPERS)
        torch.distributed.destroy_process_group()


def wait_for_children(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while hasattr(os, "waitpid") and time.monotonic() < deadline:
        try:
            ended, _ = os.waitpid(-1, getattr(os, "WNOHANG", 0))
        except ChildProcessError:
            return  # no child is left
        if not ended:
            time.sleep(0.05)

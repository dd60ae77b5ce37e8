"""Runs commands as forks of a process that has imported everything, for processes.py.

Reads lines of JSON, `{"module": name, "folder": path, "arguments": [...], "log": file, "fail": {"seed": kind}}`, and
prints the process id of each. The exit code and the memory in megabytes of a command are written to `<log>.code`.
With `"die": N`, a command is killed just before its Nth change of a file in its folder.
"""

import json
import os
import resource
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning  # noqa: F401
import torch

import src.run.checkpoints
import src.run.fit_state
import src.run.progress
import src.task
import src.train
from src.command.command_line import run_command

FAILURES = {
    "exception": ValueError("injected"),
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    "exit": SystemExit(7),
}


CHANGES = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.truncate", "shutil.rmtree"}


def die_at(change: int, folder: Path) -> None:
    """Kills this process just before it changes the files in a folder for this time, from 1."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in CHANGES or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if folder in Path(os.fsdecode(arguments[0])).absolute().parents:
            seen += 1
            if seen == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def work(
    arguments: list[str],
    log: str,
    fail: dict[str, str],
    module: str,
    folder: str,
    die: int = 0,
    most_bytes: int = 0,
    die_in_write: int = 0,
) -> int:
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    sys.argv = ["train.py"]
    if die:
        die_at(die, Path(folder).absolute())
    if limit := most_bytes or die_in_write:  # as on a full disk, a file cannot grow beyond this size
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if most_bytes else signal.SIG_DFL)  # the default is to be killed
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if module != "src.train":
        return int(import_module(module).main(arguments))
    train = src.train.train

    def failing(cfg: Any, run_dir: Path, **settings: Any) -> Any:
        if kind := fail.get(str(cfg.seed)):
            raise FAILURES[kind]
        return train(cfg, run_dir, **settings)

    src.train.train = failing
    try:
        return run_command(arguments, src.train.main, src.train.share)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = work(**job)
            megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            Path(f"{job['log']}.code").write_text(f"{code} {megabytes}")
            sys.stdout.flush()
            os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()

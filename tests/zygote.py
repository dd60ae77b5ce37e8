"""Runs commands as forks of a process that has imported everything, for processes.py.

Reads lines of JSON, `{"arguments": [...], "log": file, "fail": {"seed": kind}}`; prints the process id of each.
"""

import json
import os
import signal
import sys
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


def work(arguments: list[str], log: str, fail: dict[str, str]) -> int:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    sys.argv = ["train.py"]
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
            Path(f"{job['log']}.code").write_text(str(code))
            sys.stdout.flush()
            os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()

"""Commands as forks of a process that has imported everything, so that tests can start and kill them quickly."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.runs import ROOT


class Process:
    """A running command; its output goes to `log`."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log = pid, log

    def runs(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def exit_code(self, seconds: float = 120) -> int:
        deadline = time.monotonic() + seconds
        while self.runs():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return self.ended()[0]

    def ended(self) -> tuple[int, int]:
        """The exit code and the largest memory in megabytes; a process that was killed or crashed has neither."""
        code, megabytes = Path(f"{self.log}.code").read_text().split()
        return int(code), int(megabytes)


class Starter:
    """Starts `src.train` in a folder; see zygote.py."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        line = [sys.executable, "-m", "tests.zygote"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.folder = folder
        self.process = subprocess.Popen(line, cwd=folder, env=environment, text=True, **pipes)
        self.started = 0

    def __call__(
        self,
        *arguments: str,
        fail: dict[str, str] | None = None,
        module: str = "src.train",
        folder: Path | None = None,
        **faults: int,
    ) -> Process:
        """Starts a command; `faults` are those of `zygote.work`."""
        assert self.process.stdin and self.process.stdout
        self.started += 1
        log = self.folder / f"{self.started}.log"
        job = {"module": module, "folder": str(folder or self.folder), "arguments": arguments, "log": str(log)}
        self.process.stdin.write(json.dumps(job | faults | {"fail": fail or {}}) + "\n")
        self.process.stdin.flush()
        return Process(int(self.process.stdout.readline()), log)

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def table(folder: Path) -> list[dict[str, str]]:
    """The rows of results.csv without the training times."""
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    return [{key: value for key, value in row.items() if key != "train_seconds"} for row in rows]

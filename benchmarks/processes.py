"""Measurements of whole processes: start-up, memory, and a sweep from the command to its end."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import bare
from benchmarks.one import BATCH_SIZES, LEARNING_RATES

PYTHON = sys.executable
TRAIN = [PYTHON, "-m", "src.train"]
ANSWERS = {
    "import torch, lightning": [PYTHON, "-c", "import torch, lightning"],
    "--help": [*TRAIN, "--help"],
    "--cfg job": [*TRAIN, "--cfg", "job"],
    "a config error": [*TRAIN, "model=mpl"],
}
EXIT_CODES = {"a config error": 2}  # 0 for all others
EPOCHS = 3
# A process inherits the peak memory of its parent, so this small process runs the command. Linux counts kB.
PEAK = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
PEAK += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"


@dataclass
class Done:
    """The wall time and the output of a process that has ended."""

    seconds: float
    output: str


def run(line: list[str], *, exit_code: int = 0) -> Done:
    """Runs a process and measures its wall time.

    Raises:
        RuntimeError: the process ends with another exit code.
    """
    began = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    if done.returncode != exit_code:
        raise RuntimeError(f"{' '.join(line)} ended with {done.returncode}: {done.stderr[-500:]}")
    return Done(seconds, done.stdout)


def measure(task: bare.Task, weights: dict[str, Tensor], folder: Path, workers: int, figures: dict[str, Any]) -> None:
    """Adds one repeat of every process to the figures: seconds and megabytes by name.

    Every arm starts from `weights`; `workers` is STOCK's number of workers.
    """
    task_file = folder / "task.pt"
    torch.save({"task": vars(task), "weights": weights}, task_file)
    found: dict[str, dict[str, float]] = {"answer_seconds": {}, "around_the_fit_seconds": {}, "peak_megabytes": {}}
    for name, line in ANSWERS.items():
        found["answer_seconds"][name] = run(line, exit_code=EXIT_CODES.get(name, 0)).seconds
    for arm in ("BARE", "OURS", "BAREBONES", "STOCK"):
        around, megabytes = one_run(arm, task_file, folder / "run", workers)
        found["around_the_fit_seconds"][arm] = around
        found["peak_megabytes"][arm] = megabytes
    note(found, figures)


def measure_sweeps(
    task: bare.Task, weights: dict[str, Tensor], folder: Path, workers: int, figures: dict[str, Any]
) -> None:
    """Adds one repeat of the sweeps to the figures, like `measure`."""
    task_file = folder / "task.pt"
    torch.save({"task": vars(task), "weights": weights}, task_file)
    ours, later = our_sweep(folder / "sweep")
    stock = run([PYTHON, "-m", "benchmarks.one", "sweep", str(task_file), str(EPOCHS), str(workers)])
    note({"sweep_seconds": {"OURS": ours, "STOCK": stock.seconds}, "later_job_seconds": {"OURS": later}}, figures)


def note(found: dict[str, dict[str, float]], figures: dict[str, Any]) -> None:
    print(found, flush=True)
    for group, values in found.items():
        for name, value in values.items():
            figures.setdefault(group, {}).setdefault(name, []).append(value)


def one_run(arm: str, task_file: Path, run_dir: Path, workers: int) -> tuple[float, float]:
    """Trains softmax regression in a new process; returns its seconds without the fit, and its peak memory in MB."""
    line = [PYTHON, "-m", "benchmarks.one", arm.lower(), str(task_file), str(EPOCHS), str(workers)]
    if arm == "OURS":
        line = [*TRAIN, f"trainer.max_epochs={EPOCHS}", f"hydra.run.dir={run_dir}"]
    done = run([PYTHON, "-c", PEAK, *line])
    *printed, megabytes = done.output.split()
    if arm == "OURS":
        fit = json.loads((run_dir / "metrics.json").read_text())["train_seconds"]
        shutil.rmtree(run_dir)
    else:
        fit = float(printed[-1])
    return done.seconds - fit, float(megabytes)


def our_sweep(folder: Path) -> tuple[float, float]:
    """Runs our sweep; returns its seconds, and the median seconds that a job after the first takes besides its fit."""
    lrs, sizes = ",".join(map(str, LEARNING_RATES)), ",".join(map(str, BATCH_SIZES))
    grid = [f"optimizer.lr={lrs}", f"data.batch_size={sizes}", f"trainer.max_epochs={EPOCHS}"]
    seconds = run([*TRAIN, "-m", *grid, f"hydra.sweep.dir={folder}"]).seconds
    results = sorted(folder.glob("*/metrics.json"))
    assert len(results) == len(LEARNING_RATES) * len(BATCH_SIZES), f"{len(results)} jobs have a result"
    ends = [path.stat().st_mtime for path in results]
    fits = [json.loads(path.read_text())["train_seconds"] for path in results]
    shutil.rmtree(folder)
    around = [end - before - fit for (before, end), fit in zip(pairwise(ends), fits[1:], strict=True)]
    return seconds, median(around)

"""What is measured from outside: start-up, memory, and a sweep from the command to its end."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
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
EPOCHS = 3


@dataclass
class Done:
    """A process that has ended: wall time, peak of its resident memory, and what it printed."""

    seconds: float
    megabytes: float
    output: str


def run(line: list[str]) -> Done:
    began = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    return Done(time.perf_counter() - began, usage.ru_maxrss / 1024, output)


def measured(
    task: bare.Task, weights: dict[str, Tensor], folder: Path, repeats: int, workers: int
) -> dict[str, dict[str, Any]]:
    """Figures of all processes, `repeats` times in turn.

    Args:
        task: softmax regression on Fashion-MNIST.
        weights: to start from.
        folder: for files.
        repeats: of everything.
        workers: of STOCK.
    """
    task_file = folder / "task.pt"
    torch.save({"task": vars(task), "weights": weights}, task_file)
    answers: dict[str, list[float]] = {name: [] for name in ANSWERS}
    around: dict[str, list[float]] = {arm: [] for arm in ("BARE", "OURS", "BAREBONES", "STOCK")}
    memory: dict[str, list[float]] = {arm: [] for arm in around}
    sweep: dict[str, list[float]] = {"OURS": [], "STOCK": []}
    later_jobs: list[float] = []
    for _ in range(repeats):
        for name, line in ANSWERS.items():
            answers[name].append(run(line).seconds)
        for arm in around:
            done, fit = one_run(arm, task_file, folder / "run", workers)
            around[arm].append(done.seconds - fit)
            memory[arm].append(done.megabytes)
        later_jobs.append(our_sweep(folder / "sweep", sweep["OURS"]))
        stock = [PYTHON, "-m", "benchmarks.one", "sweep", str(task_file), str(EPOCHS), str(workers)]
        sweep["STOCK"].append(run(stock).seconds)
        print({"answers": answers, "around the fit": around, "memory": memory, "sweep": sweep, "later": later_jobs})
    return {
        "answer_seconds": answers,
        "around_the_fit_seconds": around,
        "peak_megabytes": memory,
        "sweep_seconds": sweep,
        "later_job_seconds": {"OURS": later_jobs},
    }


def one_run(arm: str, task_file: Path, run_dir: Path, workers: int) -> tuple[Done, float]:
    """A process that trains softmax regression, and the seconds of its fit."""
    if arm != "OURS":
        done = run([PYTHON, "-m", "benchmarks.one", arm.lower(), str(task_file), str(EPOCHS), str(workers)])
        return done, float(done.output.split()[-1])
    done = run([*TRAIN, f"trainer.max_epochs={EPOCHS}", f"hydra.run.dir={run_dir}"])
    fit = json.loads((run_dir / "metrics.json").read_text())["train_seconds"]
    shutil.rmtree(run_dir)
    return done, fit


def our_sweep(folder: Path, seconds: list[float]) -> float:
    """Runs the sweep; returns the median of what jobs after the first take beside their fit, testing included."""
    lrs, sizes = ",".join(map(str, LEARNING_RATES)), ",".join(map(str, BATCH_SIZES))
    grid = [f"optimizer.lr={lrs}", f"data.batch_size={sizes}", f"trainer.max_epochs={EPOCHS}"]
    seconds.append(run([*TRAIN, "-m", *grid, f"hydra.sweep.dir={folder}"]).seconds)
    results = sorted(folder.glob("*/metrics.json"))
    assert len(results) == len(LEARNING_RATES) * len(BATCH_SIZES), f"{len(results)} jobs have a result"
    ends = [path.stat().st_mtime for path in results]
    fits = [json.loads(path.read_text())["train_seconds"] for path in results]
    shutil.rmtree(folder)
    around = [end - before - fit for before, end, fit in zip(ends, ends[1:], fits[1:], strict=False)]
    return sorted(around)[len(around) // 2]

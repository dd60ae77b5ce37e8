"""Measures the speed of training: a bare loop, this project, Lightning alone, and the usual Lightning code, in turn.

All arms train the same network on the same batches in the same order, and must end with the same weights; bitwise equal
if they use the same number of threads. BARE and OURS alternate epoch by epoch, the others fit by fit. Writes a Markdown
table and a JSON file.

    BARE       a hand-written loop on resident tensors (benchmarks/bare.py)
    OURS       src.train: config, task, Trainer, metrics, logging, checkpoints, validation
    BAREBONES  Lightning's `barebones=True` on the same resident tensors: no metrics, no logging, no checkpoints
    STOCK      torchvision, DataLoader with the fastest of 0, 2 and 4 workers, torchmetrics, self.log, TensorBoard, the
               default progress bar

python -m benchmarks
"""

import argparse
import json
import logging
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from torch import Tensor

from benchmarks import bare, processes, stock, sweeps
from benchmarks.report import machine, markdown
from benchmarks.turns import Turns
from src.build import build
from src.command.jobs import checked_jobs
from src.steps.threads import available_threads
from src.train import train

FASHION, CIFAR2 = ["data=fashion_mnist"], ["data=cifar2", "model=mlp", "model.hidden_sizes=[512]"]
CASES = {
    "softmax, batch 64": [*FASHION, "model=softmax", "data.batch_size=64"],
    "softmax, batch 256": [*FASHION, "model=softmax", "data.batch_size=256"],
    "mlp 784-256-10, batch 64": [*FASHION, "model=mlp", "data.batch_size=64"],
    "mlp 784-256-10, batch 256": [*FASHION, "model=mlp", "data.batch_size=256"],
    "cifar2 mlp 3072-512-2, batch 64": [*CIFAR2, "data.batch_size=64"],
}
EPOCHS = 5  # per fit; STOCK trains one
WORKERS = (0, 2, 4)
PROCESSES = {"processes": processes.measure, "sweeps": processes.measure_sweeps}
SWEEPS = {"launchers": sweeps.measure_launchers, "searches": sweeps.measure_searches}
# Seconds per epoch; start-up and memory; a sweep of 16 jobs; several jobs at once; a search compared with a grid.
PARTS = ("epochs", *PROCESSES, *SWEEPS)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Case:
    """One network on one data set, and the arms that train it. Each arm returns seconds per epoch, with validation.

    The arms write to `folder`.
    """

    def __init__(self, overrides: list[str], folder: Path) -> None:
        self.folder = folder
        (self.cfg,) = checked_jobs(overrides, multirun=False).configs
        data = build(self.cfg, "data")
        data.setup()
        seed_everything(self.cfg.seed, verbose=False)
        network = build(self.cfg, "model", image_shape=data.image_shape, num_classes=data.num_classes)
        self.weights = {name: values.clone() for name, values in network.state_dict().items()}
        hidden = list(self.cfg.model.get("hidden_sizes", []))
        train_split = data.splits["train"]
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in data.normalize) if data.normalize else (None, None)
        self.task = bare.Task(
            pixels=train_split.images.pixels,
            labels=train_split.images.labels,
            train_rows=train_split.rows,
            val_rows=data.splits["val"].rows,
            mean=mean,
            std=std,
            sizes=[train_split.images.pixels[0].numel(), *hidden, data.num_classes],
            batch_size=self.cfg.data.batch_size,
            lr=self.cfg.optimizer.lr,
        )
        self.resident = self.task.to(DEVICE)
        self.threads = available_threads()
        self.stock_workers = 0
        self.final: dict[str, list[Tensor]] = {}

    def ours(self, epochs: int = EPOCHS) -> float:
        self.cfg.trainer.max_epochs = epochs
        with tempfile.TemporaryDirectory(dir=self.folder) as run_dir:
            result = train(self.cfg, Path(run_dir))
            last = torch.load(Path(run_dir) / "checkpoints" / "last.ckpt", weights_only=True)
        self.final["OURS"] = [values.cpu() for values in last["state_dict"].values()]
        self.threads = result.threads
        return result.train_seconds / epochs

    def bare(self, epochs: int = EPOCHS) -> float:
        alike(self.threads)
        seconds, self.final["BARE"], _ = bare.train(self.resident, self.weights, epochs=epochs)
        return sum(seconds) / epochs

    def in_turn(self, epochs: int = EPOCHS) -> tuple[float, float]:
        """Seconds per epoch of BARE and of OURS, which alternate epoch by epoch."""
        network = bare.network_of(self.task.sizes, self.weights).to(DEVICE)
        self.cfg.pruner = Turns.begin(bare.epochs_of(self.resident, network))
        self.ours(epochs)
        self.cfg.pruner = None
        self.final["BARE"] = [parameter.detach().cpu() for parameter in network.parameters()]
        return sum(Turns.others) / epochs, sum(Turns.ours) / epochs

    def barebones(self, epochs: int = EPOCHS) -> float:
        alike(self.threads)
        seconds, self.final["BAREBONES"] = stock.barebones(self.resident, self.weights, epochs=epochs)
        return seconds

    def stock(self, epochs: int = 1) -> float:
        alike(available_threads())
        settings: dict[str, Any] = {"workers": self.stock_workers, "folder": self.folder}
        seconds, self.final["STOCK"] = stock.stock(self.task, self.weights, epochs=epochs, **settings)
        return seconds

    def choose_stock(self) -> None:
        """Chooses the number of workers with which STOCK is fastest, from two epochs with each number."""
        trials: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        for _ in range(2):
            for self.stock_workers in WORKERS:
                trials[self.stock_workers].append(self.stock())
        self.stock_workers = min(WORKERS, key=lambda workers: min(trials[workers]))

    def check_weights(self) -> str:
        """Checks that all arms end with the same weights; returns the names of the arms that are bitwise equal to BARE.

        Raises:
            AssertionError: an arm ends with different weights.
        """
        for arm in (self.ours, self.bare, self.barebones, self.stock):
            arm(epochs=2)
        bits = []
        for arm, weights in self.final.items():
            for ours, theirs in zip(self.final["BARE"], weights, strict=True):
                torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4, msg=f"{arm} trains something else")
            if all(torch.equal(a, b) for a, b in zip(self.final["BARE"], weights, strict=True)):
                bits.append(arm)
        return ", ".join(bits)


def alike(threads: int) -> None:
    """Sets the number of threads, and undoes the setting that another arm made in this process."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def measured(name: str, overrides: list[str], folder: Path, repeats: int) -> dict[str, Any]:
    """Measures the seconds per epoch of each arm of a case, `repeats` times in turn."""
    case = Case(overrides, folder)
    equal = case.check_weights()  # also the warm-up
    case.choose_stock()
    seconds: dict[str, list[float]] = {arm: [] for arm in ("BARE", "OURS", "BAREBONES", "STOCK")}
    for _ in range(repeats):
        for arm, spent in zip(seconds, (*case.in_turn(), case.barebones(), case.stock()), strict=True):
            seconds[arm].append(spent)
    print(f"{name}: {seconds}", flush=True)
    return {
        "images": len(case.task.train_rows),
        "threads": case.threads,
        "stock_workers": case.stock_workers,
        "bitwise_equal_weights": equal,
        "epoch_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="number of repeats of every measurement")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="what to measure (default: all)")
    parser.add_argument("--only", default="", help="measure only cases whose name contains this (default part: epochs)")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmark"), help="folder for the tables")
    options = parser.parse_args()
    options.parts = options.parts or (("epochs",) if options.only else PARTS)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if "OMP_NUM_THREADS" in os.environ:
        parser.error("OMP_NUM_THREADS is set, which would slow some arms and not others. Unset it.")
    began = time.perf_counter()
    figures: dict[str, Any] = {"machine": machine(DEVICE), "repeats": options.repeats, "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, overrides in CASES.items():
            if "epochs" in options.parts and options.only in name:
                figures["cases"][name] = measured(name, overrides, Path(folder), options.repeats)
                write(figures, options.out)
        measures = [measure for part, measure in PROCESSES.items() if part in options.parts]
        if measures:
            case = Case(CASES["softmax, batch 256"], Path(folder))
            case.choose_stock()
            for measure in measures:
                for _ in range(options.repeats):
                    measure(case.task, case.weights, Path(folder), case.stock_workers, figures)
                    write(figures, options.out)
        for part, measure_sweep in SWEEPS.items():
            for _ in range(options.repeats if part in options.parts else 0):
                measure_sweep(Path(folder), figures)
                write(figures, options.out)
    print(markdown(figures), f"{(time.perf_counter() - began) / 60:.0f} minutes", sep="\n")


def write(figures: dict[str, Any], folder: Path) -> None:
    """Writes the figures that have been measured so far."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.json").write_text(json.dumps(figures, indent=2) + "\n")
    (folder / "benchmark.md").write_text(markdown(figures))


if __name__ == "__main__":
    main()

"""Runs one arm in this process and prints the seconds of its fit; `sweep` runs a sweep of STOCK and prints its seconds.

OURS has its own command, `src.train`.

python -m benchmarks.one bare|barebones|stock|sweep TASK.pt EPOCHS WORKERS
"""

import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from benchmarks import bare

LEARNING_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5)
BATCH_SIZES = (64, 256)


def main(arm: str, task_file: str, epochs: int, workers: int) -> float:
    saved = torch.load(task_file, weights_only=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    task, weights = bare.Task(**saved["task"]), saved["weights"]
    if arm == "bare":
        return sum(bare.train(task.to(device), weights, epochs=epochs)[0])
    from benchmarks import stock

    if arm == "barebones":
        return stock.barebones(task.to(device), weights, epochs=epochs)[0] * epochs
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if arm == "stock":
            return stock.stock(task, weights, epochs=epochs, workers=workers, folder=Path(folder))[0] * epochs
        for lr in LEARNING_RATES:
            for batch_size in BATCH_SIZES:
                job = bare.Task(**{**vars(task), "lr": lr, "batch_size": batch_size})
                stock.stock(job, weights, epochs=epochs, workers=workers, folder=Path(folder), test=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))

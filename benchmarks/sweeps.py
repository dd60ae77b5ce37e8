"""Measurements of whole sweeps: several jobs at once, and a search compared with a grid."""

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.processes import TRAIN, note, run

# Four jobs of about 20 seconds each: one after the other, or one process per core.
JOBS = ["model=mlp", "data.batch_size=64", "trainer.max_epochs=12", "seed=0,1,2,3"]
LAUNCHERS = {"sequential": [], "joblib": ["hydra/launcher=joblib"]}
GRID = ["optimizer.lr=0.003,0.01,0.03,0.1,0.3,1,3", "data.batch_size=32,64,128,256,512"]
SEARCHES = {"grid": GRID, "optuna": ["hydra/sweeper=optuna"]}


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/metrics.json"))]


def measure_launchers(folder: Path, figures: dict[str, Any]) -> None:
    """Adds one repeat of the same sweep with each launcher to the figures."""
    seconds, job_seconds = {}, {}
    for name, launcher in LAUNCHERS.items():
        seconds[name] = run([*TRAIN, "-m", *JOBS, *launcher, f"hydra.sweep.dir={folder / 'sweep'}"]).seconds
        fits = [result["train_seconds"] for result in results(folder / "sweep")]
        assert len(fits) == 4, f"{len(fits)} jobs have a result"
        job_seconds[name] = sum(fits) / len(fits)
        shutil.rmtree(folder / "sweep")
    note({"launcher_seconds": seconds, "launcher_job_seconds": job_seconds}, figures)


def measure_searches(folder: Path, figures: dict[str, Any]) -> None:
    """Adds a full grid of softmax regression on Fashion-MNIST, and a search of the same space, to the figures."""
    found: dict[str, dict[str, float]] = {"search_epochs": {}, "search_best": {}, "search_seconds": {}}
    for name, what in SEARCHES.items():
        line = [*TRAIN, "-m", "model=softmax", *what, f"hydra.sweep.dir={folder / 'search'}"]
        found["search_seconds"][name] = run(line).seconds
        done = results(folder / "search")
        found["search_epochs"][name] = sum(result["epochs"] for result in done)
        found["search_best"][name] = max(result["val/acc"] for result in done)
        shutil.rmtree(folder / "search")
    note(found, figures)

"""The files of a sweep, written without training."""

import itertools
from pathlib import Path
from typing import Any, ClassVar

from src.files import write_json
from src.sweep.plan import new_plan, write_plan


class Sweep:
    """A planned sweep, and the results of its jobs. Overrides with commas are swept."""

    RESULT: ClassVar[dict[str, Any]] = {
        **{"status": "completed", "val/acc": 0.7, "val/loss": 0.5, "test/acc": 0.8, "test/loss": 0.6, "best_epoch": 3},
        **{"epochs": 5, "train_seconds": 2.0, "data_source": "synthetic", "validation": "train split"},
        **{"git_commit": "a" * 40, "git_dirty": False},
    }

    def __init__(self, folder: Path, *overrides: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pairs = [text.split("=") for text in overrides]
        jobs = list(itertools.product(*([f"{key}={value}" for value in values.split(",")] for key, values in pairs)))
        self.folder = folder
        self.plan = new_plan(
            overrides=overrides,
            swept=[key.lstrip("+") for key, values in pairs if "," in values],
            jobs=[(list(job), {"trainer.max_epochs": 5} | dict(text.split("=") for text in job)) for job in jobs],
        )
        write_plan(self.plan, folder, launched=self.plan.jobs)

    def left(self, *results: dict[str, Any] | str | None) -> "Sweep":
        """Writes the outcome of each job: a result, the reason of its failure, or None for nothing."""
        for number, result in enumerate(results):
            self.ends(number, result)
        return self

    def ends(self, number: int, result: dict[str, Any] | str | None) -> None:
        if result is not None:
            job = self.plan.jobs[number]
            (self.folder / job.folder).mkdir(exist_ok=True)
            failed = {"status": "failed", "reason": result}
            content = failed if isinstance(result, str) else self.RESULT | result
            seed = dict(text.split("=") for text in job.overrides).get("seed", "0")
            facts = {"overrides": job.overrides, "seed": int(seed)}
            write_json(self.folder / job.folder / "metrics.json", content | facts)

"""Reads runs from disk, finished or not, to compare them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import DataError
from src.files import load_yaml
from src.metrics import METRICS
from src.run.result import CONFIG_FILE, METRICS_FILE, OVERRIDES_FILE, read_result, typed_overrides
from src.settings import NOT_RESULTS, key_of
from src.sweep.plan import PLAN_FILE, Plan, read_plan

CHOICES_FILE = ".hydra/hydra.yaml"
# The keys that metrics.json of a completed run must have.
RESULTS = (
    *(f"{split}/{name}" for split in ("val", "test") for name in (*METRICS, "loss")),
    *("best_epoch", "train_seconds"),
)


@dataclass(frozen=True)
class SavedRun:
    """A run on disk, finished or not."""

    folder: Path  # the run's folder
    overrides: dict[str, str]  # keys and values as typed
    result: dict[str, Any]  # its metrics.json; only a `status` if it has none

    @property
    def status(self) -> str:
        return str(self.result["status"])

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    def precedence(self) -> tuple[int, float]:
        """Orders runs with the same settings and seed: the longest run counts and, among equals, the newest."""
        return self.result.get("epochs", 0), (self.folder / METRICS_FILE).stat().st_mtime

    def value(self, key: str) -> str:
        """A setting as typed, else from the run's config; empty if the run has no such setting."""
        if key in self.overrides:
            return self.overrides[key]
        found: Any = load_yaml(self.folder / CONFIG_FILE)
        for name in key.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, dict) or found is None:  # a group: look up its choice
            choices = load_yaml(self.folder / CHOICES_FILE).get("hydra", {}).get("runtime", {}).get("choices", {})
            found = choices.get(key)
        return "" if found is None else str(found)


def read_runs(folder: Path) -> list[SavedRun]:
    """All runs in a folder and below, sorted by name. The folder may be a run or a sweep, or hold many of both."""
    found = {path.parent for path in folder.rglob(METRICS_FILE)}
    found |= {path.parent.parent for path in folder.rglob(OVERRIDES_FILE)}
    planned: dict[Path, list[str]] = {}
    for path in folder.rglob(PLAN_FILE):
        plan = plan_or_none(path.parent)
        planned |= {path.parent / job.folder: job.overrides for job in (plan.jobs if plan else ())}
    return [read_run(run_dir, planned.get(run_dir)) for run_dir in sorted(found | planned.keys())]


def plan_or_none(folder: Path) -> Plan | None:
    """The plan of a sweep; None if it is damaged, because the files of the jobs are enough to compare them."""
    try:
        return read_plan(folder)
    except DataError:
        return None


def read_run(run_dir: Path, overrides: Iterable[str] | None = None) -> SavedRun:
    """Reads one run; `overrides` come from the plan of its sweep, if it has one."""
    result = {"status": "unfinished"} | read_result(run_dir)
    if result["status"] == "completed" and not result.keys() >= set(RESULTS):
        result = {"status": "failed", "reason": f"{METRICS_FILE} lacks {', '.join(sorted({*RESULTS} - result.keys()))}"}
    if overrides is None:
        overrides = result.get("overrides") or typed_overrides(run_dir)
    typed = (text for text in overrides if not text.startswith("~"))
    values = {key_of(text): text.partition("=")[2] for text in typed}
    return SavedRun(run_dir, {key: value for key, value in values.items() if key not in NOT_RESULTS}, result)


def swept_keys(folders: Iterable[Path], runs: Sequence[SavedRun]) -> list[str]:
    """The keys to compare runs by: swept keys, and keys that were typed with different values."""
    keys: dict[str, None] = {}
    for folder in folders:
        for path in sorted(folder.rglob(PLAN_FILE)):
            plan = plan_or_none(path.parent)
            keys |= dict.fromkeys(plan.swept if plan else ())
    typed = dict.fromkeys(key for run in runs for key in run.overrides)
    return [*keys, *(key for key in typed if key not in keys and len({run.value(key) for run in runs}) > 1)]

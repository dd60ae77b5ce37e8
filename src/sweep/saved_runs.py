"""Reads runs from disk, finished or not, to compare them."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from src.errors import DataError
from src.files import MOST_LEVELS, printable, written
from src.run.records import METRICS_FILE, OVERRIDES_FILE, read_result, saved_choices, saved_settings, typed_overrides
from src.settings import NOT_RESULTS, key_of
from src.sweep.plan import PLAN_FILE, Plan, read_plan


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
        return self.result.get("epochs", 0), self.ended

    @property
    def ended(self) -> float:
        """When the run wrote its result, in seconds since 1970; 0 if it has not."""
        return (written(self.folder / METRICS_FILE) or 0) / 1e9

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its saved settings; empty if they cannot be read."""
        with suppress(DataError):
            return saved_settings(self.folder)
        return {}

    @cached_property
    def choices(self) -> dict[str, str]:
        return saved_choices(self.folder)

    def value(self, key: str) -> str:
        """A setting as typed, else from the run's config; empty if the run has no such setting."""
        if key in self.overrides:
            return self.overrides[key]
        found: Any = self.settings
        for name in key.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, dict) or found is None:  # a group: look up its choice
            found = self.choices.get(key)
        return "" if found is None else printable(str(found))


def read_runs(folder: Path) -> list[SavedRun]:
    """All runs in a folder and below, sorted by name. The folder may be a run or a sweep, or hold many of both."""
    name = Path(OVERRIDES_FILE).name
    found = {
        path.parent.parent if path.name == name else path.parent for path in find_files(folder, (METRICS_FILE, name))
    }
    planned: dict[Path, list[str]] = {}
    for path in find_files(folder, [PLAN_FILE]):
        plan = plan_or_none(path.parent)
        planned |= {path.parent / job.folder: job.overrides for job in (plan.jobs if plan else ())}
    return [read_run(run_dir, planned.get(run_dir)) for run_dir in sorted(found | planned.keys())]


def find_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files with these names in a folder and below, sorted. Folders that are links or unreadable are skipped."""
    wanted, found, waiting = set(names), list[Path](), [(folder, 0)]
    while waiting:
        inner, depth = waiting.pop()
        with suppress(OSError), os.scandir(inner) as entries:
            for entry in entries:
                if entry.name in wanted:
                    found.append(Path(entry))
                elif depth < MOST_LEVELS and entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry), depth + 1))
    return sorted(found)


def plan_or_none(folder: Path) -> Plan | None:
    """The plan of a sweep; None if it is damaged, because the files of the jobs are enough to compare them."""
    try:
        return read_plan(folder)
    except DataError:
        return None


def read_run(run_dir: Path, overrides: Iterable[str] | None = None) -> SavedRun:
    """Reads one run; `overrides` come from the plan of its sweep, if it has one."""
    result = {"status": "unfinished"} | read_result(run_dir)
    if overrides is None:
        overrides = result.get("overrides") or typed_overrides(run_dir)
    typed = (text for text in overrides if not text.startswith("~"))
    values = {key_of(text): text.partition("=")[2] for text in typed}
    return SavedRun(run_dir, {key: value for key, value in values.items() if key not in NOT_RESULTS}, result)


def swept_keys(folders: Iterable[Path], runs: Sequence[SavedRun]) -> list[str]:
    """The keys to compare runs by: swept keys, and keys that were typed with different values."""
    keys: dict[str, None] = {}
    for folder in folders:
        for path in find_files(folder, [PLAN_FILE]):
            plan = plan_or_none(path.parent)
            keys |= dict.fromkeys(plan.swept if plan else ())
    typed = dict.fromkeys(key for run in runs for key in run.overrides)
    return [*keys, *(key for key in typed if key not in keys and len({run.value(key) for run in runs}) > 1)]

"""The leaderboard: runs compared by what they have left on disk, read anew each time."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from src.errors import DataError
from src.files import load_yaml, write_text
from src.run import METRICS_FILE, read_result
from src.settings import NOT_RESULTS, key_of
from src.sweep.plan import PLAN_FILE, Plan, read_plan
from src.tables import as_markdown

RESULTS = ("val/acc", "val/loss", "test/acc", "test/loss", "best_epoch", "train_seconds")
HIGHEST_FIRST = {"val/acc", "test/acc"}
PROTOCOL = {"git_commit": "git commits", "data_source": "data sources", "validation": "validation protocols"}
OVERRIDES_FILE = ".hydra/overrides.yaml"


@dataclass(frozen=True)
class Run:
    """One run, finished or not.

    Attributes:
        folder: where it is.
        overrides: keys and values, as typed.
        result: its metrics.json; nothing but a `status` where there is none.
    """

    folder: Path
    overrides: dict[str, str]
    result: dict[str, Any]

    @property
    def status(self) -> str:
        return str(self.result["status"])

    @property
    def completed(self) -> bool:
        return self.status == "completed"

    def counts(self) -> tuple[int, float]:
        """The higher, the more it counts among runs of the same settings and seed: by its epochs, then its age."""
        return self.result.get("epochs", 0), (self.folder / METRICS_FILE).stat().st_mtime

    def value(self, key: str) -> str:
        """Of a setting: as typed, else from the run's config; empty where the run has no such setting."""
        if key in self.overrides:
            return self.overrides[key]
        hydra = self.folder / ".hydra"
        found: Any = load_yaml(hydra / "config.yaml")
        for name in key.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if isinstance(found, dict) or found is None:  # a group, or a group's choice
            choices = load_yaml(hydra / "hydra.yaml").get("hydra", {}).get("runtime", {}).get("choices", {})
            found = choices.get(key, found if not isinstance(found, dict) else None)
        return "" if found is None else str(found)


def read_runs(folder: Path) -> list[Run]:
    """Every run in a folder and below, be it one run, a sweep, or many of both; in the order of their names."""
    found = {path.parent for path in folder.rglob(METRICS_FILE)}
    found |= {path.parent.parent for path in folder.rglob(OVERRIDES_FILE)}
    planned: dict[Path, list[str]] = {}
    for path in folder.rglob(PLAN_FILE):
        plan = plan_or_none(path.parent)
        planned |= {path.parent / job.folder: job.overrides for job in (plan.jobs if plan else ())}
    return [read_run(run_dir, planned.get(run_dir)) for run_dir in sorted(found | planned.keys())]


def plan_or_none(folder: Path) -> Plan | None:
    """A sweep whose plan is damaged is compared by what its jobs have left."""
    try:
        return read_plan(folder)
    except DataError:
        return None


def read_run(run_dir: Path, overrides: Iterable[str] | None = None) -> Run:
    result = {"status": "unfinished"} | read_result(run_dir)
    if result["status"] == "completed" and not result.keys() >= set(RESULTS):
        result = {"status": "failed", "reason": f"{METRICS_FILE} lacks {', '.join(sorted({*RESULTS} - result.keys()))}"}
    if overrides is None:
        overrides = result.get("overrides") or load_yaml(run_dir / OVERRIDES_FILE) or []
    typed = (text for text in overrides if not text.startswith("~"))
    values = {key_of(text): text.partition("=")[2] for text in typed}
    return Run(run_dir, {key: value for key, value in values.items() if key not in NOT_RESULTS}, result)


def swept_keys(folders: Iterable[Path], runs: Sequence[Run]) -> list[str]:
    """The keys to compare runs by: those that sweeps were over, and those that were typed with different values."""
    keys: dict[str, None] = {}
    for folder in folders:
        for path in sorted(folder.rglob(PLAN_FILE)):
            plan = plan_or_none(path.parent)
            keys |= dict.fromkeys(plan.swept if plan else ())
    typed = dict.fromkeys(key for run in runs for key in run.overrides)
    return [*keys, *(key for key in typed if key not in keys and len({run.value(key) for run in runs}) > 1)]


@dataclass(frozen=True)
class Entry:
    """A line of the leaderboard: the completed runs that differ in their seed alone, or one run without a result.

    Attributes:
        values: those of the swept keys but the seed.
        runs: one or more.
    """

    values: dict[str, str]
    runs: list[Run]

    @property
    def completed(self) -> bool:
        return self.runs[0].completed

    @property
    def best(self) -> Run:
        return max(self.runs, key=lambda run: run.result.get("val/acc", 0.0))

    def mean(self, name: str) -> float:
        return float(mean(run.result[name] for run in self.runs))

    def cell(self, name: str) -> str:
        """A result as it is shown: of several runs the mean, with the standard deviation of an accuracy or a loss."""
        values = [run.result[name] for run in self.runs]
        if name == "best_epoch":
            least, most = min(values), max(values)
            return f"{least}" if least == most else f"{least}-{most}"
        if name == "train_seconds":
            return f"{mean(values):.1f}"
        return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f} ({len(values)})" if len(values) > 1 else "")


@dataclass(frozen=True)
class Leaderboard:
    """Runs compared.

    Attributes:
        keys: that they are compared by.
        entries: the best first; those without a result last.
        runs: a run each, in the order of their folders.
        repeated: how many runs have the settings and the seed of another one, which counts instead: that with the most
            epochs (a search ends some early), and among those the newest.
    """

    keys: list[str]
    entries: list[Entry]
    runs: list[Run]
    repeated: int = 0

    @property
    def completed(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.completed]


def leaderboard(folders: Sequence[Path], *, sort: str = "val/acc") -> Leaderboard:
    """The leaderboard of all runs in some folders.

    Args:
        folders: of runs and sweeps.
        sort: a result or a key; accuracies are sorted with the highest first, others with the lowest.
    """
    runs = list({run.folder.resolve(): run for folder in folders for run in read_runs(folder)}.values())
    keys = swept_keys(folders, runs)
    groups: dict[Any, Entry] = {}
    spelled: dict[tuple[str, Any], str] = {}  # 0.1 and 1e-1 are one value
    repeated = 0
    for run in runs:
        found = {key: run.value(key) for key in keys if key != "seed"}
        values = {key: spelled.setdefault((key, number_or_text(text)), text) for key, text in found.items()}
        group = tuple(values.values()) if run.completed else run.folder
        entry = groups.setdefault(group, Entry(values, []))
        same = [other for other in entry.runs if other.result.get("seed") == run.result.get("seed")]
        repeated += len(same)
        entry.runs[:] = [
            *(other for other in entry.runs if other not in same),
            max([*same, run], key=Run.counts) if same else run,
        ]
    completed = sorted((entry for entry in groups.values() if entry.completed), key=lambda entry: rank(entry, sort))
    without = [entry for entry in groups.values() if not entry.completed]
    return Leaderboard(keys, [*completed, *without], runs, repeated)


def rank(entry: Entry, sort: str) -> tuple[Any, ...]:
    if sort in RESULTS:
        value = entry.mean(sort)
        return (-value if sort in HIGHEST_FIRST else value, entry.mean("val/loss"))
    text = entry.values.get(sort, "")
    number = as_number(text)
    return (number is None, number or 0.0, text)


def number_or_text(text: str) -> float | str:
    number = as_number(text)
    return text if number is None else number


def as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def table(board: Leaderboard, base: Path) -> list[list[str]]:
    """Head and lines of the leaderboard; folders are given from `base`, that of the best seed for several."""
    shown = [key for key in board.keys if key != "seed"]
    failed = any(not entry.completed for entry in board.entries)
    head = [*shown, "val acc", "test acc", "best epoch", "seconds", "folder", *(["reason"] if failed else [])]
    lines = []
    for entry in board.entries:
        values = [entry.values[key] for key in shown]
        folder = relative(entry.best.folder, base)
        if entry.completed:
            cells = [entry.cell(name) for name in ("val/acc", "test/acc", "best_epoch", "train_seconds")]
            lines.append([*values, *cells, folder, *([""] if failed else [])])
        else:
            lines.append([*values, entry.runs[0].status, "", "", "", folder, entry.runs[0].result.get("reason", "")])
    return [head, *lines]


def relative(folder: Path, base: Path) -> str:
    return str(folder.relative_to(base)) if folder.is_relative_to(base) else str(folder)


def as_csv(board: Leaderboard, base: Path, *, ranked: bool = False) -> str:
    """A line a run, seeds and all, in the order of their folders or of the leaderboard."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*board.keys, *RESULTS, "status", "folder"])
    place = {run.folder: number for number, entry in enumerate(board.entries) for run in entry.runs}
    runs = sorted(board.runs, key=lambda run: place.get(run.folder, len(place))) if ranked else board.runs
    for run in runs:
        results = [run.result.get(name, "") for name in RESULTS]
        writer.writerow([*(run.value(key) for key in board.keys), *results, run.status, relative(run.folder, base)])
    return file.getvalue()


def warnings(board: Leaderboard) -> list[str]:
    """What the completed runs do not have in common, though only then they can be compared."""
    runs = [run for run in board.runs if run.completed]
    found = []
    for key, plural in PROTOCOL.items():
        values = {run.result.get(key) for run in runs}
        if (
            key == "data_source"
            and len(values) > 1
            and len({(run.value("data"), run.result[key]) for run in runs}) == len({run.value("data") for run in runs})
        ):
            continue  # other data, not other sources of the same
        if len(values) > 1:
            found.append(f"these runs mix {len(values)} {plural}: {', '.join(sorted(map(named, values)))}")
    if board.repeated:
        found.append(f"{board.repeated} runs have the settings and the seed of a longer or newer one, which counts")
    if any(run.result.get("git_dirty") for run in runs) and not all(run.result.get("git_dirty") for run in runs):
        found.append("some of these runs were made with uncommitted changes, some without")
    return found


def named(value: Any) -> str:
    text = str(value or "none")
    return text[:8] if len(text) == 40 and text.isalnum() else text


def write_leaderboard(folder: Path) -> Leaderboard:
    """Writes results.csv and results.md of a sweep's folder from the files of its jobs."""
    board = leaderboard([folder])
    write_text(folder / "results.csv", as_csv(board, folder))
    lines = [as_markdown(table(board, folder)), *(f"\nWarning: {text}." for text in warnings(board))]
    write_text(folder / "results.md", "\n".join(lines) + "\n")
    return board

"""The leaderboard: runs ranked by their results, which are read from disk every time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from src import tables
from src.files import write_text
from src.metrics import METRICS, MONITOR
from src.run.records import RESULTS
from src.sweep.saved_runs import SavedRun, read_runs, swept_keys

HIGHEST_FIRST = {f"{split}/{name}" for split in ("val", "test") for name in METRICS if METRICS[name].highest_is_best}
# The result columns of the table; each is a number in metrics.json.
SHOWN = (*(f"{split}/{name}" for name in METRICS for split in ("val", "test")), "best_epoch", "train_seconds")
COLUMNS = tuple(dict.fromkeys((*RESULTS, *SHOWN)))  # of results.csv
HEADINGS = {"best_epoch": "best epoch", "train_seconds": "seconds"}
PROTOCOL = {"git_commit": "git commits", "data_source": "data sources", "validation": "validation protocols"}


@dataclass(frozen=True)
class Entry:
    """A line of the leaderboard: completed runs that differ only in their seed, or one run without a result."""

    values: dict[str, str]  # the values of the swept keys, without the seed
    runs: list[SavedRun]  # one or more

    @property
    def completed(self) -> bool:
        return self.runs[0].completed

    @property
    def best(self) -> SavedRun:
        return max(self.runs, key=lambda run: run.result.get(MONITOR, 0.0))

    def mean(self, name: str) -> float:
        return float(mean(run.result[name] for run in self.runs))

    def cell(self, name: str) -> str:
        """A result as text: the mean over the runs; metrics and losses also have the standard deviation."""
        values = [run.result[name] for run in self.runs if name in run.result]
        if not values:  # older runs may lack a column
            return ""
        if name == "best_epoch":
            least, most = min(values), max(values)
            return f"{least}" if least == most else f"{least}-{most}"
        if name == "train_seconds":
            return f"{mean(values):.1f}"
        return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f} ({len(values)})" if len(values) > 1 else "")


@dataclass(frozen=True)
class Leaderboard:
    """Runs, ranked and compared."""

    keys: list[str]  # the keys they are compared by
    entries: list[Entry]  # the best first; runs without a result last
    runs: list[SavedRun]  # all runs, in the order of their folders
    repeated: int = 0  # number of runs left out, because a longer or newer run has the same settings and seed

    @property
    def completed(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.completed]


def leaderboard(folders: Sequence[Path], *, sort: str = MONITOR) -> Leaderboard:
    """The leaderboard of all runs in some folders, sorted by a result or a key.

    Results for which higher is better are sorted highest first; other results and keys are sorted lowest first.
    """
    runs = list({run.folder.resolve(): run for folder in folders for run in read_runs(folder)}.values())
    keys = swept_keys(folders, runs)
    values_of: dict[Any, dict[str, str]] = {}
    by_seed: dict[Any, dict[Any, list[SavedRun]]] = {}
    spelled: dict[tuple[str, Any], str] = {}  # 0.1 and 1e-1 are the same value
    for run in runs:
        found = {key: run.value(key) for key in keys if key != "seed"}
        numbers = {key: as_number(text) for key, text in found.items()}
        values = {
            key: spelled.setdefault((key, text if numbers[key] is None else numbers[key]), text)
            for key, text in found.items()
        }
        group = tuple(values.values()) if run.completed else run.folder
        values_of.setdefault(group, values)
        by_seed.setdefault(group, {}).setdefault(run.result.get("seed"), []).append(run)
    entries = [
        Entry(
            values_of[group], [max(same, key=SavedRun.precedence) if same[1:] else same[0] for same in seeds.values()]
        )
        for group, seeds in by_seed.items()
    ]
    completed = sorted((entry for entry in entries if entry.completed), key=lambda entry: rank(entry, sort))
    without = [entry for entry in entries if not entry.completed]
    return Leaderboard(keys, [*completed, *without], runs, len(runs) - sum(len(entry.runs) for entry in entries))


def rank(entry: Entry, sort: str) -> tuple[Any, ...]:
    if sort in COLUMNS:
        known = all(sort in run.result for run in entry.runs)
        value = entry.mean(sort) if known else 0.0
        return (not known, -value if sort in HIGHEST_FIRST else value, entry.mean("val/loss"))
    text = entry.values.get(sort, "")
    number = as_number(text)
    return (number is None, number or 0.0, text)


def as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def table(board: Leaderboard, base: Path) -> list[list[str]]:
    """Header and lines of the leaderboard. Folders are relative to `base`; with several seeds, the best run's."""
    keys = [key for key in board.keys if key != "seed"]
    some_failed = any(not entry.completed for entry in board.entries)
    headings = [HEADINGS.get(name, name.replace("/", " ")) for name in SHOWN]
    head = [*keys, *headings, "folder", *(["reason"] if some_failed else [])]
    lines = []
    for entry in board.entries:
        cells = (
            [entry.cell(name) for name in SHOWN] if entry.completed else [entry.runs[0].status, *[""] * len(SHOWN[1:])]
        )
        reason = [entry.runs[0].result.get("reason", "")] if some_failed else []
        lines.append([*(entry.values[key] for key in keys), *cells, relative(entry.best.folder, base), *reason])
    return [head, *lines]


def relative(folder: Path, base: Path) -> str:
    return str(folder.relative_to(base)) if folder.is_relative_to(base) else str(folder)


def as_csv(board: Leaderboard, base: Path, *, ranked: bool = False) -> str:
    """All runs as CSV, one line each, in the order of their folders; if `ranked`, of the leaderboard."""
    lines = [[*board.keys, *COLUMNS, "status", "folder"]]
    place = {run.folder: number for number, entry in enumerate(board.entries) for run in entry.runs}
    runs = sorted(board.runs, key=lambda run: place.get(run.folder, len(place))) if ranked else board.runs
    for run in runs:
        results = [run.result.get(name, "") for name in COLUMNS]
        lines.append([*(run.value(key) for key in board.keys), *results, run.status, relative(run.folder, base)])
    return tables.as_csv(lines)


def warnings(board: Leaderboard) -> list[str]:
    """The reasons why the completed runs cannot be compared as they are."""
    runs = [run for run in board.runs if run.completed]
    found = []
    for key, plural in PROTOCOL.items():
        values = {run.result.get(key) for run in runs}
        if len(values) > 1 and not (key == "data_source" and one_source_for_each_data_set(runs)):
            found.append(f"these runs mix {len(values)} {plural}: {', '.join(sorted(map(named, values)))}")
    if board.repeated:
        found.append(f"{board.repeated} runs are left out: a longer or newer run has the same settings and seed")
    if any(run.result.get("git_dirty") for run in runs) and not all(run.result.get("git_dirty") for run in runs):
        found.append("some of these runs were made with uncommitted changes, some without")
    return found


def one_source_for_each_data_set(runs: Sequence[SavedRun]) -> bool:
    pairs = {(run.value("data"), run.result["data_source"]) for run in runs}
    return len(pairs) == len({data for data, _ in pairs})


def named(value: Any) -> str:
    text = str(value or "none")
    return text[:8] if len(text) == 40 and text.isalnum() else text


def write_leaderboard(folder: Path) -> Leaderboard:
    """Writes results.csv and results.md into a sweep's folder from the files of its jobs."""
    board = leaderboard([folder])
    write_text(folder / "results.csv", as_csv(board, folder))
    lines = [tables.as_markdown(table(board, folder)), *(f"\nWarning: {text}." for text in warnings(board))]
    write_text(folder / "results.md", "\n".join(lines) + "\n")
    return board

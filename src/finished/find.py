"""Which finished run a word means: `latest`, `best`, or a folder."""

from collections.abc import Sequence
from pathlib import Path

from src.errors import BadInput, DataError
from src.files import typeable
from src.metrics import MONITOR
from src.run.records import CONFIG_FILE
from src.sweep.leaderboard import leaderboard
from src.sweep.plan import PLAN_FILE
from src.sweep.saved_runs import SavedRun, read_runs

OUTPUTS = Path("outputs")


def find(word: str, *, data: str | None = None) -> Path:
    """The folder of the run that a word means.

    Args:
        word: `latest`, the newest completed run in outputs/; `best`, the one with the highest validation accuracy; or
            the folder of a run, or of a sweep for its best job.
        data: for `best`, the data set; None if all runs have the same.

    Raises:
        BadInput: the word is none of these, or there are runs of several data sets.
        DataError: there is no such run.
    """
    folder = Path(word).expanduser()
    if word in ("latest", "best"):
        completed = [run for run in read_runs(OUTPUTS) if run.completed]
        if not completed:
            raise DataError(f"run={word}: there is no completed run in {OUTPUTS}/. Train one: python -m src.train")
        newest = max(completed, key=lambda run: run.ended)
        return best_of(completed, data) if word == "best" else newest.folder
    if (folder / PLAN_FILE).is_file():
        return best_job(folder)
    if not (folder / CONFIG_FILE).is_file():
        what = "holds no run" if folder.is_dir() else "is not a folder"
        raise BadInput(f"run must be latest, best or the folder of a run or sweep, but {word} {what}. Try run=latest.")
    return folder


def best_of(completed: Sequence[SavedRun], data: str | None) -> Path:
    by_data: dict[str, list[SavedRun]] = {}
    for run in completed:
        # Generated images are easy to learn, so they do not compete with real ones.
        generated = run.result.get("data_source") == "synthetic"
        by_data.setdefault("synthetic" if generated else run.value("data"), []).append(run)
    names = ", ".join(sorted(by_data))
    if data is None and len(by_data) > 1:
        raise BadInput(f"run=best needs a data set: {OUTPUTS}/ has runs of {names}. Add data={min(by_data)}.")
    if data is not None and data not in by_data:
        raise DataError(f"run=best: {OUTPUTS}/ has no completed run of data={data}, only of {names}.")
    return max(by_data[data or names], key=lambda run: run.result[MONITOR]).folder


def best_job(sweep_dir: Path) -> Path:
    """The job at the top of a sweep's leaderboard; with several seeds, the best of them."""
    completed = leaderboard([sweep_dir]).completed
    if not completed:
        raise BadInput(f"no job of the sweep in {typeable(sweep_dir)} is completed yet. Resume it with resume=auto.")
    return completed[0].best.folder

"""Evaluates a finished run on a split, and draws its figures."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.errors import LabError
from src.files import typeable
from src.finished.reopen import FinishedRun, Rebuilt, opened, rebuilt
from src.metrics import METRICS
from src.run import logs
from src.run.records import FIGURES
from src.sweep.leaderboard import leaderboard

if TYPE_CHECKING:
    from src.finished.evaluation import Evaluation


def evaluated(run: FinishedRun, split: str) -> tuple["Evaluation", Rebuilt]:
    """Evaluates a split, `val` or `test`, as in training, with the weights of the best checkpoint."""
    from src.finished.evaluation import Evaluation, KeepScores

    keep = KeepScores()
    parts = rebuilt(run, keep)
    measure: Callable[..., Any] = parts.trainer.validate if split == "val" else parts.trainer.test
    measure(parts.task, parts.data, verbose=False)
    reported = {name: parts.trainer.callback_metrics[f"{split}/{name}"].item() for name in ("loss", *METRICS)}
    data = parts.data
    return Evaluation(split, data.splits[split], data.class_names, keep.scores(), reported), parts


def draw_figures(folder: Path) -> bool:
    """Draws a run's figures into its folder and its event file, unless they exist; returns whether they exist.

    Errors are only printed, because the run itself is complete.
    """
    from src.finished.gallery import draw_gallery
    from src.run.event_file import append_pictures

    if (folder / FIGURES).exists():
        return True
    try:
        run = opened(folder)
        evaluation, parts = evaluated(run, "test")
        files = draw_gallery(folder / FIGURES, evaluation, parts, run)
        append_pictures(files, folder, epoch=run.result.get("epochs", 0))
    except Exception as error:
        reason = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
        print(f"warning: the figures were not drawn: {reason}", file=sys.stderr)
        logs.details.info("why the figures were not drawn:", exc_info=error)
        return False
    return True


def draw_figures_of_best(sweep_dir: Path) -> None:
    """Draws the figures of a sweep's best job, if its `figures` setting asks for them."""
    entries = leaderboard([sweep_dir]).completed
    if entries and entries[0].best.settings.get("figures"):
        folder = entries[0].best.folder
        if draw_figures(folder):
            print(f"  figures      {typeable(folder / FIGURES)}")

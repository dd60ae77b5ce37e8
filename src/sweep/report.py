"""The report of a sweep: its leaderboard and grid, in its folder and on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from src.files import typeable
from src.sweep.grid import Grid, advice, grid_of, grid_text
from src.sweep.grid_figure import draw
from src.sweep.leaderboard import Leaderboard, table, warnings, write_leaderboard
from src.sweep.plan import read_plan
from src.tables import as_text


def rebuild(folder: Path) -> tuple[Leaderboard, Grid | None]:
    """Writes results.csv, results.md and, if there is a grid, grid.png into a sweep's folder."""
    board, plan = write_leaderboard(folder), read_plan(folder)
    grid = grid_of(board) if plan and not plan.space else None  # the trials of a search do not form a grid
    if grid:
        draw(grid, folder / "grid.png")
    return board, grid


def report_sweep(folder: Path, launched_by: Sequence[str] = ()) -> None:
    """Rebuilds and prints a sweep's tables, and prints a next command with Hydra's overrides in `launched_by`."""
    (board, grid), plan = rebuild(folder), read_plan(folder)
    completed = sum(run.completed for run in board.runs)
    print(f"\n{as_text(table(board, folder))}\n")
    if grid:
        print(f"{grid_text(grid)}\n")
    for text in warnings(board):
        print(f"warning: {text}")
    print(f"{completed} of {len(board.runs)} jobs completed in {typeable(folder)}")
    ended = all(run.status in ("completed", "failed") for run in board.runs)
    for line in advice(board, plan, launched_by) if plan and ended else ():
        print(line)
    print(f"  tensorboard  tensorboard --logdir {typeable(folder)}")

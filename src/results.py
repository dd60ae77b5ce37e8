"""The leaderboard of any folders of runs and sweeps, rebuilt from their files.

python -m src.results outputs/sweeps
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from src.errors import BadInput, DataError, LabError
from src.sweep.grid import grid_of, grid_text
from src.sweep.leaderboard import RESULTS, Leaderboard, as_csv, leaderboard, table, warnings
from src.sweep.plan import PLAN_FILE
from src.sweep.report import rebuild
from src.tables import as_markdown, as_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the leaderboard; that of a sweep is also written to its folder anew. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m src.results", description=main.__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("outputs")], metavar="DIR", help="(outputs)")
    parser.add_argument("--sort", default="val/acc", metavar="KEY", help="a result or a setting (val/acc)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="a line a run, with commas")
    form.add_argument("--md", action="store_true", help="a Markdown table")
    options = parser.parse_args(arguments)
    try:
        board = compared(options.folders, sort=options.sort)
        for folder in options.folders:
            if (folder / PLAN_FILE).exists():
                rebuild(folder)
    except OSError as error:
        print(f"warning: the tables in the sweep's folder are left as they are: {error}", file=sys.stderr)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    base = options.folders[0] if len(options.folders) == 1 else Path()
    if options.csv:
        print(as_csv(board, base, ranked=True), end="")
    elif options.md:
        print(as_markdown(table(board, base)))
    else:
        print(as_text(table(board, base)))
        if (grid := grid_of(board)) is not None:
            print(f"\n{grid_text(grid)}")
    for text in warnings(board):
        print(f"warning: {text}", file=sys.stderr)
    return 0


def compared(folders: Sequence[Path], *, sort: str) -> Leaderboard:
    """The leaderboard, if there is one.

    Raises:
        BadInput: there is nothing to sort by.
        DataError: no run is there.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder. Try python -m src.results outputs.")
    board = leaderboard(folders, sort=sort)
    if not board.runs:
        raise DataError(f"no run is in {', '.join(map(str, folders))}. Try python -m src.results outputs.")
    if sort not in (*RESULTS, *board.keys):
        choices = ", ".join([*RESULTS, *board.keys])
        raise BadInput(f"--sort must be one of {choices}, got {sort!r}. Try --sort test/acc.")
    return board


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` may end first
    sys.exit(main())

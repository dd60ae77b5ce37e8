"""Prints the leaderboard of the runs in some folders, and rewrites the tables of each DIR that is a sweep.

  DIR ...       folders of runs and sweeps (outputs)
  --sort KEY    sort by a result or a compared setting (val/acc)
  --csv         print CSV, with one line per run
  --md          print a Markdown table

python -m src.results outputs/sweeps
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from src.command.frame import framed
from src.errors import BadInput, DataError
from src.metrics import MONITOR
from src.sweep.grid import grid_of, grid_text
from src.sweep.leaderboard import COLUMNS, Leaderboard, as_csv, leaderboard, table, warnings
from src.sweep.plan import PLAN_FILE
from src.sweep.report import rebuild
from src.tables import as_markdown, as_text


def compare(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m src.results", add_help=False)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("outputs")], metavar="DIR")
    parser.add_argument("--sort", default=MONITOR, metavar="KEY")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true")
    form.add_argument("--md", action="store_true")
    options = parser.parse_args(arguments)
    board = compared(options.folders, sort=options.sort)
    try:
        for folder in options.folders:
            if (folder / PLAN_FILE).exists():
                rebuild(folder)
    except OSError as error:
        print(f"warning: the tables in the sweep's folder could not be rewritten: {error}", file=sys.stderr)
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
    """The leaderboard of the runs in some folders, sorted by a result or a setting."""
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder. Try python -m src.results outputs.")
    board = leaderboard(folders, sort=sort)
    if not board.runs:
        raise DataError(f"there are no runs in {', '.join(map(str, folders))}. Try python -m src.results outputs.")
    if sort not in (*COLUMNS, *board.keys):
        choices = ", ".join([*COLUMNS, *board.keys])
        raise BadInput(f"--sort must be one of {choices}, got {sort!r}. Try --sort test/acc.")
    return board


main = partial(framed, compare, usage=__doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

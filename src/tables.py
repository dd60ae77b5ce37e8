"""Tables as text: aligned for a terminal, in Markdown, or as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from src.files import printable


def as_text(lines: Sequence[Sequence[str]]) -> str:
    """A table with its columns aligned."""
    lines = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first line is its header."""
    head, *rest = [[printable(cell.replace("\n", " ")).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rest])


def as_csv(lines: Iterable[Sequence[Any]]) -> str:
    """A table as CSV (RFC 4180, but with plain newlines)."""
    file = io.StringIO()
    cells = ([printable(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
    csv.writer(file, lineterminator="\n").writerows(cells)
    return file.getvalue()

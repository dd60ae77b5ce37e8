"""The frame of every command: handles signals and closed pipes, prints errors, and returns the exit code."""

import io
import os
import sys
from collections.abc import Callable, Sequence

from src.command.processes import end_with_reader, stop_on_signals
from src.errors import NOBODY_READS, LabError, as_known
from src.files import printable


def framed(work: Callable[[Sequence[str]], int], words: Sequence[str], *, usage: str | None) -> int:
    """Runs a command with its arguments; returns the exit code. `--help` prints `usage`."""
    stop_on_signals()
    end_with_reader()
    ready_output()
    if {"-h", "--help"} & set(words):
        print(usage)
        return 0
    return reported(lambda: work(words))


def ready_output() -> None:
    """Makes stdout and stderr accept every text.

    Output to a closed stream is discarded. Characters that the encoding lacks, such as `±` in ASCII, are escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def reported(work: Callable[[], int]) -> int:
    """Does the work and returns its exit code; known errors are printed in one or two lines."""
    try:
        return work()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout when it exits
        return NOBODY_READS
    except Exception as error:
        if (known := as_known(error)) is None:
            raise
        return report_error(known)


def report_error(error: LabError) -> int:
    """Prints an error; returns its exit code."""
    print("\n".join(map(printable, f"error: {error}".split("\n"))), file=sys.stderr)
    return error.exit_code

"""Errors that are reported without a traceback, their exit codes, and suggestions for mistyped words."""

import difflib
import errno
from collections.abc import Iterable

SWEEP_HAD_FAILURES = 5
NOBODY_READS = 128 + 13  # the exit code of a process killed by SIGPIPE


class Stopped(SystemExit):
    """Raised on Ctrl-C or SIGTERM. The exit code is 128 plus the signal's number."""


class LabError(Exception):
    """A failure that is reported in one or two plain lines, without a traceback."""

    exit_code = 1


class BadInput(LabError):
    """An override or a config is invalid. Almost all of these errors are found before any data is loaded."""

    exit_code = 2


class DataError(LabError):
    """Data or a checkpoint is missing or damaged."""

    exit_code = 3


class Diverged(LabError):
    """A loss or metric is no longer finite."""

    exit_code = 4


class CannotWrite(LabError):
    """A file cannot be written, because the disk is full or the folder is not writable."""

    exit_code = 74


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


def as_known(error: BaseException) -> LabError | None:
    """The error to report: `error` itself, its cause (Hydra wraps exceptions) or a failed write; None if unexpected."""
    if isinstance(error, LabError):
        return error
    if isinstance(error, OSError) and error.errno in NO_ROOM | NOT_ALLOWED:
        what = error.filename or "a file"
        return CannotWrite(f"could not write {what}: {error.strerror}. Make room, or set hydra.run.dir.")
    return as_known(error.__cause__) if error.__cause__ else None


def did_you_mean(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """` Did you mean ...?` with the most similar known word; empty if none is similar."""
    similar = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {prefix}{similar[0]}?" if similar else ""

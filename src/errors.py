"""What can go wrong, the exit code of each, and the nearest known word for a mistyped one."""

import difflib
import errno
from collections.abc import Iterable

SWEEP_HAD_FAILURES = 5
NOBODY_READS = 128 + 13  # the code of a process that SIGPIPE has ended


class Stopped(SystemExit):
    """Ctrl-C or SIGTERM: its code, 128 plus the signal's number, is the exit code."""


class LabError(Exception):
    """A failure that is reported in one or two plain lines, without a traceback."""

    exit_code = 1


class BadInput(LabError):
    """Something typed or configured cannot be right. Found before any data is loaded."""

    exit_code = 2


class DataError(LabError):
    """Data or a checkpoint is missing or damaged."""

    exit_code = 3


class Diverged(LabError):
    """The loss is no longer a finite number."""

    exit_code = 4


class CannotWrite(LabError):
    """The disk is full, or the output folder has become read-only."""

    exit_code = 74


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


def as_known(error: BaseException) -> LabError | None:
    """The failure that can be reported in a line: `error` itself, its cause, or a failed write.

    Hydra wraps the errors of constructors, which are then the cause of its own.
    """
    if isinstance(error, LabError):
        return error
    if isinstance(error, OSError) and error.errno in NO_ROOM | NOT_ALLOWED:
        what = error.filename or "a file"
        return CannotWrite(f"could not write {what}: {error.strerror}. Make room, or set hydra.run.dir.")
    return as_known(error.__cause__) if error.__cause__ else None


def did_you_mean(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """` Did you mean ...?` with the most similar known word, or an empty text."""
    similar = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {prefix}{similar[0]}?" if similar else ""

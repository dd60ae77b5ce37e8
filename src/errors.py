"""Errors that are reported without a traceback, their exit codes, and suggestions for mistyped words."""

import difflib
import errno
from collections.abc import Iterable
from typing import Any

SWEEP_HAD_FAILURES = 5
MOST_LETTERS = 300  # of a value in a message
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
    """A file cannot be written, or there is no memory: the disk is full, the folder not writable, or a limit is set."""

    exit_code = 74


MISSING = {errno.ENOENT, errno.ENOTDIR}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def as_known(error: BaseException) -> LabError | None:
    """The error to report: `error` itself, its cause (Hydra wraps exceptions) or a file's; None if unexpected."""
    if isinstance(error, LabError):
        return error
    if isinstance(error, MemoryError) or "failed to map segment" in str(error):  # the latter while torch is imported
        return CannotWrite("this machine has too little memory, or a limit is set (see ulimit -v).")
    if isinstance(error, OSError) and error.errno:
        what = error.filename or "a file"
        if error.errno == errno.ENAMETOOLONG:
            return BadInput(f"the name {shortened(str(what))} is too long. Type a shorter one.")
        if error.errno in MISSING:
            return DataError(f"{what} is missing ({error.strerror}). It may have been moved while it was in use.")
        return CannotWrite(f"could not write {what}: {error.strerror}. Make room, or set hydra.run.dir.")
    return as_known(error.__cause__) if error.__cause__ else None


def must_be(key: str, rule: str, value: Any, *, example: str) -> BadInput:
    """The error for a setting that breaks a rule."""
    return BadInput(f"{key} must be {rule}, got {shortened(repr(value))}. Try {key}={example}.")


def shortened(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."


def did_you_mean(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """` Did you mean ...?` with the most similar known word; empty if none is similar."""
    similar = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {prefix}{similar[0]}?" if similar else ""

"""What can go wrong for a user, and the exit code each is reported with."""


class Stopped(SystemExit):
    """Ctrl-C or SIGTERM; its code is the exit code."""


class LabError(Exception):
    """A failure told in one or two plain lines, without a traceback."""

    exit_code = 1


class BadInput(LabError):
    """Something typed or configured cannot be right; known before any data is loaded."""

    exit_code = 2


class DataError(LabError):
    """Data or a checkpoint is missing or damaged."""

    exit_code = 3


class Diverged(LabError):
    """The loss is no longer a finite number."""

    exit_code = 4


class CannotWrite(LabError):
    """The disk is full or the output folder has become read-only."""

    exit_code = 74

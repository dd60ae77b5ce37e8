"""One process at a time: the others wait, and say for what."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path, work: str) -> Iterator[None]:
    """Holds a lock on `path`, which the operating system takes from a process that is killed.

    Args:
        path: a file to lock; it is made if need be, and stays.
        work: what is done under the lock, for the line that a waiting process prints.

    Raises:
        OSError: the file cannot be made.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("waiting for another process, which is %s", work)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

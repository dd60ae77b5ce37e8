"""Files: atomic writes, locks, JSON and YAML, and paths quoted for the shell."""

import json
import logging
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from src.errors import CannotWrite

log = logging.getLogger(__name__)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path. A file or folder that the block writes there replaces `path` when the block ends.

    If the block fails, `path` is unchanged. A killed process leaves a `.part` behind, never half a file.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    remove(part)
    try:
        yield part
        if path.is_dir():
            remove(path)  # a folder cannot be replaced in one step
        part.replace(path)
    finally:
        remove(part)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Creates the folder of `path`, and turns an OSError of the block into a CannotWrite that names `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise CannotWrite(f"could not write {path}: {error.strerror}. Make room there, or make it writable.") from error


def write_text(path: Path, content: str) -> None:
    with whole(path) as part:
        part.write_text(content)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON. Raises `ValueError` for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if the file does not exist."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def load_yaml(path: Path) -> Any:
    """The content of a YAML file; an empty dict if it is missing, empty or damaged."""
    try:
        return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except (OSError, yaml.YAMLError):
        return {}


def lock(path: Path) -> FileLock | None:
    """Locks a file until the lock is released or the process ends; returns None if another process holds the lock.

    The operating system releases the lock of a killed process.
    """
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        return None
    return held


@contextmanager
def exclusive(path: Path, work: str) -> Iterator[None]:
    """Locks a file during the block. If another process holds the lock, logs what that does (`work`), and waits."""
    held = lock(path)
    if held is None:
        log.info("waiting for another process, which is %s", work)
        held = FileLock(path)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def typeable(path: Path) -> str:
    """A path quoted for the shell, relative to the current folder if it is inside."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)

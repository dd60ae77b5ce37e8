"""Files: atomic writes, locks, JSON and YAML, and paths quoted for the shell."""

import json
import logging
import os
import shlex
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from filelock import FileLock, Timeout

from src.errors import CannotWrite, DataError, shortened

MOST_BYTES = 1 << 20  # of a file with the settings or the result of a run
MOST_LEVELS = 20  # of nested YAML, and of folders
MOST_VALUES = 20_000  # of a YAML file
INNER_FOLDERS = (".hydra", "checkpoints")  # of a run
YAML_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
log = logging.getLogger(__name__)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path. A file or folder that the block writes there replaces `path` when the block ends.

    If the block fails, `path` is unchanged. A killed process leaves a `.part`, never half a file; the next one that
    writes the same file removes it.
    """
    for left in path.parent.glob(f"{escape(path.name)}.*.part"):
        if left.suffixes[-2][1:].isdecimal() and not is_running(int(left.suffixes[-2][1:])):
            remove(left)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        if part.is_dir() and path.is_dir():
            remove(path)  # a folder cannot be replaced in one step
        part.replace(path)
    except OSError as error:
        error.filename = str(path)  # a failed write does not name its file
        raise
    finally:
        remove(part)


def is_running(process: int) -> bool:
    """Whether another process with this number runs on this machine; on Windows, which cannot ask, always."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return process != os.getpid()


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
        part.write_text(content, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes JSON. Raises `ValueError` for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_bytes(path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file. A link, pipe, device or larger file is refused before anything is read.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: it is not a regular file, is too large, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > most_bytes:
                raise DataError(f"{path} has more than {most_bytes:,} bytes. Remove it, or use another folder.")
            return file.read(most_bytes)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise DataError(f"could not read {path}: {error.strerror}.") from error


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading. Opening anything else could wait forever, or lead out of its folder."""
    inner = path.parent if path.parent.name in INNER_FOLDERS else path
    if path.is_symlink() or inner.is_symlink():
        raise DataError(f"{path} is a link. Put the file itself there.")
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise DataError(f"{path} is not a regular file. Remove it, or use another folder.")
    return os.fdopen(number, "rb")


def read_json(path: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """The content of a JSON file, without NaN and infinity; None if the file does not exist.

    Raises:
        DataError: the file is damaged or cannot be read.
    """
    try:
        return json.loads(read_bytes(path, most_bytes=most_bytes), parse_constant=refuse_constant)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {in_one_line(error)}.") from error


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read_yaml(path: Path) -> Any:
    """The content of a saved YAML file: nested mappings and lists of text and numbers; None if the file is empty.

    Raises:
        FileNotFoundError: the file does not exist.
        DataError: the file is damaged, nested too deeply, has tags or aliases, or cannot be read.
    """
    content = read_bytes(path)
    try:
        check_events(yaml.parse(content, Loader=YAML_LOADER))
        return yaml.load(content, YAML_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {in_one_line(error)}.") from error


def check_events(events: Iterable[yaml.Event]) -> None:
    """Refuses deep nesting, tags and aliases. With aliases, a small file can expand to a huge one."""
    depth = 0
    for number, event in enumerate(events):
        if number > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES:,} values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise ValueError("it has an alias or a tag")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_LEVELS:
            raise ValueError(f"it has more than {MOST_LEVELS} levels")


def load_yaml(path: Path) -> Any:
    """The content of a YAML file of conf/; an empty dict if it is missing, empty or damaged."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), YAML_LOADER) or {}
    except (OSError, yaml.YAMLError):
        return {}


def own_copy(path: Path) -> None:
    """Replaces a file that has other hard links by a copy, so that appending to it changes no other file."""
    if path.is_file() and path.stat().st_nlink > 1:
        with whole(path) as part:
            shutil.copyfile(path, part)


def refuse_links(folder: Path) -> None:
    """Refuses a folder that holds anything but files and folders: writing through a link would change files elsewhere.

    Raises:
        DataError: the folder holds a link, a pipe or a device, or more than `MOST_LEVELS` levels of folders.
    """
    waiting = [(folder, 0)]
    while waiting:
        inner, depth = waiting.pop()
        if depth > MOST_LEVELS:
            raise DataError(f"{typeable(folder)} has folders in more than {MOST_LEVELS} levels. Remove them.")
        with os.scandir(inner) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry), depth + 1))
                elif not entry.is_file(follow_symlinks=False):
                    name = typeable(Path(entry))
                    what = "a link" if entry.is_symlink() else "not a regular file"
                    raise DataError(f"{name} is {what}. Remove it, or put a copy of the file there.")


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


def written(path: Path) -> int | None:
    """Modification time of a file in nanoseconds, which distinguishes a new result from an old one; None if missing."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def typeable(path: Path) -> str:
    """A path quoted for the shell, relative to the current folder if it is inside."""
    relative = os.path.relpath(path)
    return printable(shlex.quote(str(path) if relative.startswith("..") else relative))


def printable(text: str) -> str:
    """A text in one line, without control characters, which could change colours: `\\x1b` instead of Escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def in_one_line(value: Any) -> str:
    """A value from a file, or an error, as text for a message: printable, in one line, and not too long."""
    return shortened(printable(" ".join(str(value).split()))) or type(value).__name__

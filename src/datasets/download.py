"""Downloads files from the first source that works, with resuming, verification and atomic renaming."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from src.datasets.transfer import CannotContinue, NoAnswer, NotFound, SourceFailed, TooSlow, append_all, size
from src.errors import CannotWrite, DataError
from src.files import exclusive

CONNECT_SECONDS = 10.0
IMPATIENT_SECONDS = 2.0  # to connect after another source did not answer, so that it fails fast without a network
log = logging.getLogger(__name__)


def download(urls: Sequence[str], path: Path, finish: Callable[[Path], None], *, max_bytes: int) -> None:
    """Downloads `path` from the first good source. One process downloads while others wait.

    Received bytes are kept in `<path>.part`, and the next source or the next run continues from there.

    Args:
        urls: URLs of the same content, tried in order. If `x.gz` is not found, `x` is tried next.
        finish: verifies a received file and unpacks it in place; raises `DataError` if it is wrong.
        max_bytes: limit of the file's size; a longer file is refused.

    Raises:
        DataError: no source could be reached, or none had the right content.
        CannotWrite: there is no room for the file, or its folder cannot be created.
    """
    partial = PartialFile(path.with_name(f"{path.name}.part"), finish, max_bytes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f"{path.name}.lock"), f"downloading {path}"):
            if path.is_file():  # another process has downloaded it while this one waited
                return
            partial.complete(urls)
            partial.path.replace(path)
    except OSError as error:
        raise CannotWrite(
            f"could not write {path} ({error.strerror}{partial.kept()}). Make room, or set another data.root."
        ) from error


class PartialFile:
    """A file that is being downloaded; `path` has the bytes received so far. See `download` for the parameters."""

    def __init__(self, path: Path, finish: Callable[[Path], None], max_bytes: int) -> None:
        self.path = path
        self.finish = finish
        self.max_bytes = max_bytes

    def kept(self) -> str:
        num_bytes = size(self.path)
        return f"; {num_bytes:,} bytes are kept, and the next run continues from there" if num_bytes else ""

    def complete(self, urls: Sequence[str]) -> None:
        """Completes the file from the first good source. Slow sources are tried again after all others."""
        failures: list[str] = []
        waiting, slow, seconds = [*urls], list[str](), CONNECT_SECONDS
        while waiting or slow:
            patient = not waiting
            url = slow.pop(0) if patient else waiting.pop(0)
            try:
                self.from_source(url, seconds=seconds, patient=patient)
                return
            except (SourceFailed, DataError) as failure:
                failures.append(f"{url}: {failure}")
                if isinstance(failure, NoAnswer):
                    seconds = IMPATIENT_SECONDS
                elif isinstance(failure, TooSlow):
                    slow.append(url)
                elif isinstance(failure, NotFound) and url.endswith(".gz") and not url.endswith(".tar.gz"):
                    waiting.insert(0, url.removesuffix(".gz"))
        raise DataError("could not be downloaded (" + "; ".join(failures) + self.kept() + ")")

    def from_source(self, url: str, *, seconds: float, patient: bool) -> None:
        """Completes the file from one source; `patient` accepts a slow one.

        If the source cannot continue the bytes received so far, or the result is wrong, the whole file is requested
        from this source. The earlier bytes are dropped only if that file is right.
        """
        before = size(self.path)
        log.info("downloading %s%s", url, f" (from byte {before:,} on)" if before else "")
        try:
            append_all(url, self.path, seconds=seconds, max_bytes=self.max_bytes, patient=patient)
            self.finish(self.path)
            return
        except CannotContinue:
            if not before:  # the source broke off; the next one can continue
                raise
        except DataError:
            if not before:
                self.path.unlink()
                raise
        os.truncate(self.path, before)
        whole_file = self.path.with_name(f"{self.path.name}.new")
        try:
            append_all(url, whole_file, seconds=seconds, max_bytes=self.max_bytes, patient=patient)
            self.finish(whole_file)
            whole_file.replace(self.path)
        finally:
            whole_file.unlink(missing_ok=True)

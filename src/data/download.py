"""Downloads: from the first source that works, resumed, verified, and never half a file under its final name."""

import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

from tqdm import tqdm

from src.errors import CannotWrite, DataError
from src.files import exclusive

CONNECT_SECONDS = 10.0
IMPATIENT_SECONDS = 2.0  # to connect, once another source has not answered: without a network this must not take long
STALL_SECONDS = 20.0
STALL_BYTES_PER_SECOND = 100_000
WORTH_ASKING_AGAIN = 1 << 20  # bytes that a source has sent before it broke off
PIECE_BYTES = 1 << 16
log = logging.getLogger(__name__)

Response = http.client.HTTPResponse


class SourceFailed(Exception):
    """A source is of no use, at least for now."""


class NoAnswer(SourceFailed):
    """A source cannot be reached."""


class NotFound(SourceFailed):
    """A source does not have the file."""


class TooSlow(SourceFailed):
    """A source sends, but hardly anything."""


class BrokeOff(SourceFailed):
    """A source has ended its answer before all of it was sent."""


class CannotContinue(SourceFailed):
    """A source sends the whole file or nothing."""


def download(urls: Sequence[str], path: Path, finish: Callable[[Path], None], *, max_bytes: int) -> None:
    """Makes `path` from what the first good source holds; one process does, others wait until it is there.

    What has arrived is kept in `<path>.part`, and the next source, or the next run, goes on from there.

    Args:
        urls: places with the same content, tried in turn; where there is no `x.gz`, `x` is tried next.
        path: the file to make; its folder is made too.
        finish: checks a file that has arrived, and then unpacks it in its place; raises `DataError` where it is not
            right.
        max_bytes: what is longer cannot be right.

    Raises:
        DataError: no source could be reached, or none had the right content.
        CannotWrite: there is no room for the file, or its folder cannot be made.
    """
    arriving = Arriving(path.with_name(f"{path.name}.part"), finish, max_bytes)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f"{path.name}.lock"), f"downloading {path}"):
            if path.is_file():  # another process has downloaded it while this one waited
                return
            arriving.fetch(urls)
            arriving.path.replace(path)
    except OSError as error:
        raise CannotWrite(
            f"could not write {path} ({error.strerror}{arriving.kept()}). Make room, or set another data.root."
        ) from error


class Arriving:
    """A file on its way: what has come of it so far is in `path`.

    Args:
        path: of the partial file.
        finish: see `download`.
        max_bytes: see `download`.
    """

    def __init__(self, path: Path, finish: Callable[[Path], None], max_bytes: int) -> None:
        self.path = path
        self.finish = finish
        self.max_bytes = max_bytes

    def kept(self) -> str:
        num_bytes = size(self.path)
        return f"; {num_bytes:,} bytes are kept, and the next run goes on from there" if num_bytes else ""

    def fetch(self, urls: Sequence[str]) -> None:
        """Makes the file whole from the first good source; slow ones are borne with when there is no other."""
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
        """Makes the file whole from one source.

        Where its bytes do not fit together with those that others have sent, one of them is wrong: then all are asked
        for anew, and what there was before is given up only if that makes the file right.

        Args:
            url: of the source.
            seconds: to connect.
            patient: whether to bear with a slow source.
        """
        before = size(self.path)
        log.info("downloading %s%s", url, f" (from byte {before:,} on)" if before else "")
        try:
            gather(url, self.path, seconds=seconds, max_bytes=self.max_bytes, patient=patient)
            self.finish(self.path)
            return
        except CannotContinue:
            if not before:  # it broke off, and what it sent by then is of use to the next source
                raise
        except DataError:
            if not before:
                self.path.unlink()
                raise
        os.truncate(self.path, before)
        anew = self.path.with_name(f"{self.path.name}.new")
        try:
            gather(url, anew, seconds=seconds, max_bytes=self.max_bytes, patient=patient)
            self.finish(anew)
            anew.replace(self.path)
        finally:
            anew.unlink(missing_ok=True)


def gather(url: str, path: Path, *, seconds: float, max_bytes: int, patient: bool) -> None:
    """Appends to a file what a source has more of it, asking again as long as it sends much before it breaks off."""
    while True:
        before = size(path)
        try:
            receive(ask(url, before, seconds), path, max_bytes=max_bytes, patient=patient)
            return
        except BrokeOff:
            if size(path) - before < WORTH_ASKING_AGAIN:
                raise


def ask(url: str, start: int, seconds: float) -> Response | None:
    """The answer of a source, from byte `start` on; None if it has no more than that.

    Looking up a name has no time-out of its own, so that a thread waits for the answer.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "classifier-lab"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    answer: Future[Response] = Future()

    def open_url() -> None:
        try:
            answer.set_result(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except Exception as error:
            answer.set_exception(error)

    Thread(target=open_url, daemon=True).start()
    try:
        return answer.result(seconds)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return None
        failure = NotFound if error.code == HTTPStatus.NOT_FOUND else SourceFailed
        raise failure(f"{error.code} {error.reason}") from error
    except TimeoutError as error:
        answer.add_done_callback(close_late)
        raise NoAnswer(f"no answer within {seconds:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(str(getattr(error, "reason", error))) from error


def close_late(answer: Future[Response]) -> None:
    if not answer.exception():
        answer.result().close()


def receive(response: Response | None, path: Path, *, max_bytes: int, patient: bool) -> None:
    """Takes in an answer, with a progress bar where there is a terminal; the file is then whole."""
    if response is None:
        return
    with response:
        start, total = extent(response)
        if start != size(path):
            raise CannotContinue("sends the whole file only")
        if total is not None and total > max_bytes:
            raise SourceFailed(f"has {total:,} bytes, expected no more than {max_bytes:,}")
        bar: Any = tqdm(
            total=total, initial=start, desc=path.stem, unit="B", unit_scale=True, disable=None, leave=False
        )
        with bar, path.open("ab") as file:
            pace = Pace()
            while piece := next_piece(response):
                if file.tell() + len(piece) > max_bytes:
                    raise SourceFailed(f"sends more than {max_bytes:,} bytes")
                file.write(piece)
                file.flush()  # so that a full disk is met here, and a killed process leaves what has arrived
                bar.update(len(piece))
                if pace.is_slow(len(piece)) and not patient:
                    raise TooSlow(f"slower than {STALL_BYTES_PER_SECOND // 1000} kB/s for {STALL_SECONDS:g} s")
    if total is not None and size(path) < total:
        raise BrokeOff(f"broke off after {size(path):,} of {total:,} bytes")


def next_piece(response: Response) -> bytes:
    try:
        return response.read1(PIECE_BYTES)
    except TimeoutError as error:
        raise SourceFailed(f"sent nothing for {STALL_SECONDS:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        raise BrokeOff(f"broke off ({error})") from error


def extent(response: Response) -> tuple[int, int | None]:
    """The first byte of an answer and the size of the whole file, where the source tells it."""
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == HTTPStatus.PARTIAL_CONTENT and part:
        return int(part[1]), int(part[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


class Pace:
    """How fast a source is, over the last `STALL_SECONDS`."""

    def __init__(self) -> None:
        self.pieces = deque([(monotonic(), 0)])
        self.num_bytes = 0

    def is_slow(self, num_bytes: int) -> bool:
        """Whether, with these bytes just arrived, it has been slow all that time."""
        now = monotonic()
        self.pieces.append((now, num_bytes))
        self.num_bytes += num_bytes
        if now - self.pieces[0][0] < STALL_SECONDS:
            return False
        while now - self.pieces[0][0] >= STALL_SECONDS:
            self.num_bytes -= self.pieces.popleft()[1]
        return self.num_bytes < STALL_BYTES_PER_SECOND * STALL_SECONDS


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

"""Downloads: from the first source that works, resumed, verified, and never half a file under its final name."""

import http.client
import logging
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

from src.data.lock import exclusive
from src.errors import CannotWrite, DataError

CONNECT_SECONDS = 10.0
IMPATIENT_SECONDS = 4.0  # to connect, once another source has not answered: without a network this must not take long
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


class BrokeOff(SourceFailed):
    """A source has ended its answer before all of it was sent."""


def download(urls: Sequence[str], path: Path, finish: Callable[[Path], None], *, max_bytes: int) -> None:
    """Makes `path` from what the first good source holds; one process does, others wait until it is there.

    What has arrived is kept in `<path>.part`, and the next source, or the next run, goes on from there.

    Args:
        urls: places with the same content, tried in turn.
        path: the file to make; its folder is made too.
        finish: checks a file that has arrived, and unpacks it in its place; raises `DataError` where it is not right.
        max_bytes: what is longer cannot be right.

    Raises:
        DataError: no source could be reached, or none had the right content.
        CannotWrite: there is no room for the file, or its folder cannot be made.
    """
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f"{path.name}.lock"), f"downloading {path}"):
            if path.is_file():  # another process has downloaded it while this one waited
                return
            fetch(urls, partial, finish, max_bytes=max_bytes)
            partial.replace(path)
    except OSError as error:
        kept = f", {size(partial):,} bytes so far are kept" if size(partial) else ""
        raise CannotWrite(
            f"could not write {path} ({error.strerror}{kept}). Make room, or set data.root to another folder."
        ) from error


def fetch(urls: Sequence[str], partial: Path, finish: Callable[[Path], None], *, max_bytes: int) -> None:
    """Fills the partial file from the first good source."""
    failures = []
    seconds = CONNECT_SECONDS
    for number, url in enumerate(urls, start=1):
        log.info("downloading %s%s", url, f" (from byte {size(partial):,} on)" if size(partial) else "")
        try:
            from_source(url, partial, finish, seconds=seconds, max_bytes=max_bytes, patient=number == len(urls))
            return
        except NoAnswer as failure:
            seconds = IMPATIENT_SECONDS
            failures.append(f"{url}: {failure}")
        except (SourceFailed, DataError) as failure:
            failures.append(f"{url}: {failure}")
    kept = f"; {size(partial):,} bytes are kept, and the next run goes on from there" if size(partial) else ""
    raise DataError("could not be downloaded (" + "; ".join(failures) + kept + ")")


def from_source(
    url: str, partial: Path, finish: Callable[[Path], None], *, seconds: float, max_bytes: int, patient: bool
) -> None:
    """Fills the partial file from one source, anew if what others have sent does not fit together with the rest.

    Args:
        seconds: to connect.
        patient: whether to bear with a slow source, because it is the last.
    """
    began_at = size(partial)
    while True:
        before = size(partial)
        try:
            receive(ask(url, before, seconds), partial, max_bytes=max_bytes, patient=patient)
        except BrokeOff:
            if size(partial) - before < WORTH_ASKING_AGAIN:
                raise
            continue
        try:
            finish(partial)
            return
        except DataError:
            partial.unlink()
            if not began_at:
                raise
            began_at = 0


def ask(url: str, start: int, seconds: float) -> Response | None:
    """The answer of a source, from byte `start` on if it can; None if it has no more than that.

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
        raise SourceFailed(f"{error.code} {error.reason}") from error
    except TimeoutError as error:
        answer.add_done_callback(close_late)
        raise NoAnswer(f"no answer within {seconds:g} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(str(getattr(error, "reason", error))) from error


def close_late(answer: Future[Response]) -> None:
    if not answer.exception():
        answer.result().close()


def receive(response: Response | None, partial: Path, *, max_bytes: int, patient: bool) -> None:
    """Takes in an answer; the file is then whole."""
    if response is None:
        return
    with response:
        start, total = extent(response)
        if total is not None and total > max_bytes:
            raise SourceFailed(f"has {total:,} bytes, expected no more than {max_bytes:,}")
        append(response, partial, start, total, max_bytes=max_bytes, patient=patient)
    if total is not None and size(partial) < total:
        raise BrokeOff(f"broke off after {size(partial):,} of {total:,} bytes")


def append(response: Response, partial: Path, start: int, total: int | None, *, max_bytes: int, patient: bool) -> None:
    """Writes to the partial file what comes, with a progress bar where there is a terminal."""
    pace = Pace()
    bar: Any = tqdm(total=total, initial=start, desc=partial.stem, unit="B", unit_scale=True, disable=None, leave=False)
    with bar, partial.open("r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while piece := next_piece(response):
            file.write(piece)
            file.flush()  # so that a full disk is met here, and a killed process leaves what has arrived
            bar.update(len(piece))
            if file.tell() > max_bytes:
                raise SourceFailed(f"sends more than {max_bytes:,} bytes")
            if pace.is_slow(len(piece)) and not patient:
                raise SourceFailed(f"slower than {STALL_BYTES_PER_SECOND // 1000} kB/s for {STALL_SECONDS:g} s")


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

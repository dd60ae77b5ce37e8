"""The transfer of a file over HTTP: what a source sends is appended, as long as it sends fast enough."""

import http.client
import re
import urllib.error
import urllib.request
from collections import deque
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

from tqdm import tqdm

STALL_SECONDS = 20.0
STALL_BYTES_PER_SECOND = 100_000
WORTH_ASKING_AGAIN = 1 << 20  # bytes that a source has sent before it broke off
PIECE_BYTES = 1 << 16

Response = http.client.HTTPResponse


class SourceFailed(Exception):
    """A source cannot be used, at least for now."""


class NoAnswer(SourceFailed):
    """A source cannot be reached."""


class NotFound(SourceFailed):
    """A source does not have the file."""


class TooSlow(SourceFailed):
    """A source sends almost nothing."""


class BrokeOff(SourceFailed):
    """A source has ended its answer before the whole file was sent."""


class CannotContinue(SourceFailed):
    """A source sends only the whole file."""


def append_all(url: str, path: Path, *, seconds: float, max_bytes: int, patient: bool) -> None:
    """Appends the rest of a file from a source; asks again as long as the source sends much before it breaks off."""
    while True:
        before = size(path)
        try:
            receive(ask(url, before, seconds), path, max_bytes=max_bytes, patient=patient)
            return
        except BrokeOff:
            if size(path) - before < WORTH_ASKING_AGAIN:
                raise


def ask(url: str, start: int, seconds: float) -> Response | None:
    """The answer of a source, from byte `start` on; None if the file ends there.

    A thread waits for the answer, because looking up a host name has no time-out of its own.
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
    """Appends an answer to the file, which is then whole, with a progress bar on a terminal."""
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
                file.flush()  # a full disk fails here, and a killed process leaves what has arrived
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
    """The first byte of an answer, and the size of the whole file if the source says it."""
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == HTTPStatus.PARTIAL_CONTENT and part:
        return int(part[1]), int(part[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


class Pace:
    """The speed of a source over the last `STALL_SECONDS`."""

    def __init__(self) -> None:
        self.pieces = deque([(monotonic(), 0)])
        self.num_bytes = 0

    def is_slow(self, num_bytes: int) -> bool:
        """Counts bytes that have just arrived; returns whether the source was slow all that time."""
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

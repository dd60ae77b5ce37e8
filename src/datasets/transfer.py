"""Transfers a file over HTTP: appends what a source sends, as long as it is fast enough."""

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
WORTH_ASKING_AGAIN = 1 << 20  # a source that broke off is asked again after this many bytes
PIECE_BYTES = 1 << 16

Response = http.client.HTTPResponse


class SourceFailed(Exception):
    """A source cannot be used, at least for now."""


class NoAnswer(SourceFailed):
    """A source cannot be reached."""


class NotFound(SourceFailed):
    """A source does not have the file."""


class TooSlow(SourceFailed):
    """A source is too slow."""


class BrokeOff(SourceFailed):
    """A source ended its response before the end of the file."""


class CannotContinue(SourceFailed):
    """A source sends only the whole file, not the rest of it."""


def append_all(url: str, path: Path, *, seconds: float, max_bytes: int, patient: bool) -> None:
    """Appends the rest of a file from a source; asks again if the source broke off after a megabyte or more."""
    while True:
        before = size(path)
        try:
            receive(ask(url, before, seconds), path, max_bytes=max_bytes, patient=patient)
            return
        except BrokeOff:
            if size(path) - before < WORTH_ASKING_AGAIN:
                raise


def ask(url: str, start: int, seconds: float) -> Response | None:
    """Requests a file from byte `start` on; returns None if the file ends there.

    A thread waits for the response, because looking up a host name has no timeout of its own.
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
    """Appends a response to the file, which is then complete. Shows a progress bar on a terminal."""
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
                file.flush()  # a full disk fails here, and a killed process leaves all received bytes
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
    """The position of the first byte of a response, and the size of the whole file if the source reports it."""
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
        """Counts newly received bytes; returns whether the source was too slow over the last `STALL_SECONDS`."""
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

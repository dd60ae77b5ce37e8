"""A web server of our own on this machine that behaves as mirrors do, well or badly."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT = bytes(range(256)) * 4096 * 2  # 2 MiB
PIECE = 1 << 14


class Handler(BaseHTTPRequestHandler):
    """The first part of a path says how the server behaves, the rest is what the last redirection keeps."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        behaviour = self.path.strip("/").partition("/")[0]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.server.asked.append((behaviour, start))  # type: ignore[attr-defined]
        getattr(self, behaviour)(start)

    def head(self, start: int, total: int, *, ranges: bool = True) -> int:
        """Sends the status and headers; returns where the answer begins."""
        if start and ranges and start >= total:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return total
        start = start if ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        return start

    def send(self, content: bytes, *, pause: float = 0.0) -> None:
        for begin in range(0, len(content), PIECE):
            self.wfile.write(content[begin : begin + PIECE])
            time.sleep(pause)

    def good(self, start: int) -> None:
        start = self.head(start, len(CONTENT))
        self.send(CONTENT[start:])

    def no_ranges(self, start: int) -> None:
        self.head(start, len(CONTENT), ranges=False)
        self.send(CONTENT)

    def slow(self, start: int) -> None:
        start = self.head(start, len(CONTENT))
        self.send(CONTENT[start:], pause=0.02)  # 0.8 MB/s, 2.5 s in all

    def stalls(self, start: int) -> None:
        start = self.head(start, len(CONTENT))
        self.send(CONTENT[start : start + 500_000])
        for _ in range(200):
            self.wfile.write(b"x")  # a byte now and then keeps a connection alive
            time.sleep(0.1)

    def falls_silent(self, start: int) -> None:
        start = self.head(start, len(CONTENT))
        self.send(CONTENT[start : start + 500_000])
        self.server.over.wait(20)  # type: ignore[attr-defined]

    def closes_early(self, start: int) -> None:
        start = self.head(start, len(CONTENT))
        self.send(CONTENT[start : start + 600_000])
        self.close_connection = True

    def wrong(self, start: int) -> None:
        page = b"<html>this file has moved</html>"
        self.head(0, len(page))
        self.send(page)

    def other(self, start: int) -> None:
        start = self.head(start, len(CONTENT))
        self.send(CONTENT[::-1][start:])

    def huge(self, start: int) -> None:
        self.head(0, 10 << 40)
        self.close_connection = True

    def endless(self, start: int) -> None:
        self.send_response(200)
        self.end_headers()
        self.send(CONTENT * 8)
        self.close_connection = True

    def never_answers(self, start: int) -> None:
        self.server.over.wait(20)  # type: ignore[attr-defined]

    def redirects(self, start: int) -> None:
        self.send_response(302)
        self.send_header("Location", "/good/file")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def gone(self, start: int) -> None:
        self.send_error(404)

    def plain(self, start: int) -> None:
        """Has the file, but not packed."""
        if self.path.endswith(".gz"):
            self.send_error(404)
        else:
            self.good(start)

    def breaks_off_whole(self, start: int) -> None:
        """Cannot continue, and does not come to an end."""
        self.head(0, len(CONTENT))
        self.send(CONTENT[:5000])
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        """Silent."""


class Mirror(ThreadingHTTPServer):
    """Attributes: asked: behaviour and first byte of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, int]] = []
        self.over = threading.Event()

    def url(self, behaviour: str, name: str = "file") -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{name}"

    def requests(self) -> Counter[str]:
        return Counter(behaviour for behaviour, _ in self.asked)

    def handle_error(self, *arguments: Any) -> None:
        """A client that has left is no error."""


@contextmanager
def running_mirror() -> Iterator[Mirror]:
    with Mirror() as mirror:
        threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield mirror
        finally:
            mirror.over.set()
            mirror.shutdown()

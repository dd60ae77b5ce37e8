"""A web server on this machine that imitates good and bad mirrors."""

import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTENT = bytes(range(256)) * 4096 * 2  # 2 MiB
PIECE = 1 << 14


class Handler(BaseHTTPRequestHandler):
    """The first part of a path names the behaviour of the server, the rest names the file."""

    server: "Mirror"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        behaviour = self.path.strip("/").partition("/")[0]
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.server.asked.append((behaviour, start))
        getattr(self, behaviour)(start)

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, content: bytes, *, pause: float = 0.0) -> None:
        for begin in range(0, len(content), PIECE):
            self.wfile.write(content[begin : begin + PIECE])
            time.sleep(pause)

    def answer(self, start: int, content: bytes = CONTENT, *, most: int = len(CONTENT), pause: float = 0.0) -> None:
        """Announces the content from byte `start` on, but sends at most `most` bytes of it."""
        total = len(content)
        if start and start >= total:
            self.head(416, Content_Length=0)
        elif start:
            self.head(206, Content_Range=f"bytes {start}-{total - 1}/{total}", Content_Length=total - start)
        else:
            self.head(200, Content_Length=total)
        self.send(content[start:][:most], pause=pause)

    def good(self, start: int) -> None:
        self.answer(start)

    def no_ranges(self, start: int) -> None:
        self.answer(0)

    def slow(self, start: int) -> None:
        self.answer(start, pause=0.02)  # 0.8 MB/s, in total 2.5 s

    def stalls(self, start: int) -> None:
        if self.server.requests()["stalls"] > 1:  # a client that asks a second time gets no answer
            return self.never_answers(start)
        self.answer(start, most=500_000)
        for _ in range(200):
            self.wfile.write(b"x")  # a byte now and then keeps a connection alive
            time.sleep(0.1)

    def falls_silent(self, start: int) -> None:
        self.answer(start, most=500_000)
        self.never_answers(start)

    def closes_early(self, start: int) -> None:
        self.answer(start, most=600_000)
        self.close_connection = True

    def breaks_off_whole(self, start: int) -> None:
        """Always sends from the first byte on, and breaks off."""
        self.answer(0, most=5000)
        self.close_connection = True

    def wrong(self, start: int) -> None:
        self.answer(0, b"<html>this file has moved</html>")

    def other(self, start: int) -> None:
        self.answer(start, CONTENT[::-1])

    def huge(self, start: int) -> None:
        self.head(200, Content_Length=10 << 40)
        self.close_connection = True

    def endless(self, start: int) -> None:
        self.head(200)
        self.send(CONTENT * 8)
        self.close_connection = True

    def never_answers(self, start: int) -> None:
        self.server.over.wait(20)

    def redirects(self, start: int) -> None:
        self.head(302, Location="/good/file", Content_Length=0)

    def gone(self, start: int) -> None:
        self.send_error(404)

    def plain(self, start: int) -> None:
        """Has only the unpacked file."""
        (self.gone if self.path.endswith(".gz") else self.good)(start)

    def log_message(self, *arguments: Any) -> None:
        """Logs nothing."""


class Mirror(ThreadingHTTPServer):
    """The server. `asked` has the behaviour and the first byte of every request."""

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
        """Ignores the error when a client disconnects."""

import functools
import http.client
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.data import download
from src.errors import CannotWrite, DataError

CONNECT, GETADDRINFO = socket.socket.connect, socket.getaddrinfo


def keep(content: bytes) -> bytes:
    return content


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server of our own on this machine, with one file."""
    monkeypatch.setattr(socket.socket, "connect", CONNECT)
    monkeypatch.setattr(socket, "getaddrinfo", GETADDRINFO)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_bytes(b"content" * 500_000)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_file_arrives_whole(server: str, tmp_path: Path) -> None:
    download.download([f"{server}/file"], tmp_path / "new" / "file", keep)
    assert (tmp_path / "new" / "file").read_bytes() == b"content" * 500_000
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_the_next_source_is_tried_when_one_is_gone_or_wrong(server: str, tmp_path: Path) -> None:
    (tmp_path / "site" / "wrong").write_bytes(b"<html>")

    def only_content(content: bytes) -> bytes:
        if not content.startswith(b"content"):
            raise DataError("not what was expected")
        return content

    download.download([f"{server}/gone", f"{server}/wrong", f"{server}/file"], tmp_path / "file", only_content)
    assert (tmp_path / "file").stat().st_size == 3_500_000


def test_when_no_source_is_right_all_are_named_and_nothing_is_left(server: str, tmp_path: Path) -> None:
    def refuse(content: bytes) -> bytes:
        raise DataError("not what was expected")

    with pytest.raises(
        DataError, match=r"^could not be downloaded \(.*/gone: File not found; .*/file: not what was expected\)$"
    ):
        download.download([f"{server}/gone", f"{server}/file"], tmp_path / "new" / "file", refuse)
    assert not (tmp_path / "new").exists()


def test_an_answer_that_breaks_off_is_left_for_the_next_source(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = download.fetch

    def breaks_off(url: str) -> bytes:
        if url.endswith("/short"):
            raise http.client.IncompleteRead(b"cont")
        return fetch(url)

    monkeypatch.setattr(download, "fetch", breaks_off)
    download.download([f"{server}/short", f"{server}/file"], tmp_path / "file", keep)
    assert (tmp_path / "file").stat().st_size == 3_500_000


def test_a_full_disk_leaves_no_partial_file(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        CannotWrite, match=r"^could not write .*/new/file: No space left on device\. Make room, or set data\.root"
    ):
        download.download([f"{server}/file"], tmp_path / "new" / "file", keep)
    assert not list((tmp_path / "new").iterdir())

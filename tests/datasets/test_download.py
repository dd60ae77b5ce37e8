import errno
import hashlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from src.datasets import download, transfer
from src.errors import CannotWrite, DataError
from tests.datasets.mirror import CONTENT, Mirror
from tests.runs import ROOT

Patch = pytest.MonkeyPatch
CONNECT, GETADDRINFO = socket.socket.connect, socket.getaddrinfo
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mirror(monkeypatch: Patch) -> Iterator[Mirror]:
    monkeypatch.setattr(socket.socket, "connect", CONNECT)
    monkeypatch.setattr(socket, "getaddrinfo", GETADDRINFO)
    with Mirror() as mirror:
        Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield mirror
        mirror.over.set()
        mirror.shutdown()


def check(path: Path) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(f"its sha256 is {found}, expected {SHA256}")


def fetch(mirror: Mirror, folder: Path, *behaviours: str) -> None:
    urls = [mirror.url(behaviour) for behaviour in behaviours]
    download.download(urls, folder / "file", check, max_bytes=len(CONTENT))


def fetch_all(mirror: Mirror, folder: Path, *behaviours: str) -> None:
    fetch(mirror, folder, *behaviours)
    assert (folder / "file").read_bytes() == CONTENT


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("behaviour", ["good", "slow", "redirects", "no_ranges"])
def test_a_file_arrives_whole_and_nothing_is_left_beside_it(mirror: Mirror, tmp_path: Path, behaviour: str) -> None:
    fetch_all(mirror, tmp_path / "new", behaviour)
    assert names(tmp_path / "new") == {"file", "file.lock"}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        *[("gone", "404 Not Found"), ("never_answers", r"no answer within 0\.5 s")],
        *[(behaviour, f"its sha256 is .*, expected {SHA256}") for behaviour in ("wrong", "other")],
        ("huge", r"has 10,995,116,277,760 bytes, expected no more than 2,097,152"),
        *[("endless", r"sends more than 2,097,152 bytes"), ("stalls", r"slower than 100 kB/s for 0\.4 s")],
        ("falls_silent", r"sent nothing for 0\.4 s"),
        ("closes_early", r"broke off after 600,000 of 2,097,152 bytes"),
    ],
)
def test_a_bad_source_is_skipped_and_the_error_has_the_reason_if_no_other_is_left(
    mirror: Mirror, tmp_path: Path, behaviour: str, reason: str, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.4)
    text = rf"^could not be downloaded \(.*/{behaviour}/file: {reason}; .*/gone/file: 404"
    with pytest.raises(DataError, match=text):
        fetch(mirror, tmp_path, behaviour, "gone")
    if behaviour in ("wrong", "other"):
        assert names(tmp_path) == {"file.lock"}  # nothing of it is kept
    assert "file" not in names(tmp_path)
    fetch_all(mirror, tmp_path, behaviour, "good")
    assert mirror.requests()["good"] >= 1


@pytest.mark.parametrize("behaviour", ["falls_silent", "closes_early"])
def test_the_next_run_continues_a_download_that_broke_off(
    mirror: Mirror, tmp_path: Path, behaviour: str, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.4)
    with pytest.raises(DataError, match=r"; [\d,]+ bytes are kept, and the next run continues from there\)$"):
        fetch(mirror, tmp_path, behaviour, "gone")
    kept = (tmp_path / "file.part").stat().st_size
    assert kept >= 500_000
    fetch_all(mirror, tmp_path, "good")
    assert mirror.asked[-1] == ("good", kept)
    assert caplog.messages[-1] == f"downloading {mirror.url('good')} (from byte {kept:,} on)"


def test_a_slow_source_is_used_only_if_no_other_has_the_file(
    mirror: Mirror, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(transfer, "STALL_BYTES_PER_SECOND", 10_000_000)
    fetch_all(mirror, tmp_path, "slow", "gone")
    (_, first), (gone, _), (_, second) = mirror.asked
    assert (first, gone) == (0, "gone") and second > 0
    fetch(mirror, tmp_path / "another", "slow", "good")
    assert mirror.asked[-1][0] == "good"


@pytest.mark.parametrize("behaviour", ["wrong", "other", "breaks_off_whole", "endless", "huge", "gone"])
def test_a_bad_source_does_not_destroy_what_good_ones_have_sent(mirror: Mirror, tmp_path: Path, behaviour: str) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1_500_000])
    with pytest.raises(DataError, match=r"1,500,000 bytes are kept"):
        fetch(mirror, tmp_path, behaviour)
    assert (tmp_path / "file.part").read_bytes() == CONTENT[:1_500_000]
    fetch_all(mirror, tmp_path, behaviour, "good")
    assert mirror.asked[-1] == ("good", 1_500_000)
    assert names(tmp_path) == {"file", "file.lock"}


@pytest.mark.parametrize(
    ("left", "starts"),
    [
        pytest.param(b"", {"closes_early": [0, 600_000, 1_200_000, 1_800_000]}, id="what breaks off is asked again"),
        pytest.param(CONTENT[:1_500_000], {"no_ranges": [1_500_000, 0]}, id="one that cannot continue sends all of it"),
        pytest.param(b"", {"breaks_off_whole": [0, 5000], "good": [5000]}, id="what it sent is of use to the next"),
        pytest.param(b"of something else", {"good": [17, 0]}, id="a part that does not fit is thrown away"),
        pytest.param(CONTENT, {"good": [len(CONTENT)]}, id="a part that is the whole is recognized"),
        pytest.param(CONTENT + b"x", {"good": [len(CONTENT) + 1, 0]}, id="a part that is more is recognized"),
    ],
)
def test_a_source_is_asked_for_the_missing_bytes_and_if_they_do_not_fit_for_the_whole_file(
    mirror: Mirror, tmp_path: Path, left: bytes, starts: dict[str, list[int]], monkeypatch: Patch
) -> None:
    monkeypatch.setattr(transfer, "WORTH_ASKING_AGAIN", 1000)
    (tmp_path / "file.part").write_bytes(left)
    fetch_all(mirror, tmp_path, *starts)
    assert mirror.asked == [(behaviour, start) for behaviour, asked in starts.items() for start in asked]


def test_the_unpacked_file_is_downloaded_if_there_is_no_packed_one(mirror: Mirror, tmp_path: Path) -> None:
    download.download([mirror.url("plain", "file.gz")], tmp_path / "file", check, max_bytes=len(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"^could not be downloaded \([^;]*/file\.tar\.gz: 404 Not Found\)$"):
        download.download([mirror.url("plain", "file.tar.gz")], tmp_path / "other", check, max_bytes=len(CONTENT))


def test_without_a_network_all_sources_fail_within_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match=r"^could not be downloaded \(.*one.*no test may.*; .*two.*no test may use"):
        download.download(["http://one/file", "http://two/file"], tmp_path / "file", check, max_bytes=9)
    assert time.monotonic() - began < 5
    # The longest time, if four sources do not answer: the first, and three more.
    assert download.CONNECT_SECONDS == 10
    assert download.CONNECT_SECONDS + 3 * download.IMPATIENT_SECONDS < 25


def test_after_one_source_has_not_answered_the_others_get_less_time(
    mirror: Mirror, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.6)
    monkeypatch.setattr(download, "IMPATIENT_SECONDS", 0.2)
    with pytest.raises(DataError, match=r"no answer within 0\.6 s; .*no answer within 0\.2 s; .*within 0\.2 s\)$"):
        fetch(mirror, tmp_path, "never_answers", "never_answers", "never_answers")


class FullDisk(io.FileIO):
    def write(self, piece: Any) -> int:
        if self.tell() > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(piece)


def test_a_full_disk_is_reported_and_leaves_no_file_under_the_final_name(
    mirror: Mirror, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Path, "open", lambda path, mode: FullDisk(path, mode))
    text = r"^could not write .*/file \(No space left on device; 1\d\d,\d\d\d bytes are kept, .*\)\. Make room,"
    with pytest.raises(CannotWrite, match=text):
        fetch(mirror, tmp_path, "good", "good")
    assert mirror.requests() == {"good": 1}  # another source would not help
    assert "file" not in names(tmp_path)


def test_a_folder_that_cannot_be_made_is_reported(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(CannotWrite, match=r"^could not write .*/taken/file \((Not a directory|File exists)\)\. Make"):
        fetch(mirror, tmp_path / "taken", "good")


DOWNLOAD = f"""
import hashlib, logging, sys
from pathlib import Path
from src.datasets.download import download
from src.errors import DataError
logging.basicConfig(level=logging.INFO, format="%(message)s")
def check(path):
    if hashlib.sha256(path.read_bytes()).hexdigest() != "{SHA256}":
        raise DataError("wrong")
download(sys.argv[2:], Path(sys.argv[1]), check, max_bytes={len(CONTENT)})
"""


def start(path: Path, *urls: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", DOWNLOAD, str(path), *urls]
    return subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_eight_processes_make_one_download_and_the_others_log_that_they_wait(mirror: Mirror, tmp_path: Path) -> None:
    processes = [start(tmp_path / "file", mirror.url("slow")) for _ in range(8)]
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert mirror.asked == [("slow", 0)]
    assert (tmp_path / "file").read_bytes() == CONTENT
    waiting = [text for text in said if f"waiting for another process, which is downloading {tmp_path}/file" in text]
    assert len(waiting) >= 1 and all("downloading http" not in text for text in waiting)


def test_a_waiting_process_continues_the_download_of_a_killed_one(mirror: Mirror, tmp_path: Path) -> None:
    partial = tmp_path / "file.part"
    first = start(tmp_path / "file", mirror.url("slow"))
    while not partial.exists():
        time.sleep(0.01)
    second = start(tmp_path / "file", mirror.url("slow"))
    while partial.stat().st_size < 0.3 * len(CONTENT):
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert not (tmp_path / "file").exists()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert (tmp_path / "file").read_bytes() == CONTENT
    (_, whole), (_, rest) = mirror.asked
    assert whole == 0 and rest >= 0.3 * len(CONTENT)


@pytest.mark.long
def test_a_download_that_is_killed_at_forty_random_moments_ends_with_the_right_bytes(
    mirror: Mirror, tmp_path: Path
) -> None:
    draw, kills = random.Random(0), 0
    for _ in range(200):
        process = start(tmp_path / "file", mirror.url("slow"))
        if kills == 40:
            break
        time.sleep(draw.uniform(0.2, 0.8))
        kills += process.poll() is None
        process.kill()
        process.communicate(timeout=60)
        if (tmp_path / "file").exists():
            assert (tmp_path / "file").read_bytes() == CONTENT
            (tmp_path / "file").unlink()
    assert kills == 40
    process.communicate(timeout=60)
    assert process.returncode == 0 and (tmp_path / "file").read_bytes() == CONTENT

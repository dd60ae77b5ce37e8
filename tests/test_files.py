import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.files import exclusive
from tests.runs import ROOT

HOLD = """
import sys, time
from pathlib import Path
from src.files import exclusive
with exclusive(Path(sys.argv[1]), "holding"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_waits_for_the_lock_and_logs_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with holder(tmp_path / "lock", 0.7) as process, caplog.at_level("INFO"):
        began = time.monotonic()
        with exclusive(tmp_path / "lock", "doing this"):
            assert time.monotonic() - began > 0.3
            assert process.wait(10) == 0
    assert caplog.messages == ["waiting for another process, which is doing this"]


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    with holder(tmp_path / "lock", 60) as process:
        process.kill()
        process.wait(10)
        began = time.monotonic()
        with exclusive(tmp_path / "lock", "doing this"):
            assert time.monotonic() - began < 5


def test_a_free_lock_can_be_taken_again_without_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with caplog.at_level("INFO"), exclusive(tmp_path / "lock", "doing this"):
            pass
    assert caplog.messages == []

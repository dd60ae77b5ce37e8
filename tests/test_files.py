import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src.errors import DataError
from src.files import exclusive, own_copy, printable, refuse_links, typeable, write_text
from tests.runs import ROOT

HOLD = """
import sys, time
from pathlib import Path
from src.errors import DataError
from src.files import exclusive, own_copy, printable, refuse_links, typeable, write_text
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_folder_with_anything_but_files_and_folders_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "run" / "checkpoints"
    inner.mkdir(parents=True)
    (inner / "best.ckpt").touch()
    refuse_links(tmp_path / "run")
    path = inner / "x"
    makes: list[Callable[[], object]] = [
        lambda: path.symlink_to(tmp_path),
        lambda: path.symlink_to(inner / "best.ckpt"),
        lambda: path.symlink_to("gone"),
        lambda: os.mkfifo(path),
    ]
    for make in makes:
        make()
        with pytest.raises(DataError, match=r"x is (a link|not a regular file)\. Remove it"):
            refuse_links(tmp_path / "run")
        path.unlink()


def test_a_file_with_another_name_elsewhere_is_copied_before_something_is_appended(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("theirs")
    (tmp_path / "log").hardlink_to(tmp_path / "elsewhere")
    own_copy(tmp_path / "log")
    (tmp_path / "log").open("a").close()
    (tmp_path / "log").write_text("ours")
    assert (tmp_path / "elsewhere").read_text() == "theirs"
    own_copy(tmp_path / "gone")


def test_a_folder_of_this_name_is_not_removed_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "results.csv" / "thesis").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "results.csv", "text")
    assert (tmp_path / "results.csv" / "thesis").is_dir() and len(list(tmp_path.iterdir())) == 1


def test_the_partial_file_of_a_killed_process_is_removed_by_the_next_write(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, running = tmp_path / f"a.json.{gone.pid}.part", tmp_path / f"a.json.{os.getppid()}.part"
    left.touch()
    running.touch()
    write_text(tmp_path / "a.json", "{}")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.json", running])


def test_texts_are_shown_in_one_line_without_control_characters() -> None:
    assert printable("a\x1b[31m\nb\x07\udcffé±") == r"a\x1b[31m\nb\x07\udcffé±"
    assert typeable(Path("a b;\n")) == r"'a b;\n'"

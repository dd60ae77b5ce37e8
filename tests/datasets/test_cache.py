import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy
import pytest
import torch

from src.datasets import cache
from src.datasets.cache import load, load_or_make, load_split
from src.datasets.images import Images, OfficialSets
from src.errors import CannotWrite
from tests.runs import ROOT


def sets(first: int = 0) -> OfficialSets:
    pixels = torch.arange(first, first + 60).view(5, 3, 2, 2).to(torch.uint8)
    return OfficialSets(Images(pixels[:3], torch.tensor([0, 1, 0])), Images(pixels[3:], torch.tensor([1, 1])), "here")


def equal(left: OfficialSets, right: OfficialSets) -> bool:
    pairs = ((left.train, right.train), (left.test, right.test))
    return left.source == right.source and all(
        torch.equal(ours.pixels, theirs.pixels) and torch.equal(ours.labels, theirs.labels) for ours, theirs in pairs
    )


def test_images_are_made_once_and_then_read_from_the_cache(tmp_path: Path) -> None:
    source = Mock(side_effect=sets)
    for _ in range(3):
        kept = load_or_make(tmp_path / "new", "birds", stamp="1", make=source)
        assert equal(kept, sets())
        assert (kept.train.pixels.dtype, kept.train.labels.dtype) == (torch.uint8, torch.int64)
    assert source.call_count == 1
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"birds.lock", "birds_train.npz", "birds_test.npz"}


def test_images_are_made_again_if_the_source_has_changed(tmp_path: Path) -> None:
    load_or_make(tmp_path, "birds", stamp="1", make=sets)
    newer = load_or_make(tmp_path, "birds", stamp="2", make=lambda: sets(first=100))
    assert equal(newer, sets(first=100))
    assert load(tmp_path, "birds", "1") is None
    assert equal(load(tmp_path, "birds", "2") or sets(), newer)


def test_a_cache_file_is_about_as_large_as_its_images(tmp_path: Path) -> None:
    big = Images(torch.zeros(100, 3, 32, 32, dtype=torch.uint8), torch.zeros(100, dtype=torch.int64))
    load_or_make(tmp_path, "big", stamp="1", make=lambda: OfficialSets(big, sets().test, ""))
    assert 100 * (3072 + 8) < (tmp_path / "big_train.npz").stat().st_size < 100 * (3072 + 8) + 2000


def test_every_flipped_bit_or_cut_that_changes_the_images_is_detected(tmp_path: Path) -> None:
    load_or_make(tmp_path, "birds", stamp="1", make=sets)
    path = tmp_path / "birds_train.npz"
    whole = path.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    cut = [whole[:length] for length in (0, 1, len(whole) // 2, len(whole) - 1)]
    num_found = 0
    for damaged in flipped + cut:
        path.write_bytes(damaged)
        if (kept := load_split(path, "1")) is None:
            num_found += 1
        else:
            assert equal(OfficialSets(kept[0], sets().test, kept[1]), sets())
    assert num_found > 0.7 * len(flipped)  # the other bytes are modification times and the like


def test_a_damaged_file_is_reported_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = Mock(side_effect=sets)
    load_or_make(tmp_path, "birds", stamp="1", make=source)
    path = tmp_path / "birds_test.npz"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert equal(load_or_make(tmp_path, "birds", stamp="1", make=source), sets())
    assert source.call_count == 2
    assert path.stat().st_size == len(content)
    (reported,) = caplog.messages
    assert reported.startswith(f"{path} is damaged (") and reported.endswith(") and is made again")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "canary"),)

    evil = numpy.array([Evil()], dtype=object)
    numpy.savez(tmp_path / "birds_train.npz", facts=json.dumps({"stamp": "1", "source": ""}), pixels=evil, labels=evil)
    assert load(tmp_path, "birds", "1") is None
    assert not (tmp_path / "canary").exists()


def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(numpy, "savez", half)
    text = rf"^could not write the cache {tmp_path} \(No space left on device\)\. Make room, or set data\.cache to "
    with pytest.raises(CannotWrite, match=text):
        load_or_make(tmp_path, "birds", stamp="1", make=sets)
    assert [path.name for path in tmp_path.iterdir()] == ["birds.lock"]


def test_without_a_writable_cache_folder_images_are_made_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = Mock(side_effect=sets)
    refuse = Mock(side_effect=PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    (tmp_path / "file").touch()
    assert equal(load_or_make(tmp_path / "file", "birds", stamp="1", make=source), sets())
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refuse)
        assert equal(load_or_make(tmp_path / "new", "birds", stamp="1", make=source), sets())
    monkeypatch.setattr(cache, "save", refuse)
    assert equal(load_or_make(tmp_path, "birds", stamp="1", make=source), sets())
    assert source.call_count == 3
    expected = "decoded images are not kept: {} cannot be written ({}). Set data.cache."
    reasons = {"file": "File exists", "new": "Permission denied", "": "Permission denied"}
    assert caplog.messages == [expected.format(tmp_path / name, reason) for name, reason in reasons.items()]


MAKE = """
import sys, time, torch
from pathlib import Path
from src.datasets.cache import load_or_make
from src.datasets.images import Images, OfficialSets
def make():
    with open(sys.argv[1] + "/made", "a") as file:
        file.write("x")
    time.sleep(1)
    images = Images(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))
    return OfficialSets(images, images, "here")
assert load_or_make(Path(sys.argv[1]), "birds", stamp="1", make=make).source == "here"
"""


def test_only_one_of_several_processes_makes_the_images(tmp_path: Path) -> None:
    line = [sys.executable, "-c", MAKE, str(tmp_path)]
    processes = [subprocess.Popen(line, cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "x"

"""Kills commands before each change of a file, at random moments or at a file-size limit, and runs them again."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.errors import DataError
from src.run.checkpoint_file import load
from src.run.records import read_result
from tests.processes import Process, Starter, table
from tests.runs import SMALL, assert_same_weights

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes of these tests are forks")

TINY = [*SMALL, "model=mlp", "model.dropout=0.3", "model.hidden_sizes=[16]", "optimizer=adam", "optimizer.lr=0.01"]
RUN = [*TINY, "trainer.max_epochs=3", "hydra.run.dir=run"]
SWEEP = ["-m", *TINY, "trainer.max_epochs=1", "seed=1,2", "hydra.sweep.dir=sweep"]
SPACE = ["data.batch_size=16,32", "optimizer.lr=interval(0.001,0.1)"]
SEARCH = ["-m", "hydra/sweeper=optuna", *TINY, *SPACE, "trainer.max_epochs=2", "hydra.sweeper.n_trials=4"]
LONG = pytest.mark.long
SIZES = [2_000, 50_000, *(pytest.param(size, marks=LONG) for size in range(3_000, 130_000, 4_000))]  # bytes
SAMPLE = 9  # in `make test`, one death in this many


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    found = Starter(tmp_path_factory.mktemp("deaths"))
    for words in (RUN, SWEEP):
        assert found(*words).exit_code() == 0
    yield found
    found.close()


def ends(process: Process, seconds: float = 60) -> int | None:
    """The exit code of a command; None if it was killed."""
    deadline = time.monotonic() + seconds
    while process.runs():
        assert time.monotonic() < deadline, process.log.read_text()
        time.sleep(0.01)
    return process.ended()[0] if Path(f"{process.log}.code").exists() else None


def result_of(run: Path) -> dict[str, Any]:
    times = {"train_seconds", "images_per_second", "overrides"}
    return {key: value for key, value in read_result(run).items() if key not in times}


def assert_same_run(run: Path, whole: Path) -> None:
    assert_same_weights(run / "checkpoints/last.ckpt", whole / "checkpoints/last.ckpt")
    assert_same_weights(run / "checkpoints/best.ckpt", whole / "checkpoints/best.ckpt")
    assert (run / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    assert result_of(run) == result_of(whole)
    assert not list(run.rglob("*.part"))


def dies_everywhere(starter: Starter, words: list[str], *, first: int, step: int) -> Iterator[Path]:
    """Kills a command before each change of a file, types it again, and yields its folder, until it is not killed."""
    for number in range(first, 10_000, step):
        folder = starter.folder / f"{words[-1].partition('=')[2]}-{number}"
        folder.mkdir()
        if ends(starter(*words, folder=folder, die=number)) == 0:
            assert number > 20, "the command was killed too rarely"
            return
        again = starter(*words, "resume=auto", folder=folder)
        assert ends(again) == 0, again.log.read_text()
        yield folder


def run_that_dies(starter: Starter, *, first: int, step: int) -> None:
    for folder in dies_everywhere(starter, RUN, first=first, step=step):
        assert_same_run(folder / "run", starter.folder / "run")


def sweep_that_dies(starter: Starter, *, first: int, step: int) -> None:
    for folder in dies_everywhere(starter, SWEEP, first=first, step=step):
        assert table(folder / "sweep") == table(starter.folder / "sweep")
        for job in (starter.folder / "sweep").glob("0*"):
            assert_same_run(folder / "sweep" / job.name, job)


def test_a_run_that_dies_at_some_changes_of_files_ends_as_if_it_had_not(starter: Starter) -> None:
    run_that_dies(starter, first=4, step=SAMPLE)


@pytest.mark.long
def test_a_run_that_dies_at_any_change_of_a_file_ends_as_if_it_had_not(starter: Starter) -> None:
    run_that_dies(starter, first=1, step=1)


@pytest.mark.long
def test_a_sweep_that_dies_at_any_change_of_a_file_ends_as_if_it_had_not(starter: Starter) -> None:
    sweep_that_dies(starter, first=1, step=1)


@pytest.mark.parametrize("most_bytes", [1_500, 3_000, 30_000, 60_000, 120_000])
def test_on_a_full_disk_a_run_ends_with_74_and_its_last_checkpoint_loads(starter: Starter, most_bytes: int) -> None:
    folder = starter.folder / f"full-{most_bytes}"
    folder.mkdir()
    process = starter(*RUN, folder=folder, most_bytes=most_bytes)
    code = ends(process)
    assert code in (0, 74), process.log.read_text()
    assert "Traceback" not in process.log.read_text()
    for path in folder.rglob("*.ckpt"):
        assert load(path, way_out="")["state_dict"]
    again = starter(*RUN, "resume=auto", "retry_failed=true", folder=folder)
    assert ends(again) == 0, again.log.read_text()
    assert_same_run(folder / "run", starter.folder / "run")


@pytest.mark.parametrize(
    "size", [2_000, 50_000, *(pytest.param(size, marks=LONG) for size in range(3_000, 130_000, 4_000))]
)
def test_a_run_that_dies_in_the_middle_of_a_write_ends_as_if_it_had_not(starter: Starter, size: int) -> None:
    folder = starter.folder / f"write-{size}"
    folder.mkdir()
    died = ends(starter(*RUN, folder=folder, die_in_write=size)) is None
    assert died or size > 60_000
    again = starter(*RUN, "resume=auto", folder=folder)
    assert ends(again) == 0, again.log.read_text()
    assert_same_run(folder / "run", starter.folder / "run")


@pytest.mark.long
def test_commands_that_are_killed_at_random_moments_leave_nothing_that_stops_the_next_one(starter: Starter) -> None:
    pytest.importorskip("optuna")
    draw = random.Random(0)
    reads = [("src.eval", ["run=run"]), ("src.predict", ["run=run", "images=run/figures/examples"])]
    folder = starter.folder / "random"
    folder.mkdir()
    assert ends(starter(*RUN, "figures=true", folder=folder)) == 0
    for number in range(40):
        for module, words in reads:
            killed_after(starter(*words, module=module, folder=folder), draw.uniform(0, 1))
        killed_after(
            starter(*SEARCH, f"hydra.sweep.dir=search{number // 10}", "resume=auto", folder=folder), draw.uniform(0, 1)
        )
    for module, words in reads:
        assert ends(starter(*words, module=module, folder=folder)) == 0
    for number in range(4):
        process = starter(*SEARCH, f"hydra.sweep.dir=search{number}", "resume=auto", folder=folder)
        assert ends(process) == 0, process.log.read_text()
        assert [row["status"] for row in table(folder / f"search{number}")] == ["completed"] * 4
    assert_same_weights(folder / "run/checkpoints/best.ckpt", starter.folder / "run/checkpoints/best.ckpt")


def killed_after(process: Process, seconds: float) -> None:
    time.sleep(seconds)
    if process.runs():
        os.kill(process.pid, signal.SIGKILL)
    while process.runs():
        time.sleep(0.01)


def test_two_commands_never_share_a_typed_folder(starter: Starter) -> None:
    for number in range(6):
        both = [starter(*TINY, "trainer.max_epochs=1", f"hydra.run.dir=shared{number}") for _ in range(2)]
        assert sorted(ends(process) or 0 for process in both) == [0, 2]


def test_four_evaluations_of_one_run_at_once_all_end_well(starter: Starter) -> None:
    four = [starter("run=run", module="src.eval") for _ in range(4)]
    assert [ends(process) for process in four] == [0] * 4
    names = {path.name for path in (starter.folder / "run/evaluation/test").iterdir()}
    assert names == {"figures", "result.json"}


def test_a_run_whose_checkpoints_are_removed_while_it_trains_ends_without_a_traceback(starter: Starter) -> None:
    run = starter.folder / "removed"
    process = starter(*TINY, "trainer.max_epochs=2000", "hydra.run.dir=removed")
    while not (run / "checkpoints/previous.ckpt").exists():
        assert process.runs(), process.log.read_text()
        time.sleep(0.01)
    (run / "checkpoints").rename(run / "moved")
    (run / "checkpoints").write_text("not a folder")
    assert ends(process) in (3, 74)
    assert "Traceback" not in process.log.read_text() and process.log.read_text().count("error: ") == 1
    with pytest.raises(DataError):
        load(run / "checkpoints/last.ckpt", way_out="")

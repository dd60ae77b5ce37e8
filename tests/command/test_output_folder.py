import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from src.command.output_folder import claim
from src.command.resume import Claim
from src.errors import BadInput, DataError, LabError
from src.files import write_json
from src.run.provenance import add_start, code
from src.settings import without_hydra
from src.sweep.plan import read_plan, write_plan
from tests.conftest import composed
from tests.runs import checked, save_settings
from tests.sweeps import Sweep

Captured = pytest.CaptureFixture[str]
GRID = ("-m", "optimizer.lr=0.1,1")
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def claimed(*words: str) -> Claim:
    """Claims a folder, and writes a sweep's plan into it as the command does."""
    jobs = checked(*words)
    found = claim(jobs)
    if jobs.is_sweep:
        write_plan(found.plan, found.folder, launched=found.todo)
    return found


def error(*words: str, kind: type[LabError] = BadInput) -> str:
    with pytest.raises(kind) as caught:
        claimed(*words)
    return str(caught.value)


def left(*words: str) -> Claim:
    """Claims a folder for a process that has ended since."""
    found = claimed(*words)
    assert found.lock is not None
    found.lock.release()
    return found


def as_planned(found: Claim) -> list[tuple[str, dict[str, Any]]]:
    """The folders and settings of the jobs that are left; their overrides are those of the newest command."""
    return [(job.folder, job.settings) for job in found.todo]


def began(*words: str, status: str | None = None) -> Path:
    """Writes the files of a run that ended with a status, or without one was killed; returns its folder."""
    folder, overrides = claimed(*words).folder, without_hydra(words)
    save_settings(composed("figures=true", *overrides), folder)
    write_json(folder / ".hydra" / "overrides.yaml", overrides)
    if status:
        write_json(folder / "metrics.json", Sweep.RESULT | {"status": status, "reason": "why"})
    return folder


def jobs_ended(sweep: Claim, *statuses: str) -> None:
    for job, status in zip(sweep.todo, statuses, strict=False):
        (sweep.folder / job.folder).mkdir()
        write_json(sweep.folder / job.folder / "metrics.json", Sweep.RESULT | {"status": status, "reason": "why"})


def test_a_run_gets_a_new_folder_unless_it_is_resumed() -> None:
    assert began("seed=1") != claimed("seed=1").folder


def test_auto_continues_the_newest_unfinished_run_of_the_same_command(capsys: Captured) -> None:
    for seed, status in ((1, None), (2, None), (1, "interrupted"), (1, "completed"), (1, "failed"), (2, None)):
        folder = began(f"seed={seed}", status=status)
        if status == "interrupted":
            wanted = folder
    found = left("seed=1", "resume=auto")
    assert found.folder == wanted and len(found.todo) == 1
    assert capsys.readouterr().out == f"resume=auto: continuing {wanted}\n"
    assert claimed("seed=1", "resume=must").folder == wanted


@pytest.mark.parametrize("words", [["seed=1"], ["-m", "seed=1,2"]])
@pytest.mark.parametrize("resume", ["auto", "must"])
def test_a_run_of_other_code_is_named_and_not_continued(
    words: list[str], resume: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = began(*words) if len(words) == 1 else left(*words).folder / "000_seed=1"
    run.mkdir(exist_ok=True)
    add_start(run)
    monkeypatch.setitem(code()["versions"], "torch", "1.0")
    assert "was made by other code (torch " in error(*words, f"resume={resume}")
    found = left(*words, f"resume={resume}", "force_resume=true")
    assert run in [found.folder / job.folder for job in found.todo]


def test_a_failed_run_is_continued_only_with_retry_failed() -> None:
    folder = began(status="failed")
    assert claimed("resume=auto").folder != folder
    assert claimed("resume=auto", "retry_failed=true").folder == folder
    assert claimed(f"resume={folder}").todo == []


def test_auto_starts_a_new_run_and_says_so_if_there_is_nothing_to_continue(capsys: Captured) -> None:
    assert len(claimed("resume=auto").todo) == 1
    said = "resume=auto: outputs/runs holds no unfinished run of this command, starting a new one\n"
    assert capsys.readouterr().out == said
    assert claimed("resume=auto", "hydra.run.dir=mine").folder == Path("mine")
    assert capsys.readouterr().out == "resume=auto: mine holds no run, starting a new one\n"


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        ("resume=must", DataError, "nothing to resume: outputs/runs holds no unfinished run of this command. Leave"),
        ("-m seed=1,2 resume=must", DataError, "nothing to resume: outputs/sweeps holds no unfinished sweep of this"),
        ("resume=nowhere", DataError, "nothing to resume: nowhere holds no run. Leave resume out to start a new one."),
        ("resume=must hydra.run.dir=mine", DataError, "nothing to resume: mine holds no run."),
        ("retry_failed=true", BadInput, "retry_failed=true is for a run or sweep that is continued. Add resume=auto"),
    ],
)
def test_must_and_a_typed_folder_need_something_to_continue(words: str, kind: type[LabError], text: str) -> None:
    assert error(*words.split(), kind=kind).startswith(text) and not Path("mine").exists()


def test_a_typed_folder_is_continued_only_with_the_same_settings() -> None:
    began("hydra.run.dir=mine", "seed=1")
    for words in (["resume=auto", "hydra.run.dir=mine"], ["resume=mine"], ["resume=must", "hydra.run.dir=mine"]):
        assert claimed("seed=1", *words).folder == Path("mine")
    assert error("resume=mine").startswith("resume would mix results: seed was 1 in mine, and is 0 now ")
    rule = "hydra.run.dir must be a new or empty folder, got 'mine'."
    assert error("hydra.run.dir=mine", "seed=1") == f"{rule} Try hydra.run.dir=mine_2, or add resume=auto."


def test_a_completed_run_has_nothing_left_to_do() -> None:
    began("hydra.run.dir=mine", status="completed")
    assert claimed("resume=auto", "hydra.run.dir=mine").todo == []


def test_a_sweep_is_planned_before_it_starts() -> None:
    found = claimed("-m", "seed=0", "optimizer.lr=0.1,1", "hydra.verbose=false")
    content = json.loads((found.folder / "sweep.json").read_text())
    assert content["swept"] == ["optimizer.lr"] and content["overrides"] == ["seed=0", "optimizer.lr=0.1,1"]
    assert [job["settings"] for job in content["jobs"]] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 1}]
    assert content["launched"] == ["000_optimizer.lr=0.1,seed=0", "001_optimizer.lr=1,seed=0"]
    assert content["settings"]["model._target_"] == "src.networks.SoftmaxRegression"


def test_a_sweep_is_continued_with_its_unfinished_jobs_and_with_new_ones(capsys: Captured) -> None:
    first = left(*GRID)
    left("-m", "seed=1,2")  # a newer sweep of another command
    jobs_ended(first, "completed")
    found = left("-m", "optimizer.lr=10,0.1,1", "resume=auto")
    assert found.folder == first.folder
    assert [job.folder for job in found.todo] == ["002_optimizer.lr=10", "001_optimizer.lr=1"]
    assert capsys.readouterr().out == f"resume=auto: continuing {first.folder}\n"
    stored = read_plan(first.folder)
    assert stored is not None and [job.folder[:3] for job in stored.jobs] == ["000", "001", "002"]
    text = "resume would mix results: seed was 0 in "
    assert error(*GRID, "seed=5", f"resume={first.folder}").startswith(text)


def test_auto_does_not_continue_a_completed_sweep() -> None:
    first = left(*GRID)
    jobs_ended(first, "completed", "completed")
    assert claimed(*GRID, "resume=auto").folder != first.folder
    assert claimed(*GRID, f"resume={first.folder}").todo == []


def test_auto_continues_a_sweep_in_which_only_failed_jobs_are_left(capsys: Captured) -> None:
    first = left(*GRID)
    jobs_ended(first, "completed", "failed")
    again = left(*GRID, "resume=auto")
    assert again.folder == first.folder and again.todo == []
    said = "where only failed jobs are left. Add retry_failed=true to run them again"
    assert capsys.readouterr().out == f"resume=auto: continuing {first.folder}, {said}\n"
    retried = claimed(*GRID, "resume=auto", "retry_failed=true")
    assert retried.folder == first.folder and as_planned(retried) == as_planned(first)[1:2]


def test_auto_skips_a_run_that_was_stopped_before_it_had_a_config() -> None:
    assert claimed().folder != claimed("resume=auto").folder


def test_a_running_sweep_is_left_to_its_process() -> None:
    first = claimed(*GRID)
    assert claimed(*GRID, "resume=auto").folder != first.folder
    way_out = "Wait for it, or leave resume out to start a new one."
    expected = f"another process uses {first.folder}. {way_out}"
    assert error(*GRID, f"resume={first.folder}") == expected


def test_auto_writes_nothing_into_the_sweep_of_another_command() -> None:
    first = left(*GRID)
    (first.folder / ".lock").unlink()
    assert claimed(*GRID, "seed=7", "resume=auto").folder != first.folder
    assert not (first.folder / ".lock").exists()


def test_a_sweep_that_cannot_be_locked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first = left(*GRID)

    def refuse(self: FileLock, timeout: float) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert re.match(r"cannot write to .* \(Read-only file system\)", error(*GRID, f"resume={first.folder}"))


def test_auto_does_not_continue_a_sweep_over_other_values() -> None:
    first = left(*GRID)
    assert left("-m", "optimizer.lr=3,4", "resume=auto").folder != first.folder
    assert claimed("-m", "optimizer.lr=3,4", f"resume={first.folder}").folder == first.folder


def test_auto_skips_files_and_damaged_folders_but_a_typed_one_is_an_error() -> None:
    first = left("-m", "seed=1,2")
    run = began()
    for folder in (first.folder, run):
        (folder.parent / "zz").write_text("a file")
    (first.folder / "sweep.json").write_text('{"overrides": [')
    (run / ".hydra" / "config.yaml").write_text("seed: [")
    assert claimed("-m", "seed=1,2", "resume=auto").folder != first.folder
    assert claimed("resume=auto").folder != run
    damaged = "sweep.json is damaged"
    assert damaged in error("-m", "seed=1,2", f"resume={first.folder}", kind=DataError)
    assert "config.yaml is damaged" in error(f"resume={run}", kind=DataError)


def test_a_folder_with_only_the_leftovers_of_a_killed_start_can_be_used() -> None:
    for name, words in (("a", ["-m", "seed=1,2", "hydra.sweep.dir=a"]), ("b", ["hydra.run.dir=b"])):
        Path(name).mkdir()
        for file in (".lock", "sweep.json.123.part", "train.log"):
            (Path(name) / file).touch()
        assert claimed(*words, "resume=auto").folder == Path(name)
        (Path(name) / "thesis.doc").touch()
        assert "must be a new or empty folder" in error(*words)


def test_jobs_with_null_and_float_values_are_found_again() -> None:
    words = ("-m", "data.resize=null,32", "trainer.limit_val_batches=1,1.0")
    first, found = left(*words), claimed(*words, "resume=auto")
    assert (found.folder, as_planned(found)) == (first.folder, as_planned(first))


def test_a_search_is_continued_only_with_the_same_space() -> None:
    pytest.importorskip("optuna")
    words = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "seed=5"]
    first = left(*words)
    assert (first.left, first.todo) == (3, []) and set(first.plan.space) == {"optimizer.lr", "data.batch_size"}
    assert left(*words, "resume=auto").folder == first.folder
    resume, others = f"resume={first.folder}", first.plan.space | {"data.batch_size": "64,128"}
    assert error(*words, "data.batch_size=64,128", resume) == (
        f"resume would mix results: {first.folder} searches {first.plan.space}, and this command searches {others}. "
        "Type the same space, or leave resume out to start a new one."
    )
    assert error(*words[:3], "seed=6", resume).startswith("resume would mix results: seed was 5")
    assert "and this command searches nothing (a grid). Type the same space" in error("-m", "seed=5,6", resume)

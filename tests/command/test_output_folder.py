import errno
import json
import os
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from src.command.jobs import checked_jobs
from src.command.output_folder import claim
from src.command.resume import Claim
from src.errors import BadInput, DataError
from src.files import write_json
from src.sweep.plan import read_plan, write_plan
from tests.conftest import composed

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def claimed(*words: str) -> Claim:
    """Claims a folder, and writes a sweep's plan into it as the command does."""
    jobs = checked_jobs([word for word in words if word != "-m"], multirun="-m" in words)
    found = claim(jobs)
    if jobs.is_sweep:
        write_plan(found.plan, found.folder, launched=found.todo)
    return found


def left(claim: Claim) -> Claim:
    """As if the process had ended."""
    assert claim.lock is not None
    claim.lock.release()
    return claim


def began(claim: Claim, *overrides: str, status: str | None = None) -> Path:
    """Leaves what a run has left that was stopped, or ended with a status."""
    for folder in [claim.folder / job.folder for job in claim.todo] if len(claim.todo) > 1 else [claim.folder]:
        (folder / ".hydra").mkdir(parents=True)
        OmegaConf.save(composed("figures=true", *overrides), folder / ".hydra" / "config.yaml")
        write_json(folder / ".hydra" / "overrides.yaml", list(overrides))
        if status:
            write_json(folder / "metrics.json", {"status": status, "reason": "why"})
    return claim.folder


def test_a_run_is_new_unless_it_is_to_be_resumed() -> None:
    first = began(claimed("seed=1"), "seed=1")
    assert claimed("seed=1").folder != first


def test_auto_goes_on_with_the_newest_unfinished_run_of_the_same_command(capsys: Captured) -> None:
    for seed, status in ((1, None), (2, None), (1, "interrupted"), (1, "completed"), (1, "failed"), (2, None)):
        folder = began(claimed(f"seed={seed}"), f"seed={seed}", status=status)
        if status == "interrupted":
            wanted = folder
    found = claimed("seed=1", "resume=auto")
    assert found.folder == wanted and len(found.todo) == 1
    assert capsys.readouterr().out == f"resume=auto: continuing {wanted}\n"
    assert claimed("seed=1", "resume=must").folder == wanted


def test_a_failed_run_is_continued_only_when_asked_for() -> None:
    folder = began(claimed(), status="failed")
    assert claimed("resume=auto").folder != folder
    assert claimed("resume=auto", "retry_failed=true").folder == folder
    assert claimed(f"resume={folder}").todo == []


def test_auto_starts_anew_and_says_so_where_there_is_nothing(capsys: Captured) -> None:
    assert len(claimed("resume=auto").todo) == 1
    said = "resume=auto: outputs/runs holds no unfinished run of this command, starting anew\n"
    assert capsys.readouterr().out == said
    assert claimed("resume=auto", "hydra.run.dir=mine").folder == Path("mine")
    assert capsys.readouterr().out == "resume=auto: mine holds no run, starting anew\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["resume=must"], "nothing to resume: outputs/runs holds no unfinished run of this command. Leave resume out"),
        (["-m", "seed=1,2", "resume=must"], "nothing to resume: outputs/sweeps holds no unfinished sweep of this"),
        (["resume=nowhere"], "nothing to resume: nowhere holds no run. Leave resume out to start anew."),
        (["resume=must", "hydra.run.dir=mine"], "nothing to resume: mine holds no run."),
    ],
)
def test_must_is_an_error_where_there_is_nothing(words: list[str], text: str) -> None:
    with pytest.raises(DataError) as error:
        claimed(*words)
    assert str(error.value).startswith(text)
    assert not Path("mine").exists()


def test_a_folder_that_was_typed_is_continued_and_must_hold_the_same_settings() -> None:
    began(claimed("hydra.run.dir=mine", "seed=1"), "seed=1")
    for words in (["resume=auto", "hydra.run.dir=mine"], ["resume=mine"], ["resume=must", "hydra.run.dir=mine"]):
        assert claimed("seed=1", *words).folder == Path("mine")
    with pytest.raises(BadInput, match=r"^resume would mix results: seed was 1 in mine, and is 0 now "):
        claimed("resume=mine")
    with pytest.raises(BadInput, match=r"^hydra.run.dir must be a new or empty folder, got 'mine'. .* or resume=auto"):
        claimed("hydra.run.dir=mine", "seed=1")


def test_a_completed_run_has_nothing_left_to_do() -> None:
    began(claimed("hydra.run.dir=mine"), status="completed")
    assert claimed("resume=auto", "hydra.run.dir=mine").todo == []


def test_a_sweep_is_planned_before_it_starts() -> None:
    found = claimed("-m", "seed=0", "optimizer.lr=0.1,1", "hydra.verbose=false")
    content = json.loads((found.folder / "sweep.json").read_text())
    assert content["swept"] == ["optimizer.lr"] and content["overrides"] == ["seed=0", "optimizer.lr=0.1,1"]
    assert [job["settings"] for job in content["jobs"]] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 1}]
    assert content["launched"] == ["000_optimizer.lr=0.1,seed=0", "001_optimizer.lr=1,seed=0"]
    assert content["settings"]["model._target_"] == "src.networks.SoftmaxRegression"


def test_a_sweep_is_continued_with_the_jobs_that_are_left_and_those_that_are_new(capsys: Captured) -> None:
    first = left(claimed("-m", "optimizer.lr=0.1,1"))
    left(claimed("-m", "seed=1,2"))  # another sweep, newer
    (first.folder / first.todo[0].folder).mkdir()
    write_json(first.folder / first.todo[0].folder / "metrics.json", {"status": "completed"})
    found = left(claimed("-m", "optimizer.lr=10,0.1,1", "resume=auto"))
    assert found.folder == first.folder
    assert [job.folder for job in found.todo] == ["002_optimizer.lr=10", "001_optimizer.lr=1"]
    assert capsys.readouterr().out == f"resume=auto: continuing {first.folder}\n"
    stored = read_plan(first.folder)
    assert stored is not None and [job.folder[:3] for job in stored.jobs] == ["000", "001", "002"]
    with pytest.raises(BadInput, match=r"^resume would mix results: seed was 0 in "):
        claimed("-m", "optimizer.lr=0.1,1", "seed=5", f"resume={first.folder}")


def test_a_finished_sweep_is_not_the_one_that_auto_means() -> None:
    first = left(claimed("-m", "optimizer.lr=0.1,1"))
    for job in first.todo:
        (first.folder / job.folder).mkdir()
        write_json(first.folder / job.folder / "metrics.json", {"status": "completed"})
    assert claimed("-m", "optimizer.lr=0.1,1", "resume=auto").folder != first.folder
    assert claimed("-m", "optimizer.lr=0.1,1", f"resume={first.folder}").todo == []


def test_a_sweep_with_nothing_left_but_what_failed_is_the_one_that_auto_means(capsys: Captured) -> None:
    first = left(claimed("-m", "optimizer.lr=0.1,1"))
    for job, status in zip(first.todo, ("completed", "failed"), strict=True):
        (first.folder / job.folder).mkdir()
        write_json(first.folder / job.folder / "metrics.json", {"status": status})
    again = left(claimed("-m", "optimizer.lr=0.1,1", "resume=auto"))
    assert again.folder == first.folder and again.todo == []
    said = "where all is done but what has failed. Add retry_failed=true for that"
    assert capsys.readouterr().out == f"resume=auto: continuing {first.folder}, {said}\n"
    retried = claimed("-m", "optimizer.lr=0.1,1", "resume=auto", "retry_failed=true")
    assert retried.folder == first.folder and retried.todo == [first.todo[1]]


def test_failed_jobs_are_retried_only_where_something_is_continued() -> None:
    with pytest.raises(BadInput, match=r"^retry_failed=true is for a run or sweep that is continued. Add resume=auto"):
        claimed("retry_failed=true")


def test_a_run_that_was_stopped_before_it_had_a_config_is_passed_over() -> None:
    first = claimed()
    assert claimed("resume=auto").folder != first.folder


def test_a_sweep_that_runs_is_left_to_its_process() -> None:
    first = claimed("-m", "optimizer.lr=0.1,1")
    assert claimed("-m", "optimizer.lr=0.1,1", "resume=auto").folder != first.folder
    expected = (
        f"another process is running the sweep in {first.folder}. Wait for it, or leave resume out to start anew."
    )
    with pytest.raises(BadInput) as error:
        claimed("-m", "optimizer.lr=0.1,1", f"resume={first.folder}")
    assert str(error.value) == expected


def test_a_sweep_of_another_command_is_only_looked_at() -> None:
    first = left(claimed("-m", "optimizer.lr=0.1,1"))
    (first.folder / ".lock").unlink()
    assert claimed("-m", "optimizer.lr=0.1,1", "seed=7", "resume=auto").folder != first.folder
    assert not (first.folder / ".lock").exists()


def test_a_sweep_that_cannot_be_locked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first = left(claimed("-m", "optimizer.lr=0.1,1"))

    def refuse(self: FileLock, timeout: float) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with (
        monkeypatch.context() as patch,
        pytest.raises(BadInput, match=r"^cannot write to .* \(Read-only file system\)"),
    ):
        patch.setattr(FileLock, "acquire", refuse)
        claimed("-m", "optimizer.lr=0.1,1", f"resume={first.folder}")


def test_an_older_sweep_over_other_values_is_another_command() -> None:
    first = left(claimed("-m", "optimizer.lr=0.1,1"))
    assert left(claimed("-m", "optimizer.lr=3,4", "resume=auto")).folder != first.folder
    assert claimed("-m", "optimizer.lr=3,4", f"resume={first.folder}").folder == first.folder


def test_what_is_no_folder_or_damaged_is_passed_over_unless_it_was_typed() -> None:
    first = left(claimed("-m", "seed=1,2"))
    run = began(claimed())
    for folder in (first.folder, run):
        (folder.parent / "zz").write_text("a file")
    (first.folder / "sweep.json").write_text('{"overrides": [')
    (run / ".hydra" / "config.yaml").write_text("seed: [")
    assert claimed("-m", "seed=1,2", "resume=auto").folder != first.folder
    assert claimed("resume=auto").folder != run
    with pytest.raises(DataError, match=r"sweep.json is damaged, or of another version"):
        claimed("-m", "seed=1,2", f"resume={first.folder}")
    with pytest.raises(DataError, match=r"config.yaml is damaged"):
        claimed(f"resume={run}")


def test_a_start_that_was_killed_at_once_can_be_resumed_in_its_folder() -> None:
    for name, words in (("a", ["-m", "seed=1,2", "hydra.sweep.dir=a"]), ("b", ["hydra.run.dir=b"])):
        Path(name).mkdir()
        for file in (".lock", "sweep.json.123.part", "train.log"):
            (Path(name) / file).touch()
        assert claimed(*words, "resume=auto").folder == Path(name)
        (Path(name) / "thesis.doc").touch()
        with pytest.raises(BadInput, match="must be a new or empty folder"):
            claimed(*words)


def test_a_job_keeps_its_identity_whatever_its_values_are() -> None:
    first = left(claimed("-m", "data.resize=null,32", "trainer.limit_val_batches=1,1.0"))
    found = claimed("-m", "data.resize=null,32", "trainer.limit_val_batches=1,1.0", "resume=auto")
    assert (found.folder, found.todo) == (first.folder, first.todo)


def test_a_search_is_continued_by_the_same_space_until_it_has_its_trials() -> None:
    pytest.importorskip("optuna")
    words = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "seed=5"]
    first = left(claimed(*words))
    assert (first.left, first.todo) == (3, []) and set(first.plan.space) == {"optimizer.lr", "data.batch_size"}
    assert left(claimed(*words, "resume=auto")).folder == first.folder
    with pytest.raises(BadInput) as error:
        claimed(*words, "data.batch_size=64,128", f"resume={first.folder}")
    assert str(error.value) == (
        f"resume would mix results: {first.folder} searches {first.plan.space}, and this command "
        f"{first.plan.space | {'data.batch_size': '64,128'}}. Type the same space, or leave resume out to start anew."
    )
    with pytest.raises(BadInput, match=r"^resume would mix results: seed was 5"):
        claimed(*words[:3], "seed=6", f"resume={first.folder}")
    with pytest.raises(BadInput, match=r"and this command is a grid\. Type the same space"):
        claimed("-m", "seed=5,6", f"resume={first.folder}")

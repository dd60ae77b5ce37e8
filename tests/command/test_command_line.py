import os
import shutil
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src import settings
from src.command import command_line
from src.command.command_line import run_command
from src.errors import Stopped
from src.files import write_json
from src.sweep.plan import launched_jobs
from tests.conftest import Compose
from tests.sweeps import Sweep

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


class Command:
    """Stands for Hydra: remembers what it was started with, and leaves the results it was given."""

    def __init__(self, sweep_results: list[dict[str, str]] | None = None) -> None:
        self.started_with: list[str] | None = None
        self.task = ""
        self.sweep_results = sweep_results or []

    def __call__(self) -> None:
        self.started_with = sys.argv[1:]
        if not self.sweep_results:
            return
        for job, result in zip(launched_jobs(Path(self.folder)), self.sweep_results, strict=False):
            folder = Path(self.folder) / job.folder
            folder.mkdir()
            if result["status"] == "stopped":
                raise Stopped(130)
            write_json(folder / "metrics.json", (Sweep.RESULT if result["status"] == "completed" else {}) | result)

    def decorating(self, **settings: str) -> object:
        """What `hydra.main` is asked for: a decorator of the task."""

        def decorate(task: str) -> Command:
            self.task = task
            return self

        return decorate

    @property
    def folder(self) -> str:
        assert self.started_with is not None
        typed = [word for word in self.started_with if word.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
        return os.path.relpath(typed[-1].partition("=")[2].strip("'"))


def typed(monkeypatch: pytest.MonkeyPatch, command: Command, *arguments: str) -> int:
    monkeypatch.setattr(command_line.hydra, "main", command.decorating)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return run_command(arguments, "run", "share")  # type: ignore[arg-type]


def test_bad_input_is_one_line_on_stderr_exit_code_2_and_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    command = Command()
    assert typed(monkeypatch, command, "model=mpl") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: unknown model 'mpl'. Did you mean model=mlp? Choices: ") and err.count("\n") == 1
    assert command.started_with is None
    assert not list(Path().iterdir())


def test_a_run_gets_a_folder_named_for_its_time_model_and_data(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command()
    assert typed(monkeypatch, command, "model=mlp", "data=cifar2") == 0
    folder = Path(command.folder)
    assert folder.is_dir()
    assert folder.match("outputs/runs/????-??-??/??-??-??_mlp_cifar2*")


def test_runs_that_start_in_the_same_second_never_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for _ in range(10):
        command = Command()
        typed(monkeypatch, command, "data=synthetic")
        folders.append(command.folder)
    assert len(set(folders)) == 10


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_a_folder_that_was_asked_for_is_used_if_it_is_new_or_empty(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    multirun = ["-m"] if "sweep" in key else []
    typed(monkeypatch, Command(), f"{key}=mine", *multirun)
    assert Path("mine").is_dir()
    typed(monkeypatch, Command(), f"{key}=mine", *multirun)
    Path("mine", "file").touch()
    capsys.readouterr()
    assert typed(monkeypatch, Command(), f"{key}=mine", *multirun) == 2
    assert (
        capsys.readouterr().err
        == f"error: {key} must be a new or empty folder, got 'mine'. Try {key}=mine_2, or resume=auto to go on in it.\n"
    )


def test_the_name_of_a_folder_reaches_hydra_whatever_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command()
    assert typed(monkeypatch, command, 'hydra.run.dir="a=b, (c) \'d"') == 0
    assert command.started_with is not None and command.started_with[-1] == r"hydra.run.dir='a=b, (c) \'d'"
    assert Path("a=b, (c) 'd").is_dir()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-m", "hydra.sweep.subdir=x"], "hydra.sweep.subdir cannot be set: jobs are found by their number."),
        (["-m", "--cfg", "job"], "--cfg shows the config of a single run. Leave out -m."),
        (["--experimental-rerun", "file"], "--experimental-rerun is not supported: it runs what is in its file."),
    ],
)
def test_what_would_break_a_promise_is_refused(
    arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    command = Command()
    assert typed(monkeypatch, command, *arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {text}")
    assert command.started_with is None


@pytest.mark.parametrize("words", [["seed=3", "--config-path", "mine"], ["--config-path=mine", "seed=3"]])
def test_a_config_path_is_taken_from_the_current_folder(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(settings.CONF, "mine")
    command = Command()
    assert typed(monkeypatch, command, *words) == 0
    assert command.started_with is not None
    assert command.started_with[:3] == ["--config-path", str(Path("mine").resolve()), "seed=3"]


def test_a_folder_that_cannot_be_made_is_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    Path("file").touch()
    assert typed(monkeypatch, Command(), "hydra.run.dir=file/run") == 2
    expected = "cannot make the output folder file/run (Not a directory). Try another hydra.run.dir."
    assert capsys.readouterr().err == f"error: {expected}\n"


def test_a_folder_that_cannot_be_written_is_bad_input(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    Path("mine").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    assert typed(monkeypatch, Command(), "hydra.run.dir=mine") == 2
    assert capsys.readouterr().err == "error: cannot write to mine (permission denied). Try another hydra.run.dir.\n"


@pytest.mark.parametrize(
    "flag", [["--hydra-help"], ["--cfg", "hydra"], ["--cfg", "job", "--package", "data"], ["--info", "config"]]
)
def test_questions_are_passed_on_and_make_no_folder(flag: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command()
    assert typed(monkeypatch, command, *flag) == 0
    assert (command.started_with, command.task) == (flag, "run")
    assert not list(Path().iterdir())


def test_help_is_answered_at_once(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    command = Command()
    assert typed(monkeypatch, command, "--help") == 0
    out = capsys.readouterr().out
    for group in ("model", "model/loss"):
        assert f"{group.replace('/', '.')}: {', '.join(settings.choices(group))}\n" in out
    assert command.started_with is None and not list(Path().iterdir())


@pytest.mark.parametrize("resolve", [[], ["--resolve"]])
def test_the_configuration_is_shown_at_once_as_hydra_shows_it(
    resolve: list[str], config: Compose, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    command = Command()
    assert typed(monkeypatch, command, "--cfg", "job", *resolve, "model=mlp", "data.batch_size=32") == 0
    expected = OmegaConf.to_yaml(config("figures=true", "model=mlp", "data.batch_size=32"), resolve=bool(resolve))
    assert capsys.readouterr().out == expected
    assert command.started_with is None and not list(Path().iterdir())


def test_flags_may_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command([{"status": "completed"}] * 2)
    assert typed(monkeypatch, command, "data=synthetic", "-m", "seed=0,1") == 0
    assert command.started_with is not None
    assert command.started_with[:3] == ["--multirun", "data=synthetic", "seed=0,1"]


def test_jobs_that_are_typed_twice_are_run_once_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    command = Command([{"status": "completed"}] * 4)
    assert typed(monkeypatch, command, "-m", "optimizer.lr=0.1,1,1e-1", "seed=1,2") == 0
    out = capsys.readouterr().out
    assert out.startswith("2 of 6 jobs are the same as others, and are run once\n") and "4 of 4 jobs completed" in out


def test_a_sweep_whose_jobs_completed_exits_with_0(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    command = Command([{"status": "completed"}] * 2)
    assert typed(monkeypatch, command, "-m", "seed=0,1") == 0
    assert "2 of 2 jobs completed in outputs/sweeps/" in capsys.readouterr().out


@pytest.mark.parametrize(("results", "said"), [([{"status": "failed", "reason": "gone"}], "gone"), ([], "unfinished")])
def test_a_sweep_with_a_failed_or_missing_job_exits_with_5(
    results: list[dict[str, str]], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    command = Command([{"status": "completed"}, *results])
    assert typed(monkeypatch, command, "-m", "seed=0,1") == 5
    out = capsys.readouterr().out
    assert "1 of 2 jobs completed in " in out and said in out


def test_jobs_that_are_no_longer_asked_for_do_not_make_a_sweep_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    first = Command([{"status": "completed"}])
    assert typed(monkeypatch, first, "-m", "seed=0,1", "hydra.sweep.dir=grid") == 5
    assert typed(monkeypatch, Command([]), "-m", "seed=0", "hydra.sweep.dir=grid", "resume=auto") == 0
    assert capsys.readouterr().out.count("1 of 2 jobs completed in grid") == 2


def test_an_interrupted_sweep_shows_what_it_has_and_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    command = Command([{"status": "completed"}, {"status": "stopped"}])
    with pytest.raises(SystemExit) as stopped:
        typed(monkeypatch, command, "-m", "seed=0,1,2", "data.root=a b")
    assert stopped.value.code == 130
    out, err = capsys.readouterr()
    assert "1 of 3 jobs completed in " in out
    folder = command.folder
    line = f"python -m src.train -m seed=0,1,2 'data.root=a b' hydra.sweep.dir={folder} resume=auto\n"
    assert err == f"to go on: {line}"


def test_a_run_that_was_completed_before_is_told_and_not_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, config: Compose
) -> None:
    hydra = Path("mine") / ".hydra"
    hydra.mkdir(parents=True)
    OmegaConf.save(config(), hydra / "config.yaml")
    write_json(hydra.parent / "metrics.json", Sweep.RESULT)
    command = Command()
    assert typed(monkeypatch, command, "resume=mine") == 0
    assert capsys.readouterr().out.startswith("mine was completed before: val acc 0.7000 (epoch 3 of 5)")
    write_json(hydra.parent / "metrics.json", {"status": "failed", "reason": "Too bad."})
    assert typed(monkeypatch, command, "resume=mine") == 2
    expected = "error: mine has failed before: Too bad. Add retry_failed=true to run it again.\n"
    assert capsys.readouterr().err == expected
    assert command.started_with is None
    assert typed(monkeypatch, command, "resume=mine", "retry_failed=true") == 0
    assert command.started_with is not None


def test_the_folder_of_a_run_named_by_its_overrides_is_resumed_as_it_is_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, config: Compose
) -> None:
    hydra = Path("12-00-00_softmax_optimizer.lr=0.5,seed=3") / ".hydra"
    hydra.mkdir(parents=True)
    OmegaConf.save(config("optimizer.lr=0.5", "seed=3"), hydra / "config.yaml")
    write_json(hydra.parent / "metrics.json", Sweep.RESULT)
    assert typed(monkeypatch, Command(), "optimizer.lr=0.5", "seed=3", f"resume={hydra.parent}") == 0
    assert "was completed before: val acc 0.7000" in capsys.readouterr().out


def test_the_helpers_of_a_distributed_run_leave_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    command = Command()
    assert typed(monkeypatch, command, "trainer=ddp", "hydra.run.dir=mine") == 0
    assert command.task == "share"
    assert command.started_with == [
        "trainer=ddp",
        "hydra.run.dir=mine",
        "hydra.output_subdir=null",
        "hydra/job_logging=disabled",
        "hydra/hydra_logging=disabled",
    ]
    assert not list(Path().iterdir())

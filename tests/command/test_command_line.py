import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src import settings
from src.command import command_line
from src.errors import Stopped
from src.files import write_json
from src.sweep.plan import read_plan
from tests.conftest import composed
from tests.runs import save_settings
from tests.sweeps import Sweep

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


class Hydra:
    """Stands in for Hydra: records the words it is started with, and writes a result for each job."""

    def __init__(self) -> None:
        self.started_with: list[str] | None = None
        self.task = ""

    def answer(self, *words: str, ends: tuple[str, ...] = ()) -> int:
        """Runs a command; returns its exit code. `ends`: for each job, completed, stopped, or why it failed."""
        self.started_with, self.ends = None, ends
        return command_line.run_command(words, "run", "share")  # type: ignore[arg-type]

    def main(self, **settings: str) -> Callable[[str], Callable[[], None]]:
        """Replaces `hydra.main`: returns a decorator for the task."""
        return lambda task: partial(self.start, task)

    def start(self, task: str) -> None:
        self.task, self.started_with = task, sys.argv[1:]
        plan = read_plan(self.folder) if self.ends else None
        for job, end in zip(plan.launched_jobs() if plan else [], self.ends, strict=False):
            (self.folder / job.folder).mkdir()
            if end == "stopped":
                raise Stopped(130)
            result = Sweep.RESULT if end == "completed" else {"status": "failed", "reason": end}
            write_json(self.folder / job.folder / "metrics.json", result)

    @property
    def words(self) -> list[str]:
        assert self.started_with is not None
        return self.started_with

    @property
    def folder(self) -> Path:
        typed = [word for word in self.words if word.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
        return Path(os.path.relpath(typed[-1].partition("=")[2].strip("'")))


@pytest.fixture
def hydra(monkeypatch: pytest.MonkeyPatch) -> Hydra:
    stands_for_it = Hydra()
    monkeypatch.setattr(command_line.hydra, "main", stands_for_it.main)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    return stands_for_it


def left_by_a_run(folder: str, *overrides: str) -> Path:
    """Writes the files of a completed run; returns its metrics.json."""
    save_settings(composed(*overrides), Path(folder))
    write_json(Path(folder, "metrics.json"), Sweep.RESULT)
    return Path(folder, "metrics.json")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("model=mpl", "unknown model 'mpl'. Did you mean model=mlp? Choices: "),
        ("-m hydra.sweep.subdir=x", "hydra.sweep.subdir cannot be set: jobs are found by their number."),
        ("-m --cfg job", "--cfg shows the config of a single run. Leave out -m."),
        ("--experimental-rerun file", "--experimental-rerun is not supported: it loads a pickle, which can run"),
    ],
)
def test_bad_input_prints_one_line_to_stderr_exits_with_2_and_starts_nothing(
    words: str, answer: str, hydra: Hydra, capsys: Captured
) -> None:
    assert hydra.answer(*words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {answer}") and err.count("\n") == 1
    assert hydra.started_with is None and not list(Path().iterdir())


def test_a_run_gets_a_folder_named_by_its_time_model_and_data(hydra: Hydra) -> None:
    assert hydra.answer("model=mlp", "data=cifar2") == 0
    assert hydra.folder.is_dir() and hydra.folder.match("outputs/runs/????-??-??/??-??-??_mlp_cifar2*")


def test_runs_that_start_in_the_same_second_never_share_a_folder(hydra: Hydra) -> None:
    folders = set()
    for _ in range(10):
        hydra.answer("data=synthetic")
        folders.add(hydra.folder)
    assert len(folders) == 10


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir"])
def test_a_typed_folder_must_be_new_or_empty(key: str, hydra: Hydra, capsys: Captured) -> None:
    words = [f"{key}=mine", *(["-m"] if "sweep" in key else [])]
    hydra.answer(*words)
    assert Path("mine").is_dir()
    hydra.answer(*words)
    Path("mine", "file").touch()
    capsys.readouterr()
    assert hydra.answer(*words) == 2
    used = f"{key} must be a new or empty folder, got 'mine'. Try {key}=mine_2, or add resume=auto."
    assert capsys.readouterr().err == f"error: {used}\n"


def test_a_folder_name_with_special_characters_reaches_hydra(hydra: Hydra) -> None:
    assert hydra.answer('hydra.run.dir="a=b, (c) \'d"') == 0
    assert hydra.words[-1] == r"hydra.run.dir='a=b, (c) \'d'" and Path("a=b, (c) 'd").is_dir()


@pytest.mark.parametrize("words", [["seed=3", "--config-path", "mine"], ["--config-path=mine", "seed=3"]])
def test_a_config_path_is_relative_to_the_current_folder(words: list[str], hydra: Hydra) -> None:
    shutil.copytree(settings.CONF, "mine")
    assert hydra.answer(*words) == 0
    assert hydra.words[:3] == ["--config-path", str(Path("mine").resolve()), "seed=3"]


def test_a_folder_that_cannot_be_made_or_written_is_bad_input(
    hydra: Hydra, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    Path("file").touch()
    assert hydra.answer("hydra.run.dir=file/run") == 2
    expected = "cannot make the output folder file/run (Not a directory). Try another hydra.run.dir."
    assert capsys.readouterr().err == f"error: {expected}\n"
    Path("mine").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    assert hydra.answer("hydra.run.dir=mine") == 2
    assert capsys.readouterr().err == "error: cannot write to mine (permission denied). Try another hydra.run.dir.\n"


@pytest.mark.parametrize("flags", ["--hydra-help", "--cfg hydra", "--cfg job --package data", "--info config"])
def test_flags_that_ask_for_information_are_passed_to_hydra_and_make_no_folder(flags: str, hydra: Hydra) -> None:
    assert hydra.answer(*flags.split()) == 0
    assert (hydra.words, hydra.task) == (flags.split(), "run")
    assert not list(Path().iterdir())


def test_help_is_printed_without_starting_hydra(hydra: Hydra, capsys: Captured) -> None:
    assert hydra.answer("--help") == 0
    out = capsys.readouterr().out
    for group in ("model", "model/loss"):
        assert f"{group.replace('/', '.')}: {', '.join(settings.choices(group))}\n" in out
    assert hydra.started_with is None and not list(Path().iterdir())


@pytest.mark.parametrize("resolve", [[], ["--resolve"]])
def test_cfg_job_prints_the_same_as_hydra_without_starting_it(
    resolve: list[str], hydra: Hydra, capsys: Captured
) -> None:
    assert hydra.answer("--cfg", "job", *resolve, "model=mlp", "data.batch_size=32") == 0
    expected = OmegaConf.to_yaml(composed("figures=true", "model=mlp", "data.batch_size=32"), resolve=bool(resolve))
    assert capsys.readouterr().out == expected
    assert hydra.started_with is None and not list(Path().iterdir())


def test_a_completed_sweep_exits_with_0_wherever_its_flag_is_typed(hydra: Hydra, capsys: Captured) -> None:
    for words in (["data=synthetic", "-m", "seed=0,1"], ["-m", "data=synthetic", "seed=0,1"]):
        assert hydra.answer(*words, ends=("completed",) * 2) == 0
        assert hydra.words[:3] == ["--multirun", "data=synthetic", "seed=0,1"]
        assert "2 of 2 jobs completed in outputs/sweeps/" in capsys.readouterr().out


def test_duplicate_jobs_are_run_once_and_reported(hydra: Hydra, capsys: Captured) -> None:
    assert hydra.answer("-m", "optimizer.lr=0.1,1,1e-1", "seed=1,2", ends=("completed",) * 4) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 of 6 jobs are the same as others, and are run once\n") and "4 of 4 jobs completed" in out


@pytest.mark.parametrize(("ends", "said"), [(["gone"], "gone"), ([], "unfinished")])
def test_a_sweep_with_a_failed_or_missing_job_exits_with_5(
    ends: list[str], said: str, hydra: Hydra, capsys: Captured
) -> None:
    assert hydra.answer("-m", "seed=0,1", ends=("completed", *ends)) == 5
    out = capsys.readouterr().out
    assert "1 of 2 jobs completed in " in out and said in out


def test_jobs_of_an_earlier_command_do_not_make_a_sweep_fail(hydra: Hydra, capsys: Captured) -> None:
    assert hydra.answer("-m", "seed=0,1", "hydra.sweep.dir=grid", ends=("completed",)) == 5
    assert hydra.answer("-m", "seed=0", "hydra.sweep.dir=grid", "resume=auto") == 0
    assert capsys.readouterr().out.count("1 of 2 jobs completed in grid") == 2


def test_an_interrupted_sweep_prints_its_results_and_how_to_resume_it(hydra: Hydra, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as stopped:
        hydra.answer("-m", "seed=0,1,2", "data.root=a b", ends=("completed", "stopped"))
    out, err = capsys.readouterr()
    assert stopped.value.code == 130 and "1 of 3 jobs completed in " in out
    again = f"python -m src.train -m seed=0,1,2 'data.root=a b' hydra.sweep.dir={hydra.folder} resume=auto"
    assert err == f"to resume: {again}\n"


def test_a_completed_or_failed_run_is_reported_and_not_run_again(hydra: Hydra, capsys: Captured) -> None:
    result = left_by_a_run("mine")
    assert hydra.answer("resume=mine") == 0
    assert capsys.readouterr().out.startswith("mine was completed before: val acc 0.7000 (epoch 3 of 5)")
    assert hydra.started_with is None
    write_json(result, {"status": "failed", "reason": "Too bad."})
    assert hydra.answer("resume=mine") == 2
    expected = "error: mine has failed before: Too bad. Add retry_failed=true to run it again.\n"
    assert capsys.readouterr().err == expected and hydra.started_with is None
    assert hydra.answer("resume=mine", "retry_failed=true") == 0
    assert hydra.started_with is not None


def test_a_folder_named_by_overrides_can_be_typed_without_quotes_to_resume_it(hydra: Hydra, capsys: Captured) -> None:
    result = left_by_a_run("12-00-00_softmax_optimizer.lr=0.5,seed=3", "optimizer.lr=0.5", "seed=3")
    assert hydra.answer("optimizer.lr=0.5", "seed=3", f"resume={result.parent}") == 0
    assert "was completed before: val acc 0.7000" in capsys.readouterr().out


def test_the_helper_processes_of_a_distributed_run_write_no_files(
    hydra: Hydra, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert hydra.answer("trainer=ddp", "hydra.run.dir=mine") == 0
    no_files = ["hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled"]
    assert hydra.words == ["trainer=ddp", "hydra.run.dir=mine", *no_files]
    assert hydra.task == "share" and not list(Path().iterdir())

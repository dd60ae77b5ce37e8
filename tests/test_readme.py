"""The README and docs/: commands at the start of a line are valid. .ci/run also runs those of the README."""

import re
import shlex
from pathlib import Path

import pytest

import src.data as data_command
import src.eval as eval_command
from src import predict, settings
from src.command import jobs
from src.command.jobs import checked_jobs
from src.sweep import launchers
from tests.runs import ROOT, checked, refusal

README = (ROOT / "README.md").read_text()
HELP = (settings.CONF / "hydra" / "help" / "lab.yaml").read_text()
PAGES = "".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
COMMANDS = re.findall(r"^ *python -m src\.train(.*)$", README + HELP + PAGES, flags=re.MULTILINE)
FINISHED_COMMANDS = re.findall(r"^ *python -m src\.(eval|predict)(.*)$", README + HELP + PAGES, flags=re.MULTILINE)
DATA_COMMANDS = re.findall(r"^ *python -m src\.data(.*)$", README + str(data_command.__doc__), flags=re.MULTILINE)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_every_training_command_is_valid(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (jobs, launchers):  # as if every extra and Slurm were installed
        monkeypatch.setattr(module, "find_spec", lambda name: True)
    monkeypatch.setattr(launchers, "which", lambda name: name)
    assert checked(*shlex.split(arguments)).configs


@pytest.mark.parametrize(("command", "arguments"), FINISHED_COMMANDS)
def test_every_command_for_finished_runs_is_valid(
    command: str, arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("signal.signal", lambda *handler: None)
    monkeypatch.chdir(tmp_path)
    names = ("photos/a.png", "outputs/runs/day/run/figures/examples/a.png", "drawing.jpg")
    for path in map(Path, names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert {"eval": eval_command, "predict": predict}[command].main(shlex.split(arguments)) == 3  # there is no run
    assert "there is no completed run in outputs/" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", DATA_COMMANDS)
def test_every_data_command_is_valid(arguments: str) -> None:
    assert checked_jobs(shlex.split(arguments), multirun=False, config_name="data").configs


def test_the_mistakes_in_the_readme_get_the_answers_shown_there() -> None:
    shown = re.findall(r"^\$ python -m src\.train (.*)\nerror: (.*)$", README, flags=re.MULTILINE)
    assert len(shown) == 2
    for override, answer in shown:
        beginning, dots = answer.removesuffix("..."), answer.endswith("...")
        assert refusal(override).startswith(beginning) and dots and beginning.endswith(": ")


def test_the_readme_is_short_and_every_linked_file_exists() -> None:
    assert README.count("\n") < 200
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), link

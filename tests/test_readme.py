"""What the README says: its commands are checked here as the command line checks them, and run by .ci/run."""

import re
import shlex
from pathlib import Path

import pytest

from src.errors import BadInput
from src.jobs import CONF, checked_jobs

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
HELP = (Path(CONF) / "hydra" / "help" / "lab.yaml").read_text()
COMMANDS = re.findall(r"^ *python -m src\.train(.*)$", README + HELP, flags=re.MULTILINE)


@pytest.mark.parametrize("arguments", COMMANDS)
def test_every_command_can_be_typed(arguments: str) -> None:
    words = shlex.split(arguments)
    overrides = [word for word in words if word != "-m"]
    assert checked_jobs(overrides, multirun="-m" in words).configs


def test_the_mistakes_it_shows_are_answered_as_it_says() -> None:
    shown = re.findall(r"^\$ python -m src\.train (.*)\nerror: (.*)$", README, flags=re.MULTILINE)
    assert len(shown) == 2
    for override, answer in shown:
        with pytest.raises(BadInput) as caught:
            checked_jobs([override], multirun=False)
        assert str(caught.value) == answer


def test_it_stays_short_and_every_file_it_links_to_exists() -> None:
    assert README.count("\n") < 200
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link

"""A finished run, trained once."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import composed
from tests.runs import SMALL, trained


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, copied by each test that needs one."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    trained(composed(*SMALL, "trainer.max_epochs=2"), folder)
    return folder


@pytest.fixture
def run(run_once: Path, in_an_empty_folder: Path) -> Path:
    shutil.copytree(run_once, "run")
    return Path("run")

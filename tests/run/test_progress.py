import io
import sys
import time
from pathlib import Path
from threading import enumerate as enumerate_threads

import pytest

from src.errors import Diverged
from src.run import progress
from src.train import train
from tests.conftest import Compose
from tests.runs import SMALL


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """What the test has for standard error; called by the test, as pytest sets its own before."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_DRAWINGS", 0.005)
    return stderr


def test_a_bar_shows_the_epoch_and_how_far_the_run_is(
    config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stderr = terminal(monkeypatch)
    train(config(*SMALL, "trainer=cpu", "trainer.max_epochs=20"), tmp_path)
    drawn = stderr.getvalue().split("\r")
    epochs = [int(text.partition("/")[0].removeprefix("epoch ")) for text in drawn if text.startswith("epoch ")]
    shares = [int(text.partition("%")[0].split()[-1]) for text in drawn if "%" in text]
    assert len(set(epochs)) > 3 and epochs == sorted(epochs) and max(epochs) <= 20
    assert len(set(shares)) > 3 and shares == sorted(shares) and max(shares) <= 100
    assert all("image/s" in text and " left, " in text for text in drawn if text.startswith("epoch "))
    assert drawn[-2].strip() == "" == drawn[-1]  # wiped
    time.sleep(0.05)
    assert "progress" not in {thread.name for thread in enumerate_threads()}


def test_it_is_drawn_a_few_times_a_second_however_many_steps_there_are(
    config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stderr = terminal(monkeypatch)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_DRAWINGS", 0.25)
    result = train(config(*SMALL, "trainer=cpu", "trainer.max_epochs=30", "data.batch_size=4"), tmp_path)
    drawn = [text for text in stderr.getvalue().split("\r") if text.startswith("epoch ") and "%" in text]
    assert len(drawn) <= result.train_seconds / 0.25 + result.epochs + 1  # again after the line of each epoch


def test_a_share_of_the_batches_is_a_whole_run(
    config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stderr = terminal(monkeypatch)
    train(
        config(*SMALL, "trainer=cpu", "trainer.max_epochs=30", "data.batch_size=4", "trainer.limit_train_batches=6"),
        tmp_path,
    )
    shares = [int(text.partition("%")[0].split()[-1]) for text in stderr.getvalue().split("\r") if "%" in text]
    assert 50 < max(shares) <= 100


def test_a_quiet_run_draws_nothing(config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stderr = terminal(monkeypatch)
    train(config(*SMALL, "trainer=cpu", "trainer.max_epochs=5"), tmp_path, quiet=True)
    assert stderr.getvalue() == ""


def test_where_there_is_no_terminal_nothing_is_drawn(
    config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config(*SMALL, "trainer=cpu", "trainer.max_epochs=5"), tmp_path)
    assert capsys.readouterr().err == ""


def test_a_run_that_fails_leaves_no_bar_behind(
    config: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stderr = terminal(monkeypatch)
    with pytest.raises(Diverged):
        train(config(*SMALL, "trainer=cpu", "model=mlp", "optimizer.lr=1e30", "trainer.max_epochs=5"), tmp_path)
    time.sleep(0.05)
    assert "progress" not in {thread.name for thread in enumerate_threads()}
    assert stderr.getvalue().split("\r")[-2].strip() == ""

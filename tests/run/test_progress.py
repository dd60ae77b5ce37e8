import io
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import enumerate as enumerate_threads
from typing import Any

from src.errors import Diverged
from src.run import progress
from src.train import train
from tests.conftest import Captured, Patch, composed
from tests.runs import SMALL


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(folder: Path, patch: Patch, *overrides: str, seconds: float = 0.005, quiet: bool = False) -> Any:
    """Trains a small run on a terminal; returns its drawings in order, and its result or None if it diverges."""
    stderr, result = Terminal(), None
    patch.setattr(sys, "stderr", stderr)
    patch.setattr(progress, "SECONDS_BETWEEN_DRAWINGS", seconds)
    with suppress(Diverged):
        result = train(composed(*SMALL, "trainer=cpu", *overrides), folder, quiet=quiet)
    return stderr.getvalue().split("\r"), result


def shares(drawn: list[str]) -> list[int]:
    """The share of the run in percent that each drawing shows as done."""
    return [int(text.partition("%")[0].split()[-1]) for text in drawn if "%" in text]


def assert_no_bar_is_left(drawn: list[str]) -> None:
    assert drawn[-2].strip() == ""  # the bar was cleared
    time.sleep(0.05)
    assert "progress" not in {thread.name for thread in enumerate_threads()}


def test_the_bar_shows_the_epoch_and_the_share_of_the_run_that_is_done(monkeypatch: Patch, tmp_path: Path) -> None:
    drawn, result = run(tmp_path, monkeypatch, "trainer.max_epochs=20")
    epochs = [int(text.partition("/")[0].removeprefix("epoch ")) for text in drawn if text.startswith("epoch ")]
    assert len(set(epochs)) > 3 and epochs == sorted(epochs) and max(epochs) <= 20 == result.epochs
    assert len(set(shares(drawn))) > 3 and shares(drawn) == sorted(shares(drawn)) and max(shares(drawn)) <= 100
    assert all("image/s" in text and " left, " in text for text in drawn if text.startswith("epoch "))
    assert drawn[-1] == ""
    assert_no_bar_is_left(drawn)


def test_the_bar_is_drawn_at_a_fixed_rate_for_any_number_of_steps(monkeypatch: Patch, tmp_path: Path) -> None:
    drawn, result = run(tmp_path, monkeypatch, "trainer.max_epochs=30", "data.batch_size=4", seconds=0.25)
    bars = [text for text in drawn if text.startswith("epoch ") and "%" in text]
    assert len(bars) <= result.train_seconds / 0.25 + result.epochs + 1  # and once after the line of each epoch


def test_limit_train_batches_shortens_the_whole_of_the_bar(monkeypatch: Patch, tmp_path: Path) -> None:
    words = ["trainer.max_epochs=30", "data.batch_size=4", "trainer.limit_train_batches=6"]
    drawn, result = run(tmp_path, monkeypatch, *words)
    assert 50 < max(shares(drawn)) <= 100 and result.epochs == 30


def test_a_quiet_run_draws_nothing(monkeypatch: Patch, tmp_path: Path) -> None:
    drawn, result = run(tmp_path, monkeypatch, "trainer.max_epochs=5", quiet=True)
    assert drawn == [""] and result.epochs == 5


def test_without_a_terminal_nothing_is_drawn(tmp_path: Path, capsys: Captured) -> None:
    train(composed(*SMALL, "trainer=cpu", "trainer.max_epochs=5"), tmp_path)
    assert capsys.readouterr().err == ""


def test_a_run_that_fails_leaves_no_bar_behind(monkeypatch: Patch, tmp_path: Path) -> None:
    drawn, result = run(tmp_path, monkeypatch, "model=mlp", "optimizer.lr=1e30", "trainer.max_epochs=5")
    assert result is None
    assert_no_bar_is_left(drawn)

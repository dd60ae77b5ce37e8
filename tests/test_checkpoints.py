from pathlib import Path
from typing import Any

import pytest
import torch

from src import checkpoints
from src.checkpoints import KeepBest, KeepLast


class Trained:
    """What the callbacks need of a trainer that ends one epoch after another."""

    is_global_zero = True

    def __init__(self) -> None:
        self.epoch = 0

    def save_checkpoint(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".new")
        part.write_text(f"epoch {self.epoch}")
        part.replace(path)


def run(folder: Path, accuracies: list[float], best: KeepBest | None = None) -> tuple[KeepBest, list[tuple[str, str]]]:
    """The contents of best.ckpt and last.ckpt after each epoch."""
    trainer: Any = Trained()
    keep_best = best or KeepBest(folder)
    keep_last = KeepLast(folder, keep_best)
    keep_last.on_train_start(trainer, trainer)
    seen = []
    for trainer.epoch, accuracy in enumerate(accuracies, start=1):
        if keep_best.best_model_score is None or accuracy > keep_best.best_model_score:
            keep_best.best_model_score = torch.tensor(accuracy)
            keep_best.best_model_path = str(folder / "best.ckpt")
            trainer.save_checkpoint(folder / "best.ckpt")
        keep_last.on_train_epoch_end(trainer, trainer)
        seen.append(((folder / "best.ckpt").read_text(), (folder / "last.ckpt").read_text()))
    return keep_best, seen


EXPECTED = [("epoch 1", "epoch 1"), ("epoch 1", "epoch 2"), ("epoch 3", "epoch 3"), ("epoch 3", "epoch 4")]


def test_last_is_always_the_newest_epoch_and_best_the_best(tmp_path: Path) -> None:
    assert run(tmp_path, [0.5, 0.4, 0.6, 0.6])[1] == EXPECTED
    assert {path.name for path in tmp_path.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_new_best_epoch_is_written_once(tmp_path: Path) -> None:
    run(tmp_path, [0.5, 0.6])
    assert (tmp_path / "best.ckpt").samefile(tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").is_symlink()


def test_without_hard_links_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*arguments: object) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(checkpoints.os, "link", no_links)
    assert run(tmp_path, [0.5, 0.4, 0.6, 0.6])[1] == EXPECTED
    assert not (tmp_path / "best.ckpt").samefile(tmp_path / "last.ckpt")


def test_a_best_epoch_from_before_a_resume_is_not_taken_for_the_newest(tmp_path: Path) -> None:
    best, _ = run(tmp_path, [0.5])
    assert run(tmp_path, [0.4], best)[1] == [("epoch 1", "epoch 1")]
    assert not (tmp_path / "best.ckpt").samefile(tmp_path / "last.ckpt")


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt.part").write_text("half")
    assert run(tmp_path, [0.5])[1] == [("epoch 1", "epoch 1")]

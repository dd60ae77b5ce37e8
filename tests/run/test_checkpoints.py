import random
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import pytest
import torch

from src.errors import DataError
from src.run.checkpoints import KeepBest, KeepLast, RandomState, WholeFiles, checkpoint_to_resume
from src.train import train
from tests.conftest import Compose, Patch
from tests.runs import SMALL


class Trained:
    """The part of a trainer that the callbacks use."""

    is_global_zero, epoch = True, 0

    def save_checkpoint(self, path: Path) -> None:
        WholeFiles().save_checkpoint({"epoch": self.epoch}, path)


def epoch_of(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["epoch"])


def run(folder: Path, accuracies: list[float], best: KeepBest | None = None) -> tuple[KeepBest, list[tuple[int, ...]]]:
    """Ends an epoch with each accuracy; returns the callback, and the epochs in best.ckpt and last.ckpt each time."""
    trainer: Any = Trained()
    keep_best = best or KeepBest(folder)
    keep_last = KeepLast(folder, keep_best)
    folder /= "checkpoints"
    keep_last.on_train_start(trainer, trainer)
    seen = []
    for trainer.epoch, accuracy in enumerate(accuracies, start=1):
        if keep_best.best_model_score is None or accuracy > keep_best.best_model_score:
            keep_best.best_model_score = torch.tensor(accuracy)
            keep_best.best_model_path = str(folder / "best.ckpt")
            trainer.save_checkpoint(folder / "best.ckpt")
        keep_last.on_train_epoch_end(trainer, trainer)
        seen.append(tuple(epoch_of(folder / name) for name in ("best.ckpt", "last.ckpt")))
    return keep_best, seen


def are_one_file(folder: Path) -> bool:
    return (folder / "checkpoints/best.ckpt").samefile(folder / "checkpoints/last.ckpt")


@pytest.mark.parametrize("links", [True, False])
def test_last_is_always_the_newest_epoch_and_best_the_best(links: bool, tmp_path: Path, monkeypatch: Patch) -> None:
    if not links:
        monkeypatch.setattr("os.link", mock.Mock(side_effect=OSError("not supported")))
    assert run(tmp_path, [0.5, 0.4, 0.6, 0.6])[1] == [(1, 1), (1, 2), (3, 3), (3, 4)]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert not are_one_file(tmp_path)
    run(tmp_path / "new", [0.5, 0.6])  # a new best epoch is written once, or copied if there are no hard links
    assert are_one_file(tmp_path / "new") is links and not (tmp_path / "new/checkpoints/last.ckpt").is_symlink()


def test_after_a_resume_last_is_not_linked_to_the_best_epoch_before_it(tmp_path: Path) -> None:
    best, _ = run(tmp_path, [0.5])
    assert run(tmp_path, [0.4], best)[1] == [(1, 1)] and not are_one_file(tmp_path)


def test_the_partial_file_of_a_killed_process_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt.part").write_text("half")
    assert run(tmp_path, [0.5])[1] == [(1, 1)]


def test_writing_last_does_not_change_a_best_that_is_linked_to_it(tmp_path: Path) -> None:
    WholeFiles().save_checkpoint({"epoch": 1}, tmp_path / "best.ckpt")
    (tmp_path / "last.ckpt").hardlink_to(tmp_path / "best.ckpt")
    WholeFiles().save_checkpoint({"epoch": 2}, tmp_path / "last.ckpt")
    assert (epoch_of(tmp_path / "best.ckpt"), epoch_of(tmp_path / "last.ckpt")) == (1, 2)


def test_a_full_disk_is_reported_and_keeps_the_earlier_checkpoint(tmp_path: Path, monkeypatch: Patch) -> None:
    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device", str(path))

    WholeFiles().save_checkpoint({"epoch": 1}, tmp_path / "last.ckpt")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device"):
        WholeFiles().save_checkpoint({"epoch": 2}, tmp_path / "last.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"] and epoch_of(tmp_path / "last.ckpt") == 1


def test_a_run_writes_one_checkpoint_per_epoch(config: Compose, tmp_path: Path) -> None:
    cfg = config("data=synthetic", "trainer.max_epochs=3", "optimizer.lr=0.01", "trainer=cpu")
    save = WholeFiles.save_checkpoint
    with mock.patch.object(WholeFiles, "save_checkpoint", autospec=True, side_effect=save) as calls:
        result = train(cfg, tmp_path)
    written = [Path(call.args[2]).name for call in calls.call_args_list]
    assert len(written) == 3 and set(written) <= {"best.ckpt", "last.ckpt"}
    folder = tmp_path / "checkpoints"
    assert epoch_of(folder / "best.ckpt") + 1 == result.best_epoch and epoch_of(folder / "last.ckpt") + 1 == 3


def test_a_run_without_a_checkpoint_starts_new_and_a_damaged_one_is_reported(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path) is None
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeFiles().save_checkpoint({"epoch": 3}, path)
    assert checkpoint_to_resume(tmp_path) == path
    content = path.read_bytes()
    for damaged in (b"", content[:1], content[: len(content) // 2], b"\xff" * len(content)):
        path.write_bytes(damaged)
        with pytest.raises(DataError) as error:
            checkpoint_to_resume(tmp_path)
        assert str(error.value).startswith(f"{path} is damaged or not a checkpoint (")
        assert str(error.value).endswith("Delete it to start this run again.")


def test_the_random_generators_are_restored_when_training_starts(tmp_path: Path) -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), float(numpy.random.random()), float(torch.rand(()))

    trainer: Any = None
    WholeFiles().save_checkpoint({"random": RandomState().state_dict()}, tmp_path / "last.ckpt")
    expected = draws()
    assert draws() != expected
    later = RandomState()
    later.on_train_start(trainer, trainer)  # nothing was loaded
    assert draws() != expected
    later.load_state_dict(torch.load(tmp_path / "last.ckpt", weights_only=True)["random"])
    assert draws() != expected  # they are restored only when training starts
    later.on_train_start(trainer, trainer)
    assert draws() == expected


def test_a_run_whose_folder_was_moved_keeps_its_best_epoch(config: Compose, tmp_path: Path) -> None:
    cfg = config(*SMALL, "optimizer.lr=1.0", "trainer.max_epochs=8", "seed=2")
    whole = train(cfg, tmp_path / "whole")
    assert whole.best_epoch < 8
    cfg.trainer.max_epochs = whole.best_epoch + 1
    train(cfg, tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    cfg.trainer.max_epochs = 8
    assert train(cfg, tmp_path / "moved").metrics == whole.metrics
    assert not (tmp_path / "first").exists()

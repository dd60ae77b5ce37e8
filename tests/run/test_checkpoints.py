import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import pytest
import torch

from src.errors import BadInput, DataError
from src.run.checkpoint_file import WholeFiles
from src.run.checkpoints import KeepBest, KeepLast, RandomState, checkpoint_to_resume
from src.run.provenance import code
from src.train import train
from tests.conftest import Compose, Patch
from tests.runs import SMALL, assert_same_weights


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
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
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


def test_a_run_without_a_checkpoint_starts_new(tmp_path: Path) -> None:
    assert checkpoint_to_resume(tmp_path) is None


@pytest.mark.parametrize("damaged", ["last.ckpt", "previous.ckpt", "best.ckpt"])
def test_any_one_damaged_checkpoint_is_named_and_made_up_for(damaged: str, config: Compose, tmp_path: Path) -> None:
    cfg, folder = config(*SMALL, "trainer.max_epochs=4", "optimizer.lr=0.01"), tmp_path / "checkpoints"
    whole = train(cfg, tmp_path / "whole")
    cfg.trainer.max_epochs = 3
    train(cfg, tmp_path)
    before = checkpoint_to_resume(tmp_path)
    assert before == folder / "last.ckpt" and epoch_of(before) == 2 and epoch_of(folder / "previous.ckpt") == 1
    flip_a_bit(folder / damaged)
    cfg.trainer.max_epochs = 4
    assert train(cfg, tmp_path).metrics == whole.metrics
    assert_same_weights(tmp_path / "whole/checkpoints/last.ckpt", folder / "last.ckpt")
    assert (tmp_path / "metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()


def test_if_no_checkpoint_can_be_used_the_files_are_named_and_stay(config: Compose, tmp_path: Path) -> None:
    train(config(*SMALL, "trainer.max_epochs=2"), tmp_path)
    folder = tmp_path / "checkpoints"
    for name in ("last.ckpt", "previous.ckpt"):
        (folder / name).write_bytes(b"damaged")
    with pytest.raises(
        DataError, match=r"last\.ckpt is damaged .*previous\.ckpt is damaged .*To start this run again, "
    ):
        checkpoint_to_resume(tmp_path)
    assert [(folder / name).read_bytes() for name in ("last.ckpt", "previous.ckpt")] == [b"damaged"] * 2
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"last\.ckpt is missing\. To start this run again, delete .*metrics\.csv\.$"):
        checkpoint_to_resume(tmp_path)


def test_a_run_whose_best_epoch_is_lost_ends_before_it_trains(config: Compose, tmp_path: Path) -> None:
    cfg = config(*SMALL, "optimizer.lr=1.0", "trainer.max_epochs=8", "seed=2")  # the last epoch is not the best
    assert train(cfg, tmp_path).best_epoch < 8
    (tmp_path / "checkpoints/best.ckpt").unlink()
    with pytest.raises(DataError, match=r"best\.ckpt is missing\. last\.ckpt is of another epoch\."):
        checkpoint_to_resume(tmp_path)


def test_a_checkpoint_of_other_settings_or_other_code_is_refused(
    config: Compose, tmp_path: Path, monkeypatch: Patch
) -> None:
    cfg = config(*SMALL, "trainer.max_epochs=1")
    train(cfg, tmp_path)
    cfg.trainer.max_epochs = 2
    monkeypatch.setitem(code()["versions"], "torch", "1.0")
    with pytest.raises(BadInput, match=r"made by other code \(torch 2\..*, now 1\.0\).*or add resume\.force=true\.$"):
        train(cfg, tmp_path)
    cfg.optimizer.lr = 0.5
    with pytest.raises(DataError, match="is of a run with other settings"):
        train(cfg, tmp_path)
    cfg.optimizer.lr, cfg.force_resume = 0.1, True
    assert train(cfg, tmp_path).epochs == 2


ODD_STATES: dict[str, tuple[list[str], Callable[[dict[str, Any]], Any]]] = {
    "a text as lr": (["optimizer=sgd"], lambda found: group(found).update(lr="x")),
    "betas of 5": (["optimizer=adam"], lambda found: group(found).update(betas=5)),
    "capturable": (["optimizer=adam"], lambda found: group(found).update(capturable=True)),
    "a small tensor": (["optimizer=adam"], lambda found: state_of(found).update(exp_avg=torch.zeros(3))),
    "a method": (["scheduler=cosine"], lambda found: found["lr_schedulers"][0].update(step=5)),
    "T_max of 0": (["scheduler=cosine"], lambda found: found["lr_schedulers"][0].update(T_max=0)),
    "an infinite best score": ([], lambda found: keep_best(found).update(best_model_score=torch.tensor(float("inf")))),
    "another best score": ([], lambda found: keep_best(found).update(best_model_score=torch.tensor(2.0))),
    "a negative counter": (
        [],
        lambda found: found["loops"]["fit_loop"]["epoch_progress"]["current"].update(completed=-(10**12)),
    ),
    "a row of epoch 99": ([], lambda found: found["history"]["rows"][0].update(epoch=99)),
}


def group(found: dict[str, Any]) -> dict[str, Any]:
    return found["optimizer_states"][0]["param_groups"][0]  # type: ignore[no-any-return]


def state_of(found: dict[str, Any]) -> dict[str, Any]:
    return found["optimizer_states"][0]["state"][0]  # type: ignore[no-any-return]


def keep_best(found: dict[str, Any]) -> dict[str, Any]:
    (state,) = (state for key, state in found["callbacks"].items() if key.startswith("KeepBest"))
    return state  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ODD_STATES)
def test_a_checkpoint_with_an_odd_state_does_not_fit_its_run(kind: str, config: Compose, tmp_path: Path) -> None:
    words, change = ODD_STATES[kind]
    cfg = config(*SMALL, "trainer.max_epochs=2", "optimizer.lr=0.01", *words)
    train(cfg, tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        found = torch.load(path, weights_only=True)
        change(found)
        path.unlink()
        torch.save(found, path)
    cfg.trainer.max_epochs = 3
    with pytest.raises(DataError, match=r"does not fit this run|is damaged|the best of the checkpoint"):
        train(cfg, tmp_path)


def test_a_checkpoint_that_lightning_made_for_slurm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hpc_ckpt_1.ckpt").touch()
    with pytest.raises(DataError, match=r"hpc_ckpt_1\.ckpt is not a file of this project"):
        checkpoint_to_resume(tmp_path)


@pytest.mark.parametrize("name", ["local://{}/precious", "{}/run/checkpoints/../../precious"])
def test_lightning_is_given_no_path_of_a_checkpoint(name: str, config: Compose, tmp_path: Path) -> None:
    """Lightning deletes the files that `best_k_models` and `kth_best_model_path` name when a better epoch comes."""
    cfg, precious = config(*SMALL, "trainer.max_epochs=1", "optimizer.lr=0.001"), tmp_path / "precious"
    train(cfg, tmp_path / "run")
    precious.write_text("kept")
    path = tmp_path / "run/checkpoints/last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    (state,) = (state for key, state in checkpoint["callbacks"].items() if key.startswith("KeepBest"))
    other = name.format(tmp_path)
    paths = dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), other)
    state |= paths | {"best_model_score": torch.tensor(0.0), "kth_value": torch.tensor(0.0)}
    state |= {"best_k_models": {other: torch.tensor(0.0)}, "dirpath": str(path.parent)}
    torch.save(checkpoint, path)
    cfg.trainer.max_epochs = 4
    train(cfg, tmp_path / "run")
    assert precious.read_text() == "kept"


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # another name of the file stays as it is
    path.write_bytes(content)


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

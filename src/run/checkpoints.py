"""Checkpoints of a run: best.ckpt, the epoch with the best validation accuracy, and last.ckpt, the newest.

A run whose folder has a last.ckpt continues from it, and ends as if it had never been interrupted.
"""

import filecmp
import logging
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, cast

import numpy
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor

from src.errors import BadInput, DataError, LabError
from src.files import in_one_line, typeable, whole
from src.metrics import MONITOR
from src.run.checkpoint_file import load
from src.run.history import read_rows
from src.run.records import BEST_CHECKPOINT, CURVES_FILE, LAST_CHECKPOINT, PREVIOUS_CHECKPOINT

CHANGED_BY_TRAINING = {  # by optimizers and schedulers
    *("lr", "momentum", "betas", "last_epoch", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"),
}
log = logging.getLogger(__name__)


def checkpoint_to_resume(run_dir: Path) -> Path | None:
    """The newest undamaged checkpoint, from which the run continues; None for a new run.

    If last.ckpt is damaged, previous.ckpt takes its place.

    Raises:
        DataError: every checkpoint is damaged or missing, although epochs were trained, or Lightning made one.
    """
    for path in run_dir.glob("hpc_ckpt_*"):  # on Slurm, Lightning would continue from it
        name = typeable(path)
        raise DataError(f"{name} is not a file of this project, which continues from {LAST_CHECKPOINT}. Remove it.")
    last, previous, best = (run_dir / name for name in (LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, BEST_CHECKPOINT))
    problem = problem_of(last)
    if problem and (previous.exists() or last.exists()):
        if lost := problem_of(previous):
            raise DataError(f"{problem} {lost} To start this run again, delete {last.parent} and {CURVES_FILE}.")
        log.warning("warning: %s Continuing from the epoch before.", problem)
        is_best = last.exists() and best.exists() and filecmp.cmp(last, best, shallow=False)
        link(previous, last)
        if is_best:  # best.ckpt is damaged too; training repeats this epoch and saves it again
            return last
    elif problem:
        if read_rows(run_dir):
            raise DataError(f"{problem} To start this run again, delete {run_dir / CURVES_FILE}.")
        return None
    check_best(best, last)
    return last


def problem_of(path: Path) -> str:
    """Why a checkpoint cannot be used; empty if it can."""
    try:
        load(path, way_out="")
    except DataError as error:
        return str(error).strip()
    return ""


def check_best(best: Path, last: Path) -> None:
    """Checks best.ckpt before training, because the run ends with it.

    If it is damaged and last.ckpt is of the best epoch, best.ckpt becomes a link to last.ckpt.

    Raises:
        DataError: best.ckpt is damaged, and last.ckpt is of another epoch.
    """
    if not (problem := problem_of(best)):
        return
    rows = load(last, way_out="")["history"]["rows"]
    if rows and max(rows, key=lambda row: row.get(MONITOR, 0.0)) != rows[-1]:
        raise DataError(f"{problem} last.ckpt is of another epoch. Train again, in another folder.")
    link(last, best)


class KeepBest(ModelCheckpoint):
    """Keeps the first epoch with the best `MONITOR` as best.ckpt. Only this class decides which epoch is best."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / BEST_CHECKPOINT
        super().__init__(
            self.path.parent,
            filename=self.path.stem,
            monitor=MONITOR,
            mode="max",
            enable_version_counter=False,
            # At the end of the training epoch: a loss that is not finite has then already ended the run.
            save_on_train_epoch_end=True,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the best score. Saved paths are ignored: Lightning deletes the files that `best_k_models` names.

        Private: the attributes that `ModelCheckpoint.load_state_dict` of lightning 2.6.6 sets.
        """
        score, path = state_dict["best_model_score"], str(self.path)
        if not isinstance(score, Tensor) or score.shape != () or not score.isfinite():
            raise ValueError("its best score is not a number")
        self.best_model_score = self.kth_value = score
        self.best_model_path = self.kth_best_model_path = path
        self.best_k_models = {path: score}

    @property
    def score(self) -> float:
        """The best `MONITOR` so far."""
        if self.best_model_score is None:
            raise BadInput("no epoch was validated, so there is no best epoch. Remove what prevents validation.")
        return float(self.best_model_score)


class KeepLast(Checkpoint):
    """Keeps the newest epoch as last.ckpt, and the one before it as previous.ckpt.

    If the epoch was just saved as best.ckpt, last.ckpt is a hard link to it. This needs `WholeFiles`: it never writes
    into an existing file. (`save_last` of `ModelCheckpoint` skips epochs that are not a new best.)
    """

    def __init__(self, run_dir: Path, best: ModelCheckpoint) -> None:
        self.path = run_dir / LAST_CHECKPOINT
        self.best = best

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.best_score = self.best.best_model_score

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.path.exists():
            link(self.path, self.path.with_name(Path(PREVIOUS_CHECKPOINT).name))
        if self.best.best_model_score == self.best_score:
            trainer.save_checkpoint(self.path)
        elif trainer.is_global_zero:
            link(Path(self.best.best_model_path), self.path)
        self.best_score = self.best.best_model_score


def check_optimizers(trainer: Trainer, task: LightningModule) -> None:
    """Compares restored optimizers and schedulers with new ones: torch restores whatever a checkpoint has for them.

    Raises:
        ValueError: a setting has another type, or another value although training does not change it; or a state
            tensor has another shape.
    """
    made: Any = task.configure_optimizers()
    made = made if isinstance(made, dict) else {"optimizer": made}
    check_like(trainer.optimizers[0].state_dict()["param_groups"], made["optimizer"].state_dict()["param_groups"])
    for parameter, state in trainer.optimizers[0].state.items():
        if any(isinstance(value, Tensor) and value.shape not in ((), parameter.shape) for value in state.values()):
            raise ValueError("a tensor of its optimizer has another shape")
    if "lr_scheduler" in made:
        restored = trainer.lr_scheduler_configs[0].scheduler
        check_like(restored.state_dict(), made["lr_scheduler"]["scheduler"].state_dict())


def check_like(found: Any, expected: Any, key: str = "") -> None:
    """Checks that values have the keys and types of the expected ones. Only what training changes may differ."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        for name, value in expected.items():
            check_like(found[name], value, name)
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(found) == len(expected):
        for left, right in zip(found, expected, strict=True):
            check_like(left, right, key)
    elif key in CHANGED_BY_TRAINING:
        if type(found) is not type(expected) or (isinstance(found, float) and not isfinite(found)):
            raise ValueError(f"{key} of its optimizer or scheduler is {found!r}")
    elif found != expected or type(found) is not type(expected):
        raise ValueError(f"{key} of its optimizer or scheduler is {found!r}, expected {expected!r}")


def link(path: Path, other: Path) -> None:
    """Makes `other` a hard link to a file, or a copy if the file system has no hard links."""
    with whole(other) as part:
        try:
            os.link(path, part)
        except OSError:
            shutil.copyfile(path, part)


@contextmanager
def restoring(run_dir: Path, state: Any) -> Iterator[Path | None]:
    """Yields the checkpoint to continue from. An unexpected error before training begins means that it does not fit.

    `state` is the `FitState` of the run, which knows whether training has begun.

    Lightning and torch restore loops and optimizers from a checkpoint without checking that it is of the same run.

    Raises:
        DataError: the checkpoint does not fit the run, or see `checkpoint_to_resume`.
    """
    path = checkpoint_to_resume(run_dir)
    try:
        yield path
    except Exception as error:
        is_known = isinstance(error, LabError | OSError | torch.OutOfMemoryError)
        if path is None or state.training_has_begun or is_known:
            raise
        reason = f"{type(error).__name__}: {in_one_line(error)}"
        raise DataError(f"{path} does not fit this run ({reason}). Train again in a new folder.") from error


class RandomState(Callback):
    """Saves the state of the random generators in every checkpoint, so that a resumed run draws the same numbers."""

    def __init__(self) -> None:
        self.loaded: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        name, keys, *numbers = cast(tuple[Any, ...], numpy.random.get_state())
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(keys.astype(numpy.int64)), *numbers),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restored last: everything before this point also draws random numbers."""
        if not self.loaded:
            return
        random.setstate(self.loaded["python"])
        name, keys, *numbers = self.loaded["numpy"]
        numpy.random.set_state((name, keys.numpy(), *numbers))
        torch.set_rng_state(self.loaded["torch"])
        if self.loaded["cuda"] and len(self.loaded["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self.loaded["cuda"])

"""Checkpoints of a run: best.ckpt, the epoch with the best validation accuracy, and last.ckpt, the newest.

A run whose folder has a last.ckpt continues from it, and ends as if it had never been interrupted.
"""

import io
import os
import random
import shutil
from pathlib import Path
from typing import Any, cast

import numpy
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from src.errors import BadInput, DataError
from src.files import whole
from src.metrics import MONITOR
from src.run.result import BEST_CHECKPOINT, LAST_CHECKPOINT


def checkpoint_to_resume(run_dir: Path) -> Path | None:
    """The checkpoint that a run continues from; None if no earlier start has left one."""
    path = run_dir / LAST_CHECKPOINT
    if not path.exists():
        return None
    load(path, way_out="Delete it to start this run again.")
    return path


def load(path: Path, *, way_out: str) -> dict[str, Any]:
    """Loads a checkpoint: tensors, numbers and text. Nothing in the file is executed.

    Raises:
        DataError: the file is missing or cannot be read; the message ends with `way_out`.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. {way_out}") from None
    except Exception as error:  # torch raises many kinds of errors
        raise DataError(f"{path} is damaged or not a checkpoint ({type(error).__name__}). {way_out}") from error
    return checkpoint


class WholeFiles(TorchCheckpointIO):
    """Writes checkpoints atomically.

    Lightning's own class first writes to the system's temporary folder. If that is on another file system, it then
    overwrites the checkpoint in place: a killed process leaves half a file, and hard links to it change too.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # torch would report a full disk as a RuntimeError
        torch.save(checkpoint, content)
        with whole(path) as part:
            part.write_bytes(content.getbuffer())


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
        """Restores the best score, but not the saved paths: the run's folder may have been moved.

        Private: the keys of `ModelCheckpoint.state_dict` of lightning 2.6.6.
        """
        super().load_state_dict(state_dict | {"dirpath": self.dirpath, "best_model_path": str(self.path)})

    @property
    def score(self) -> float:
        """The best `MONITOR` so far."""
        if self.best_model_score is None:
            raise BadInput("no epoch was validated, so there is no best epoch. Remove what prevents validation.")
        return float(self.best_model_score)


class KeepLast(Checkpoint):
    """Keeps the newest epoch as last.ckpt.

    If the epoch was just saved as best.ckpt, last.ckpt is a hard link to it. This needs `WholeFiles`: it never writes
    into an existing file. (`save_last` of `ModelCheckpoint` skips epochs that are not a new best.)
    """

    def __init__(self, run_dir: Path, best: ModelCheckpoint) -> None:
        self.path = run_dir / LAST_CHECKPOINT
        self.best = best

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.best_score = self.best.best_model_score

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.best.best_model_score == self.best_score:
            trainer.save_checkpoint(self.path)
        elif trainer.is_global_zero:
            link(Path(self.best.best_model_path), self.path)
        self.best_score = self.best.best_model_score


def link(path: Path, other: Path) -> None:
    """Makes `other` a hard link to a file, or a copy if the file system has no hard links."""
    with whole(other) as part:
        try:
            os.link(path, part)
        except OSError:
            shutil.copyfile(path, part)


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

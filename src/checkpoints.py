"""Checkpoints of a run: best.ckpt, the epoch with the best validation accuracy, and last.ckpt, the newest."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and puts it there whole.

    Lightning's own goes by way of the system's temporary folder. Where that is another file system it writes over the
    file in place: a kill leaves half of it, and other names of the file change with it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # torch would tell of a full disk as a RuntimeError
        torch.save(checkpoint, content)
        part = path.with_name(f"{path.name}.part")
        try:
            part.write_bytes(content.getbuffer())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


class KeepBest(ModelCheckpoint):
    """Lightning's, with the settings of a run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            filename="best",
            monitor="val/acc",
            mode="max",
            enable_version_counter=False,
            # At the end of the training epoch: by then a loss that is not finite has ended the run.
            save_on_train_epoch_end=True,
        )


class KeepLast(Checkpoint):
    """Keeps every epoch as last.ckpt, until the next one.

    Where it has just become best.ckpt, last.ckpt is another name of that file: nothing is written twice. (`save_last`
    of `ModelCheckpoint` does not write the epochs that are not a new best.) Needs `WholeFiles`, which never writes into
    a file that is there.

    Args:
        folder: of the checkpoints.
        best: the callback that keeps the best epoch.
    """

    def __init__(self, folder: Path, best: ModelCheckpoint) -> None:
        self.path = folder / "last.ckpt"
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
    """Gives a file another name, which another one may have had; copies it where there are no hard links."""
    part = other.with_name(f"{other.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(path, part)
    except OSError:
        shutil.copyfile(path, part)
    part.replace(other)

"""Checkpoints of a run: best.ckpt, the epoch with the best validation accuracy, and last.ckpt, the newest.

A run whose folder has a last.ckpt goes on from there, and ends as if it had never been interrupted.
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

from src.errors import DataError
from src.files import whole

LAST = "last.ckpt"


def to_continue(run_dir: Path) -> Path | None:
    """The checkpoint that a run goes on from, if an earlier start has left one.

    Raises:
        DataError: it cannot be read.
    """
    path = run_dir / "checkpoints" / LAST
    if not path.exists():
        return None
    load(path, way_out="Delete it to start this run anew.")
    return path


def load(path: Path, *, way_out: str) -> dict[str, Any]:
    """A checkpoint's content: tensors, numbers and text; nothing in the file is run.

    Raises:
        DataError: it is missing or cannot be read; `way_out` says what to do.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. {way_out}") from None
    except Exception as error:  # torch raises many kinds
        raise DataError(f"{path} is damaged or no checkpoint of ours ({type(error).__name__}). {way_out}") from error
    return checkpoint


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
        with whole(path) as part:
            part.write_bytes(content.getbuffer())


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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Where the run's folder has been moved since, best.ckpt has moved with it."""
        path = str(Path(self.dirpath or "") / "best.ckpt")
        super().load_state_dict(state_dict | {"dirpath": self.dirpath, "best_model_path": path})


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
        self.path = folder / LAST
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
    with whole(other) as part:
        try:
            os.link(path, part)
        except OSError:
            shutil.copyfile(path, part)


class RandomState(Callback):
    """Keeps the state of the random generators in every checkpoint: dropout goes on as if nothing had happened."""

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
        """Only now: what comes before draws, too."""
        if not self.loaded:
            return
        random.setstate(self.loaded["python"])
        name, keys, *numbers = self.loaded["numpy"]
        numpy.random.set_state((name, keys.numpy(), *numbers))
        torch.set_rng_state(self.loaded["torch"])
        if self.loaded["cuda"] and len(self.loaded["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self.loaded["cuda"])

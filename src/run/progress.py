"""The progress bar of a run on the terminal."""

from threading import Event, Thread
from typing import Any

from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

SECONDS_BETWEEN_DRAWINGS = 0.25


class Progress(Callback):
    """A progress bar for the whole run, if stderr is a terminal and the run is not `quiet`.

    A thread draws it from numbers that training counts anyway, so that no step waits for it.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        loader: Any = trainer.train_dataloader
        share = trainer.num_training_batches / len(loader)  # the trained fraction of an epoch
        per_epoch = round(len(data.splits["train"]) * share / trainer.world_size)
        self.ended = Event()
        self.thread = Thread(target=self.draw, args=(trainer, pl_module), name="progress", daemon=True)
        self.bar = tqdm(
            total=per_epoch * (trainer.max_epochs or 0),
            initial=per_epoch * trainer.current_epoch,
            unit="image",
            unit_scale=True,
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {remaining} left, {rate_fmt}",
            disable=self.quiet or not trainer.is_global_zero or None,
            leave=False,
        )
        if not self.bar.disable:
            self.thread.start()

    def draw(self, trainer: Trainer, task: Any) -> None:
        while not self.ended.wait(SECONDS_BETWEEN_DRAWINGS):
            epoch, last = trainer.current_epoch + 1, trainer.max_epochs or 0
            self.bar.set_description_str(f"epoch {min(epoch, last)}/{last}", refresh=False)
            self.bar.n = self.bar.initial + task.train_tally.images
            self.bar.refresh()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join()  # so that it does not draw after the bar is closed
        self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.bar is not None:
            self.on_train_end(trainer, pl_module)

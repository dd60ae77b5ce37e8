"""How far a run is, on the terminal while it trains."""

from threading import Event, Thread
from typing import Any

from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

SECONDS = 0.25  # between two drawings


class Progress(Callback):
    """A bar for the whole run; nothing where standard error is no terminal.

    A thread of its own draws it, from what training counts anyway: no step waits for it.

    Args:
        quiet: draw nothing at all.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        per_epoch = len(data.splits["train"]) // trainer.world_size
        self.bar = tqdm(
            total=per_epoch * (trainer.max_epochs or 0),
            initial=per_epoch * trainer.current_epoch,
            unit="image",
            unit_scale=True,
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {remaining} left, {rate_fmt}",
            disable=self.quiet or None,
            leave=False,
        )
        self.ended = Event()
        if not self.bar.disable and trainer.is_global_zero:
            Thread(target=self.draw, args=(trainer, pl_module), name="progress", daemon=True).start()

    def draw(self, trainer: Trainer, task: Any) -> None:
        while not self.ended.wait(SECONDS):
            self.bar.set_description_str(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", refresh=False)
            self.bar.n = self.bar.initial + task.train_tally.images
            self.bar.refresh()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ended.set()
        self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.bar is not None:
            self.on_train_end(trainer, pl_module)

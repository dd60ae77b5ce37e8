"""Optimizer steps outside Lightning's loop, equal to Lightning's own steps on one device."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from lightning import LightningModule, Trainer
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from src.steps.executions import Batch

Compute = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # images, labels -> loss, scores; sets the gradients
Count = Callable[[Tensor, Tensor, Tensor], None]  # loss, scores, labels


def train_on(batches: Iterable[Batch], task: LightningModule, *, gradients: Compute, count: Count) -> None:
    """Makes one optimizer step for each batch, and steps the task's scheduler.

    `gradients` computes the gradients of a batch; `count` is called with its loss, scores and labels.
    """
    trainer, optimizer = task.trainer, task.trainer.optimizers[0]
    scheduler = cast(LRScheduler | None, task.lr_schedulers())
    counter = step_counter(trainer)
    for batch in batches:
        images, labels = as_input(batch, trainer)
        loss, scores = gradients(images, labels)
        count(loss, scores, labels)
        if trainer.gradient_clip_val:
            task.clip_gradients(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
        optimizer.step()
        counter.increment_by(1)
        if scheduler is not None:
            scheduler.step()


def as_input(batch: Batch, trainer: Trainer) -> Batch:
    """Converts a batch of an execution to the trainer's precision; Lightning does so for other batches."""
    return cast(Batch, trainer.precision_plugin.convert_input(batch))


def step_counter(trainer: Trainer) -> Any:
    """Lightning's count of optimizer steps, which `global_step`, checkpoints and schedulers depend on.

    Private: `fit_loop.epoch_loop.automatic_optimization.optim_progress` of lightning 2.6.6. The public way, manual
    optimization, is slower and does not support `gradient_clip_val`.
    """
    return trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step

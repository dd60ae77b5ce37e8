"""The task: one batch to a loss and an accuracy, and the optimizer that lowers the loss."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from src.errors import BadInput, Diverged
from src.executions import Batch, Execution, Executions
from src.gradients import CapturedGradients, Gradients
from src.networks import Classifier

COUNTED_AT_ONCE = 128  # batches


class MeanLoss(Metric):
    """Mean loss over images, from the means of batches of `count` images each.

    torchmetrics' own `MeanMetric` drops NaN, which would hide a divergence; told not to (`nan_strategy="disable"`), its
    1.9.0 forgets the weights.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: Tensor, count: int) -> None:
        self.total = self.total.float() + losses.float().sum() * count  # in half precision the sum would overflow
        self.count += losses.numel() * count

    def compute(self) -> Tensor:
        return self.total / self.count


class Tally(nn.Module):
    """Loss and accuracy of a split, exact over its images.

    Batches are kept as they come, and many of them handed to torchmetrics at once: counting costs nothing per step, and
    on a GPU nothing waits for it.

    Args:
        split: `train`, `val` or `test`.
        num_classes: length of the scores.

    Attributes:
        images: how many this process has counted since the beginning.
    """

    def __init__(self, split: str, *, num_classes: int) -> None:
        super().__init__()
        self.images = 0
        accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        self.metrics = MetricCollection({"loss": MeanLoss(), "acc": accuracy}, prefix=f"{split}/", compute_groups=False)
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Takes one batch: its mean loss, scores (batch, num_classes) and labels (batch,)."""
        if self.batches and (len(self.batches) == COUNTED_AT_ONCE or len(labels) != len(self.batches[0][2])):
            self.count()
        self.batches.append((loss.detach(), scores.detach(), labels))
        self.images += len(labels)

    def count(self) -> None:
        losses, scores, labels = zip(*self.batches, strict=True)
        self.metrics.update(
            losses=torch.stack(losses), count=len(labels[0]), preds=torch.cat(scores), target=torch.cat(labels)
        )
        self.batches.clear()

    def take(self) -> dict[str, Tensor]:
        """The split's loss and accuracy; counting starts anew."""
        if self.batches:
            self.count()
        values: dict[str, Tensor] = self.metrics.compute()
        self.metrics.reset()
        return values


class ClassificationTask(LightningModule):
    """Trains and measures any network that turns images into scores.

    Logs `loss` and `acc` of `train`, `val` and `test`, exact over the whole split, with the epoch (from 1) as step.

    Args:
        network: images to scores, and its loss.
        num_classes: length of the scores.
        optimizer: called with the network's parameters; None for a task that only measures.
        scheduler: called with the optimizer and `total_steps`; stepped after every optimizer step. None of its making
            leaves the learning rate alone.
        cuda_graph: on a GPU, work out the gradients of an execution's batches by a captured graph.

    Raises:
        BadInput: the optimizer refuses its settings.
        Diverged: a split's loss is not finite.
    """

    def __init__(
        self,
        network: Classifier,
        *,
        num_classes: int,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., LRScheduler | None] | None = None,
        cuda_graph: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.cuda_graph = cuda_graph
        self.train_tally = Tally("train", num_classes=num_classes)
        self.val_tally = Tally("val", num_classes=num_classes)
        self.test_tally = Tally("test", num_classes=num_classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images)
        return scores

    def on_fit_start(self) -> None:
        captured = self.cuda_graph and self.device.type == "cuda"
        make = CapturedGradients if captured else Gradients
        self.gradients = make(self.network, self.trainer.precision_plugin.train_step_context)

    def on_train_batch_start(self, batch: Batch | Execution, batch_idx: int) -> None:
        """Trains on all batches of an execution but the last, which is left to Lightning."""
        if isinstance(batch, Execution):
            self.train_on(batch.all_but_last())

    def training_step(self, batch: Batch | Execution, batch_idx: int) -> Tensor:
        if isinstance(batch, Execution):  # Lightning sees to the precision of a plain batch
            batch = cast(Batch, self.trainer.precision_plugin.convert_input(batch.last()))
        loss, _ = self.measure(batch, self.train_tally)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the scores, for callbacks."""
        _, scores = self.measure(batch, self.val_tally)
        return scores

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the scores, for callbacks."""
        _, scores = self.measure(batch, self.test_tally)
        return scores

    def measure(self, batch: Batch, tally: Tally) -> tuple[Tensor, Tensor]:
        """The loss and the scores of one batch, counted into its split's tally."""
        images, labels = batch
        scores: Tensor = self.network(images)
        loss: Tensor = self.network.loss(scores=scores, labels=labels)
        tally.add(loss, scores, labels)
        return loss, scores

    def train_on(self, batches: Iterable[Batch]) -> None:
        """An optimizer step for each batch, as Lightning makes it for a plain trainer on one device."""
        trainer, optimizer = self.trainer, self.trainer.optimizers[0]
        scheduler = cast(LRScheduler | None, self.lr_schedulers())
        convert, gradients, tally = trainer.precision_plugin.convert_input, self.gradients, self.train_tally
        global_step = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step
        for batch in batches:
            images, labels = convert(batch)
            loss, scores = gradients(images, labels)
            tally.add(loss, scores, labels)
            if trainer.gradient_clip_val:
                self.clip_gradients(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
            optimizer.step()
            global_step.increment_by(1)
            if scheduler is not None:
                scheduler.step()

    def on_train_epoch_end(self) -> None:
        self.report(self.train_tally, epoch=self.current_epoch + 1)

    def on_validation_epoch_end(self) -> None:
        self.report(self.val_tally, epoch=self.current_epoch + 1)

    def on_test_epoch_end(self) -> None:
        self.report(self.test_tally, epoch=self.current_epoch)  # all of them have been trained

    def report(self, tally: Tally, *, epoch: int) -> None:
        """Logs a split's loss and accuracy."""
        values = tally.take()
        for name, value in values.items():
            if not torch.isfinite(value):
                raise Diverged(
                    f"training diverged: {name} is {value.item()} in epoch {epoch}. Try a smaller optimizer.lr."
                )
        # In a distributed run the metrics have already been gathered: sync_dist only says so to Lightning.
        self.log_dict(values | {"step": float(epoch)}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        assert self.make_optimizer and self.make_scheduler
        try:
            optimizer = self.make_optimizer(self.network.parameters())
        except (TypeError, ValueError) as error:
            raise BadInput(f"the optimizer cannot be made: {error}.") from error
        scheduler = self.make_scheduler(optimizer, total_steps=self.total_steps())
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def total_steps(self) -> int:
        """Optimizer steps of the whole fit."""
        steps = int(self.trainer.estimated_stepping_batches)  # makes the loader, if it is not there yet
        loader = self.trainer.train_dataloader
        return steps * len(loader.loader) // len(loader) if isinstance(loader, Executions) else steps

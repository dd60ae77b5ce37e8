"""The Lightning task: computes the loss and the metrics of each batch, and makes the optimizer."""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection

from src.errors import BadInput, Diverged
from src.files import in_one_line
from src.metrics import METRICS
from src.networks import Classifier
from src.steps.executions import Batch, Execution, steps_of_fit
from src.steps.gradients import gradients_of
from src.steps.optimizer_steps import as_input, train_on

COUNTED_AT_ONCE = 128  # batches


class MeanLoss(Metric):
    """Mean loss over images, from the mean losses of batches of `count` images each.

    The `MeanMetric` of torchmetrics 1.9.0 drops NaN, which would hide a divergence; with `nan_strategy="disable"` it
    ignores weights.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: Tensor, count: int) -> None:
        self.total = self.total.float() + losses.float().sum() * count  # a sum in half precision would overflow
        self.count += losses.numel() * count

    def compute(self) -> Tensor:
        return self.total / self.count


class Tally(nn.Module):
    """Loss and metrics of a split (`train`, `val` or `test`), exact over its images.

    Batches are passed to torchmetrics many at a time, so that a step costs almost nothing and a GPU does not wait.
    """

    def __init__(self, split: str, *, num_classes: int) -> None:
        super().__init__()
        self.images = 0  # number of images that this process has added so far
        metrics = {
            name: resolve_name(metric.target)(num_classes=num_classes, **metric.settings)
            for name, metric in METRICS.items()
        }
        self.metrics = MetricCollection({"loss": MeanLoss()} | metrics, prefix=f"{split}/", compute_groups=False)
        self.batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Adds one batch: its mean loss, scores (batch, num_classes) and labels (batch,)."""
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
        """Returns the loss and metrics of the split, and resets the tally."""
        if self.batches:
            self.count()
        values: dict[str, Tensor] = self.metrics.compute()
        self.metrics.reset()
        return values


class ClassificationTask(LightningModule):
    """Trains and measures any network that turns images into scores.

    Logs the exact loss and metrics of each split (`train`, `val`, `test`). The logged step is the epoch, from 1.

    Args:
        network: maps images to scores, and computes the loss.
        optimizer: called with the network's parameters; None for a task that only measures.
        scheduler: makes a scheduler, stepped after every step, from the optimizer and `total_steps`; or returns None.
        cuda_graph: whether to use a captured CUDA graph on a GPU, for all but the last batch of an execution.

    Raises:
        BadInput: the optimizer refuses its settings.
        Diverged: the loss or a metric of a split is not finite.
    """

    def __init__(
        self,
        network: Classifier,
        num_classes: int,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: Callable[..., LRScheduler | None] | None = None,
        *,
        cuda_graph: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.make_optimizer = optimizer
        if optimizer:
            self.new_optimizer()  # checks its settings now, before the images are read
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
        self.gradients = gradients_of(self.network, self.trainer, captured=captured)

    def on_train_batch_start(self, batch: Batch | Execution, batch_idx: int) -> None:
        """Trains on all batches of an execution except the last one, which Lightning trains on."""
        if isinstance(batch, Execution):
            train_on(batch.all_but_last(), self, gradients=self.gradients, count=self.train_tally.add)

    def training_step(self, batch: Batch | Execution, batch_idx: int) -> Tensor:
        if isinstance(batch, Execution):
            batch = as_input(batch.last(), self.trainer)
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

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the scores; the labels are ignored."""
        images, _ = batch
        scores: Tensor = self.network(images)
        return scores

    def measure(self, batch: Batch, tally: Tally) -> tuple[Tensor, Tensor]:
        """Returns the loss and the scores of one batch, and adds them to a tally."""
        images, labels = batch
        scores: Tensor = self.network(images)
        loss: Tensor = self.network.loss(scores=scores, labels=labels)
        tally.add(loss, scores, labels)
        return loss, scores

    def on_train_epoch_end(self) -> None:
        self.log_split(self.train_tally, epoch=self.current_epoch + 1)

    def on_validation_epoch_end(self) -> None:
        self.log_split(self.val_tally, epoch=self.current_epoch + 1)

    def on_test_epoch_end(self) -> None:
        self.log_split(self.test_tally, epoch=self.current_epoch)  # after a fit, the number of its epochs

    def log_split(self, tally: Tally, *, epoch: int) -> None:
        """Logs the loss and the metrics of a split."""
        values = tally.take()
        for name, value in values.items():
            if not torch.isfinite(value):
                raise Diverged(
                    f"training diverged: {name} is {value.item()} in epoch {epoch}. Try a smaller optimizer.lr."
                )
        # In a distributed run torchmetrics has gathered the values; `sync_dist` only avoids a warning of Lightning's.
        self.log_dict(values | {"step": float(epoch)}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        assert self.make_scheduler, "a task without an optimizer only measures"
        optimizer = self.new_optimizer()
        scheduler = self.make_scheduler(optimizer, total_steps=steps_of_fit(self.trainer))
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def new_optimizer(self) -> Optimizer:
        """A new optimizer of the network's parameters. Raises BadInput if a setting is invalid."""
        assert self.make_optimizer, "a task without an optimizer only measures"
        try:
            return self.make_optimizer(self.network.parameters())
        except (TypeError, ValueError, IndexError, RuntimeError) as error:
            raise BadInput(f"the optimizer cannot be made: {in_one_line(error)}.") from error

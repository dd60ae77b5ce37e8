"""The task: one batch to a loss and an accuracy, and the optimizer that lowers the loss."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from src.errors import BadInput, Diverged
from src.networks import Classifier

Batch = tuple[Tensor, Tensor]  # images (batch, channels, height, width), labels (batch,)


class MeanLoss(Metric):
    """Mean loss over images, from the means and sizes of batches.

    torchmetrics' own `MeanMetric` drops NaN, which would hide a divergence; told not to (`nan_strategy="disable"`), its
    1.9.0 forgets the weights.
    """

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, loss: Tensor, count: int) -> None:
        self.total += loss * count
        self.count += count

    def compute(self) -> Tensor:
        return self.total / self.count


class ClassificationTask(LightningModule):
    """Trains and measures any network that turns images into scores.

    Logs `loss` and `acc` of `train`, `val` and `test`, exact over the whole split, with the epoch (from 1) as step.

    Args:
        network: images to scores, and its loss.
        num_classes: length of the scores.
        optimizer: called with the network's parameters.
        scheduler: called with the optimizer and `total_steps`; stepped after every optimizer step.

    Raises:
        BadInput: the optimizer refuses its settings.
        Diverged: a split's loss is not finite.
    """

    def __init__(
        self,
        network: Classifier,
        *,
        num_classes: int,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
    ) -> None:
        super().__init__()
        self.network = network
        self.images_trained = 0  # by this process
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        metrics = MetricCollection(
            {
                "loss": MeanLoss(),
                "acc": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
            },
            compute_groups=False,
        )
        self.train_metrics = metrics.clone(prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images)
        return scores

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.images_trained += len(batch[1])
        return self.measure(batch, self.train_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.measure(batch, self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.measure(batch, self.test_metrics)

    def measure(self, batch: Batch, metrics: MetricCollection) -> Tensor:
        """The loss of one batch, counted into the metrics of its split."""
        images, labels = batch
        scores = self.network(images)
        loss = self.network.loss(scores=scores, labels=labels)
        metrics.update(loss=loss.detach(), count=len(labels), preds=scores.detach(), target=labels)
        return loss

    def on_train_epoch_start(self) -> None:
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)

    def on_train_epoch_end(self) -> None:
        self.report(self.train_metrics, epoch=self.current_epoch + 1)

    def on_validation_epoch_end(self) -> None:
        self.report(self.val_metrics, epoch=self.current_epoch + 1)

    def on_test_epoch_end(self) -> None:
        self.report(self.test_metrics, epoch=self.current_epoch)  # all of them have been trained

    def report(self, metrics: MetricCollection, *, epoch: int) -> None:
        """Logs a split's loss and accuracy, and starts counting anew."""
        values = metrics.compute()
        metrics.reset()
        for name, value in values.items():
            if not torch.isfinite(value):
                raise Diverged(
                    f"training diverged: {name} is {value.item()} in epoch {epoch}. Try a smaller optimizer.lr."
                )
        # In a distributed run the metrics have already been gathered: sync_dist only says so to Lightning.
        self.log_dict(values | {"step": float(epoch)}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.make_optimizer(self.network.parameters())
        except (TypeError, ValueError) as error:
            raise BadInput(f"the optimizer cannot be made: {error}.") from error
        scheduler = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

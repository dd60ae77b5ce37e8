"""Computes the loss, scores and gradients of one batch, eagerly or on a GPU with a captured CUDA graph."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning import Trainer
from torch import Tensor

from src.networks import Classifier

WARM_UP = 3  # passes before the capture, in which libraries allocate memory and select kernels; as many as in torch
Context = Callable[[], AbstractContextManager[Any]]  # of a forward pass: autocast for mixed precision
log = logging.getLogger(__name__)


def gradients_of(network: Classifier, trainer: Trainer, *, captured: bool) -> "Gradients | CapturedGradients":
    """Makes the object that computes gradients in the trainer's precision."""
    make = CapturedGradients if captured else Gradients
    return make(network, trainer.precision_plugin.train_step_context)


class Gradients:
    """Computes the gradients of the parameters by autograd; `context` is entered around each forward pass."""

    def __init__(self, network: Classifier, context: Context) -> None:
        self.network = network
        self.context = context
        self.parameters = list(network.parameters())

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Sets the gradients of the parameters for one batch; returns its mean loss and its scores."""
        with self.context():
            scores = self.network(images)
            loss = self.network.loss(scores=scores, labels=labels)
        for parameter in self.parameters:  # `zero_grad` would collect the parameters at every step
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), scores.detach()


class CapturedGradients:
    """Computes the same as `Gradients` with a CUDA graph: one launch instead of dozens.

    The first batch fixes the shape. Batches of another shape, and all batches if the capture fails, go to `Gradients`.
    """

    def __init__(self, network: Classifier, context: Context) -> None:
        self.network = network
        self.eager = Gradients(network, context)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.failed = False

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Like `Gradients`."""
        if self.graph is None and not self.failed and not torch.is_anomaly_enabled():  # it reads every tensor
            self.capture(images, labels)
        if self.graph is None or images.shape != self.images.shape:
            return self.eager(images, labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()
        for parameter, gradient in self.gradients:  # the graph always writes to the same tensors
            parameter.grad = gradient
        return self.loss.clone(), self.scores.clone()

    def capture(self, images: Tensor, labels: Tensor) -> None:
        """Captures the passes of one batch. Weights, running statistics and the random state do not change."""
        self.images, self.labels = images.clone(), labels.clone()
        before = [buffer.clone() for buffer in self.network.buffers()]
        random_state = torch.cuda.get_rng_state(images.device)
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(images.device)
        try:
            side = torch.cuda.Stream(images.device)  # type: ignore[no-untyped-call]
            side.wait_stream(stream)
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self.eager(self.images, self.labels)
            stream.wait_stream(side)
            self.network.zero_grad()  # so that the graph creates its own gradients instead of adding to these
            with torch.cuda.graph(graph):
                self.loss, self.scores = self.eager(self.images, self.labels)
            self.gradients = [(parameter, parameter.grad) for parameter in self.network.parameters()]
            self.graph = graph
        except RuntimeError as error:
            self.failed = True
            torch.cuda.set_stream(stream)  # a failed capture leaves its own stream current
            log.warning("training continues without a CUDA graph: %s", str(error).partition("\n")[0])
        finally:
            torch.cuda.set_rng_state(random_state, images.device)
            for buffer, values in zip(self.network.buffers(), before, strict=True):
                buffer.copy_(values)

"""The networks: from images to scores, and the loss that each learns by.

Images are (batch, channels, height, width), scores (batch, num_classes).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_STD = 0.01  # Dive into Deep Learning draws the weights of linear networks from N(0, 0.01)


def probabilities(scores: Tensor) -> Tensor:
    """Softmax of the scores over the classes, (batch, num_classes)."""
    return F.softmax(scores, dim=1)


def on_one_hot(regression_loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss between numbers as one between scores and one-hot labels, mean over the batch and the classes."""

    def loss(scores: Tensor, labels: Tensor) -> Tensor:
        return regression_loss(scores, F.one_hot(labels, scores.shape[1]).to(scores.dtype))

    return loss


Loss = Callable[[Tensor, Tensor], Tensor]  # scores (batch, num_classes), labels (batch,) -> mean over the batch, ()

LOSSES: dict[str, Loss] = {
    "cross_entropy": F.cross_entropy,
    "squared": on_one_hot(F.mse_loss),
    "absolute": on_one_hot(F.l1_loss),
    "huber": on_one_hot(F.huber_loss),
}

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


class Classifier(nn.Module, ABC):
    """Scores images, one score (a logit, never a probability) for each class."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, channels, height, width) to scores (batch, num_classes)."""

    @property
    def num_parameters(self) -> int:
        """Numbers that are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def loss(self, *, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the batch; scores (batch, num_classes), labels (batch,) of int64."""
        return self._loss(scores, labels)


class OneLayer(Classifier):
    """One fully connected layer from the pixels to the scores."""

    def __init__(self, *, image_shape: Sequence[int], num_classes: int, loss: str) -> None:
        super().__init__(LOSSES[loss])
        self.output = initialized_linear(prod(image_shape), num_classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.output(images.flatten(1))
        return scores


class LinearRegression(OneLayer):
    """Linear regression of the one-hot targets on the pixels; the largest output names the class.

    Dive into Deep Learning, section 3.5, with one output a class.
    """


class SoftmaxRegression(OneLayer):
    """Softmax regression (Dive into Deep Learning, section 4.5)."""


class SoftmaxRegressionScratch(Classifier):
    """Softmax regression from explicit W and b (Dive into Deep Learning, section 4.4).

    The same seed draws the same weights as `SoftmaxRegression`, and training goes the same way step by step.
    """

    def __init__(self, *, image_shape: Sequence[int], num_classes: int, loss: str) -> None:
        super().__init__((LOSSES | {"cross_entropy": cross_entropy_from_scratch})[loss])
        rows = torch.empty(num_classes, prod(image_shape)).normal_(0, INITIAL_STD)
        self.W = nn.Parameter(rows.T.contiguous())  # (pixels, num_classes)
        self.b = nn.Parameter(torch.zeros(num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.W + self.b


class MLP(Classifier):
    """Multilayer perceptron: hidden layers of `hidden_sizes` units, each followed by the activation.

    Args:
        image_shape: (channels, height, width).
        num_classes: length of the scores.
        hidden_sizes: units of each hidden layer.
        activation: a key of `ACTIVATIONS`.
        dropout: fraction of hidden units dropped while training; 0 for none.
        batch_norm: normalize each hidden layer over the batch, before its activation.
        loss: a key of `LOSSES`.
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int],
        num_classes: int,
        hidden_sizes: Sequence[int],
        activation: str,
        dropout: float,
        batch_norm: bool,
        loss: str,
    ) -> None:
        super().__init__(LOSSES[loss])
        layers: list[nn.Module] = [nn.Flatten()]
        num_inputs = prod(image_shape)
        for size in hidden_sizes:
            layers.append(nn.Linear(num_inputs, size))
            if batch_norm:
                layers.append(nn.BatchNorm1d(size))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(nn.Dropout(dropout))
            num_inputs = size
        layers.append(nn.Linear(num_inputs, num_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores


def initialized_linear(num_inputs: int, num_outputs: int) -> nn.Linear:
    """A fully connected layer with weights from N(0, 0.01) and zero biases, drawn once."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, num_inputs, num_outputs)  # type: ignore[no-untyped-call]
    nn.init.normal_(layer.weight, 0, INITIAL_STD)
    nn.init.zeros_(layer.bias)
    return layer


def log_softmax_from_scratch(scores: Tensor) -> Tensor:
    """Scores minus the log of their summed exponentials, (batch, num_classes).

    The row's largest score is taken off first, so that exp cannot overflow and no log of zero is taken.
    """
    shifted = scores - scores.amax(dim=1, keepdim=True)
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def softmax_from_scratch(scores: Tensor) -> Tensor:
    """Probabilities (batch, num_classes): positive, each row sums to one."""
    return log_softmax_from_scratch(scores).exp()


def cross_entropy_from_scratch(scores: Tensor, labels: Tensor) -> Tensor:
    """Minus the log probability of the right class, mean over the batch."""
    picked = log_softmax_from_scratch(scores)[torch.arange(len(labels), device=labels.device), labels]
    return -picked.mean()

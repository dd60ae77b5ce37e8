"""The networks, which map images to scores, and their losses.

Images are (batch, channels, height, width), scores (batch, num_classes) and labels (batch,), int64. A loss takes scores
and labels, and returns the mean over the batch, a scalar.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_STD = 0.01  # of the weights of linear networks, as in Dive into Deep Learning

Loss = Callable[[Tensor, Tensor], Tensor]


class Classifier(nn.Module, ABC):
    """A network that gives an image one score per class. A score is a logit, not a probability."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Maps images (batch, channels, height, width) to scores (batch, num_classes)."""

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def loss(self, *, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the batch. Scores are (batch, num_classes), labels (batch,), int64."""
        return self._loss(scores, labels)


class OneLayer(Classifier):
    """One fully connected layer from the pixels to the scores."""

    def __init__(self, *, image_shape: Sequence[int], num_classes: int, loss: Loss) -> None:
        super().__init__(loss)
        self.output = initialized_linear(prod(image_shape), num_classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.output(images.flatten(1))
        return scores


class LinearRegression(OneLayer):
    """Linear regression of the one-hot labels on the pixels; the class with the largest output is predicted.

    Dive into Deep Learning, section 3.5, with one output for each class.
    """


class SoftmaxRegression(OneLayer):
    """Softmax regression (Dive into Deep Learning, section 4.5)."""


class SoftmaxRegressionScratch(Classifier):
    """Softmax regression from explicit W and b (Dive into Deep Learning, section 4.4).

    With the same seed, it starts from the same weights as `SoftmaxRegression`; training steps agree up to rounding.
    """

    def __init__(self, *, image_shape: Sequence[int], num_classes: int, loss: Loss) -> None:
        super().__init__(cross_entropy_from_scratch if loss is F.cross_entropy else loss)
        rows = torch.empty(num_classes, prod(image_shape)).normal_(0, INITIAL_STD)
        self.W = nn.Parameter(rows.T.contiguous())  # (pixels, num_classes)
        self.b = nn.Parameter(torch.zeros(num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.W + self.b


class MLP(Classifier):
    """Multilayer perceptron: fully connected layers with an activation between them.

    Args:
        image_shape: (channels, height, width).
        hidden_sizes: units of each hidden layer.
        activation: class of the activation after each hidden layer.
        dropout: fraction of hidden units dropped during training; 0 for none.
        batch_norm: whether to apply batch normalization before each activation.
    """

    def __init__(
        self,
        *,
        image_shape: Sequence[int],
        num_classes: int,
        hidden_sizes: Sequence[int],
        activation: Callable[[], nn.Module],
        dropout: float,
        batch_norm: bool,
        loss: Loss,
    ) -> None:
        super().__init__(loss)
        layers: list[nn.Module] = [nn.Flatten()]
        num_inputs = prod(image_shape)
        for size in hidden_sizes:
            layers.append(nn.Linear(num_inputs, size))
            if batch_norm:
                layers.append(nn.BatchNorm1d(size))
            layers.append(activation())
            if dropout:
                layers.append(nn.Dropout(dropout))
            num_inputs = size
        layers.append(nn.Linear(num_inputs, num_classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores


def initialized_linear(num_inputs: int, num_outputs: int) -> nn.Linear:
    """A fully connected layer with normal weights (std `INITIAL_STD`) and zero biases; only the weights are drawn."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, num_inputs, num_outputs)  # type: ignore[no-untyped-call]
    nn.init.normal_(layer.weight, 0, INITIAL_STD)
    nn.init.zeros_(layer.bias)
    return layer


def probabilities(scores: Tensor) -> Tensor:
    """Softmax of the scores over the classes, (batch, num_classes)."""
    return F.softmax(scores, dim=1)


def squared(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error against the one-hot labels, over the batch and the classes."""
    return F.mse_loss(scores, one_hot(labels, scores))


def absolute(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute error against the one-hot labels, over the batch and the classes."""
    return F.l1_loss(scores, one_hot(labels, scores))


def huber(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean Huber loss (Huber, 1964) against the one-hot labels: quadratic up to a difference of 1, linear beyond."""
    return F.huber_loss(scores, one_hot(labels, scores))


def one_hot(labels: Tensor, scores: Tensor) -> Tensor:
    """One-hot labels, (batch, num_classes), in the dtype of the scores."""
    return F.one_hot(labels, scores.shape[1]).to(scores.dtype)


def log_softmax_from_scratch(scores: Tensor) -> Tensor:
    """Scores minus their log-sum-exp over the classes, (batch, num_classes).

    The largest score of each row is subtracted first, so that exp cannot overflow and log never gets zero.
    """
    shifted = scores - scores.amax(dim=1, keepdim=True)
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def softmax_from_scratch(scores: Tensor) -> Tensor:
    """Probabilities (batch, num_classes): positive, each row sums to one."""
    return log_softmax_from_scratch(scores).exp()


def cross_entropy_from_scratch(scores: Tensor, labels: Tensor) -> Tensor:
    """Negative log probability of the true class, mean over the batch."""
    picked = log_softmax_from_scratch(scores)[torch.arange(len(labels), device=labels.device), labels]
    return -picked.mean()

"""The networks: from images to scores, and the loss that each learns by.

Images are (batch, channels, height, width), scores (batch, num_classes). A loss takes scores and labels, (batch,) of
int64, and is the mean over the batch, ().
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INITIAL_STD = 0.01  # Dive into Deep Learning draws the weights of linear networks from N(0, 0.01)

Loss = Callable[[Tensor, Tensor], Tensor]


class Classifier(nn.Module, ABC):
    """Scores images, with one score (a logit, never a probability) for each class."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, channels, height, width) to scores (batch, num_classes)."""

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def loss(self, *, scores: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the batch. Scores are (batch, num_classes), labels (batch,) of int64."""
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
    """Linear regression of the one-hot targets on the pixels; the largest output names the class.

    Dive into Deep Learning, section 3.5, with one output for each class.
    """


class SoftmaxRegression(OneLayer):
    """Softmax regression (Dive into Deep Learning, section 4.5)."""


class SoftmaxRegressionScratch(Classifier):
    """Softmax regression from explicit W and b (Dive into Deep Learning, section 4.4).

    The same seed draws the same weights as in `SoftmaxRegression`, and every training step gives the same result.
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
        activation: makes the activation that follows each hidden layer.
        dropout: fraction of hidden units dropped while training; 0 for none.
        batch_norm: whether each hidden layer is normalized over the batch, before its activation.
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
    """A fully connected layer with weights from N(0, 0.01) and zero biases; draws random numbers only once."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, num_inputs, num_outputs)  # type: ignore[no-untyped-call]
    nn.init.normal_(layer.weight, 0, INITIAL_STD)
    nn.init.zeros_(layer.bias)
    return layer


def probabilities(scores: Tensor) -> Tensor:
    """Softmax of the scores over the classes, (batch, num_classes)."""
    return F.softmax(scores, dim=1)


def squared(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean squared difference from the one-hot labels, over the batch and the classes."""
    return F.mse_loss(scores, one_hot(labels, scores))


def absolute(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute difference from the one-hot labels, over the batch and the classes."""
    return F.l1_loss(scores, one_hot(labels, scores))


def huber(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean Huber loss (1964) against the one-hot labels: half the square up to a difference of 1, linear beyond."""
    return F.huber_loss(scores, one_hot(labels, scores))


def one_hot(labels: Tensor, scores: Tensor) -> Tensor:
    """Labels as rows of zeros and a one, (batch, num_classes), in the dtype of the scores."""
    return F.one_hot(labels, scores.shape[1]).to(scores.dtype)


def log_softmax_from_scratch(scores: Tensor) -> Tensor:
    """Scores minus the log of their summed exponentials, (batch, num_classes).

    The row's largest score is subtracted first, so that exp cannot overflow and the log is never of zero.
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

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.build import named
from src.networks import (
    MLP,
    Classifier,
    LinearRegression,
    SoftmaxRegression,
    SoftmaxRegressionScratch,
    cross_entropy_from_scratch,
    probabilities,
    softmax_from_scratch,
)
from src.settings import choices

SHAPE = (1, 4, 4)


def mlp(**settings: object) -> MLP:
    usual = {"hidden_sizes": [8], "activation": nn.ReLU, "dropout": 0.0, "batch_norm": False, "loss": F.cross_entropy}
    return MLP(image_shape=SHAPE, num_classes=3, **(usual | settings))  # type: ignore[arg-type]


def batch(count: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *SHAPE, generator=generator), torch.randint(3, (count,), generator=generator)


def train_step(network: Classifier, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """Takes one optimizer step on a batch; returns the loss before it."""
    loss = network.loss(scores=network(images), labels=labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("kind", [LinearRegression, SoftmaxRegression, SoftmaxRegressionScratch])
def test_linear_networks_start_with_weights_of_std_0_01_and_zero_biases(kind: type[Classifier]) -> None:
    network = kind(image_shape=(1, 28, 28), num_classes=10, loss=F.cross_entropy)
    biases, weights = sorted(network.parameters(), key=Tensor.numel)
    assert weights.std().item() == pytest.approx(0.01, rel=0.05)
    assert biases.eq(0).all()


def test_softmax_scratch_equals_softmax_step_by_step() -> None:
    torch.manual_seed(3)
    concise = SoftmaxRegression(image_shape=SHAPE, num_classes=3, loss=F.cross_entropy)
    torch.manual_seed(3)
    scratch = SoftmaxRegressionScratch(image_shape=SHAPE, num_classes=3, loss=F.cross_entropy)
    optimizers = [torch.optim.SGD(network.parameters(), lr=0.5) for network in (concise, scratch)]
    for seed in range(50):
        pairs = zip((concise, scratch), optimizers, strict=True)
        losses = [train_step(network, optimizer, *batch(seed=seed)) for network, optimizer in pairs]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(concise.output.weight, scratch.W.T, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(concise.output.bias, scratch.b, rtol=1e-5, atol=1e-6)
    assert concise.output.weight.abs().max() > 0.1  # the networks have learned something


def test_cross_entropy_equals_log_softmax_followed_by_negative_log_likelihood() -> None:
    scores, labels = torch.randn(32, 5) * 4, torch.randint(5, (32,))
    expected = F.nll_loss(F.log_softmax(scores, dim=1), labels)
    torch.testing.assert_close(F.cross_entropy(scores, labels), expected)
    torch.testing.assert_close(cross_entropy_from_scratch(scores, labels), expected)


def test_scratch_softmax_and_cross_entropy_are_stable_for_huge_scores() -> None:
    scores, labels = torch.tensor([[1e4, 0.0, -1e4]]), torch.tensor([2])
    torch.testing.assert_close(softmax_from_scratch(scores), torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(cross_entropy_from_scratch(scores, labels), torch.tensor(2e4))


def test_probabilities_are_the_softmax_of_the_scores() -> None:
    scores = torch.randn(6, 4)
    torch.testing.assert_close(probabilities(scores), softmax_from_scratch(scores))
    torch.testing.assert_close(probabilities(scores).sum(dim=1), torch.ones(6))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("squared", (0 + 1 + 4) / 3), ("absolute", (0 + 1 + 2) / 3), ("huber", (0 + 0.5 + 1.5) / 3)],
)
def test_regression_losses_measure_the_distance_to_one_hot_targets(loss: str, expected: float) -> None:
    scores, labels = torch.tensor([[0.0, 2.0, 2.0]]), torch.tensor([1])  # off by 0, 1 and 2 from (0, 1, 0)
    assert named("model/loss", loss)(scores, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", choices("model/loss"))
@pytest.mark.parametrize("kind", [LinearRegression, SoftmaxRegression, SoftmaxRegressionScratch, MLP])
def test_every_network_learns_with_every_loss(kind: type[Classifier], loss: str) -> None:
    torch.manual_seed(0)
    function = named("model/loss", loss)
    network = mlp(loss=function) if kind is MLP else kind(image_shape=SHAPE, num_classes=3, loss=function)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    losses = [train_step(network, optimizer, *batch()) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]


def test_mlp_has_the_configured_hidden_layers() -> None:
    network = mlp(hidden_sizes=[8, 5], activation=nn.Tanh, dropout=0.5, batch_norm=True)
    hidden = ["Linear", "BatchNorm1d", "Tanh", "Dropout"]
    assert [type(layer).__name__ for layer in network.layers] == ["Flatten", *hidden, *hidden, "Linear"]
    assert network(batch()[0]).shape == (16, 3)


def test_networks_return_scores_and_not_probabilities() -> None:
    images = torch.rand(4, *SHAPE)
    network = mlp()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 1.0)
    assert network(images).min() > 1


@pytest.mark.parametrize("activation", choices("model/activation"))
def test_every_activation_computes_torchs_function_of_the_same_name(activation: str) -> None:
    inputs = torch.linspace(-3, 3, 13)
    function = getattr(torch, activation, None) or getattr(F, activation)
    torch.testing.assert_close(named("model/activation", activation)()(inputs), function(inputs))

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.networks import MLP
from src.steps.gradients import CapturedGradients, Gradients
from src.train import train
from tests.conftest import Compose


def network(batch_norm: bool = False) -> MLP:
    torch.manual_seed(0)
    hidden: dict[str, Any] = {"hidden_sizes": [5], "activation": nn.ReLU, "dropout": 0.0, "batch_norm": batch_norm}
    return MLP(image_shape=(1, 2, 2), num_classes=3, loss=F.cross_entropy, **hidden)


def batch(size: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, 1, 2, 2, generator=generator), torch.randint(3, (size,), generator=generator)


def test_gradients_are_not_added_to_those_of_the_batch_before() -> None:
    ours, by_hand = network(), network()
    gradients = Gradients(ours, nullcontext)
    gradients(*batch(6, seed=2))
    images, labels = batch(4)
    loss, scores = gradients(images, labels)
    expected = by_hand.loss(scores=by_hand(images), labels=labels)
    expected.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(loss, expected) and torch.equal(scores, by_hand(images))
    assert not loss.requires_grad and not scores.requires_grad
    for parameter, other in zip(ours.parameters(), by_hand.parameters(), strict=True):
        assert parameter.grad is not None and other.grad is not None
        assert torch.equal(parameter.grad, other.grad)


class FakeGraph:
    """Stands in for a CUDA graph: a replay computes the step again, into the same tensors."""

    def replay(self) -> None:
        captured = self.captured
        kept = [gradient for _, gradient in captured.gradients]
        loss, scores = captured.eager(captured.images, captured.labels)
        captured.loss.copy_(loss)
        captured.scores.copy_(scores)
        for gradient, (parameter, _) in zip(kept, captured.gradients, strict=True):
            gradient.copy_(parameter.grad)


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> list[FakeGraph]:
    """Stands in for torch.cuda on a machine without a GPU; returns the list of captured graphs."""
    graphs: list[FakeGraph] = []
    stand_ins = {
        **dict.fromkeys(("stream", "graph"), nullcontext),
        **dict.fromkeys(("Stream", "current_stream", "set_stream"), Mock()),
        "CUDAGraph": lambda: graphs.append(FakeGraph()) or graphs[-1],
        "get_rng_state": lambda device: torch.get_rng_state(),
        "set_rng_state": lambda state, device: torch.set_rng_state(state),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return graphs


def trained(gradients: Gradients | CapturedGradients, graphs: list[FakeGraph], sizes: list[int]) -> list[Tensor]:
    """The losses of some steps of Adam; the third is a plain step that drops the gradients, like Lightning's own."""
    optimizer = torch.optim.Adam(gradients.network.parameters(), lr=0.1)
    losses = []
    for number, size in enumerate(sizes):
        for graph in graphs:
            graph.captured = gradients  # type: ignore[attr-defined]
        images, labels = batch(size, seed=number)
        if number == 2:
            optimizer.zero_grad()
            loss = gradients.network.loss(scores=gradients.network(images), labels=labels)
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            loss, _ = gradients(images, labels)
        losses.append(loss.detach())
        optimizer.step()
    return losses


@pytest.mark.parametrize("batch_norm", [False, True])
def test_captured_steps_train_like_plain_steps(fake_cuda: list[FakeGraph], batch_norm: bool) -> None:
    plain, captured = network(batch_norm), network(batch_norm)
    sizes = [4, 4, 4, 4, 3, 4]
    expected = trained(Gradients(plain, nullcontext), [], sizes)
    gradients = CapturedGradients(captured, nullcontext)
    random_state = torch.get_rng_state()
    gradients.capture(*batch(4, seed=0))
    assert torch.equal(torch.get_rng_state(), random_state)
    losses = trained(gradients, fake_cuda, sizes)
    assert len(fake_cuda) == 1
    assert all(map(torch.equal, losses, expected))
    for name, values in plain.state_dict().items():
        assert torch.equal(captured.state_dict()[name], values), name


def test_if_the_capture_fails_training_continues_without_a_graph(
    fake_cuda: list[FakeGraph], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse = Mock(side_effect=RuntimeError("operation not permitted when stream is capturing\nmore"))
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    monkeypatch.setattr(torch.cuda, "set_stream", leave := Mock())
    sizes = [4, 4, 4, 3]
    expected = trained(Gradients(network(), nullcontext), [], sizes)
    with caplog.at_level("WARNING"):
        losses = trained(CapturedGradients(network(), nullcontext), [], sizes)
    assert all(map(torch.equal, losses, expected))
    leave.assert_called_once()
    text = "training continues without a CUDA graph: operation not permitted when stream is capturing"
    assert caplog.messages == [text]


def test_nothing_is_captured_while_torch_detects_anomalies(fake_cuda: list[FakeGraph]) -> None:
    with torch.autograd.set_detect_anomaly(True):
        CapturedGradients(network(), nullcontext)(*batch(4))
    assert fake_cuda == []


def test_cuda_graph_has_no_effect_on_the_cpu(config: Compose, tmp_path: Path) -> None:
    small = ["data=synthetic", "data.train_per_class=30", "data.val_size=50", "trainer=cpu", "trainer.max_epochs=1"]
    plain = train(config(*small), tmp_path / "plain")
    assert train(config(*small, "cuda_graph=true"), tmp_path / "graph").metrics == plain.metrics


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_on_a_gpu_trains_like_plain_steps(config: Compose, tmp_path: Path) -> None:
    small = ["data=synthetic", "model=mlp", "optimizer=adam", "scheduler=cosine", "trainer=gpu", "trainer.max_epochs=3"]
    plain = train(config(*small), tmp_path / "plain")
    graph = train(config(*small, "cuda_graph=true"), tmp_path / "graph")
    for name, value in plain.metrics.items():
        assert graph.metrics[name] == pytest.approx(value, rel=1e-3)

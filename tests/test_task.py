from collections import UserList
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch import Tensor
from torch.nn import functional as F

from src.errors import BadInput, Diverged
from src.networks import SoftmaxRegression
from src.schedulers import constant, cosine
from src.task import COUNTED_AT_ONCE, ClassificationTask, Tally
from tests.runs import QUIET

Batches = UserList[tuple[Tensor, Tensor]]  # Lightning would take a plain list for several loaders


def batches(*sizes: int) -> Batches:
    torch.manual_seed(1)
    return Batches([(torch.rand(size, 1, 2, 2), torch.randint(3, (size,))) for size in sizes])


def task(lr: float = 0.5, scheduler: object = constant) -> ClassificationTask:
    torch.manual_seed(0)
    network = SoftmaxRegression(image_shape=(1, 2, 2), num_classes=3, loss=F.cross_entropy)
    return ClassificationTask(network, 3, partial(torch.optim.SGD, lr=lr), scheduler)  # type: ignore[arg-type]


def trainer(tmp_path: Path, epochs: int = 1, **settings: int) -> Trainer:
    settings |= {"max_epochs": epochs, "devices": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    return Trainer(accelerator="cpu", default_root_dir=tmp_path, **QUIET, **settings)  # type: ignore[arg-type]


def test_metrics_are_exact_over_the_split_and_not_means_over_batches(tmp_path: Path) -> None:
    measured, data, run = task(), batches(10, 1), trainer(tmp_path)
    run.validate(measured, data, verbose=False)
    images, labels = torch.cat([images for images, _ in data]), torch.cat([labels for _, labels in data])
    scores = measured(images)
    assert run.callback_metrics["val/acc"].item() == pytest.approx((scores.argmax(1) == labels).float().mean().item())
    expected_loss = F.cross_entropy(scores, labels).item()
    assert run.callback_metrics["val/loss"].item() == pytest.approx(expected_loss, rel=1e-5)
    means = [measured.network.loss(scores=measured(x), labels=y).item() for x, y in data]
    assert sum(means) / 2 != pytest.approx(expected_loss, rel=1e-3)  # the mistake that this test would detect


def test_training_metrics_count_only_the_current_epoch(tmp_path: Path) -> None:
    run, data = trainer(tmp_path, epochs=2), batches(8, 4)
    run.fit(task(), data, data)
    by_hand = task().network
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.5)
    for _ in range(2):
        total = 0.0
        for images, labels in data:
            loss = by_hand.loss(scores=by_hand(images), labels=labels)
            total += loss.item() * len(labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert run.callback_metrics["train/loss"].item() == pytest.approx(total / 12, rel=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    poisoned = Batches([(images * torch.nan, labels) for images, labels in batches(8)])
    text = r"^training diverged: val/loss is nan in epoch 1\. Try a smaller optimizer\.lr\.$"
    with pytest.raises(Diverged, match=text):
        trainer(tmp_path).fit(task(), poisoned, batches(8))
    with pytest.raises(Diverged, match=text.replace("val", "train")):
        trainer(tmp_path, limit_val_batches=0).fit(task(), poisoned, batches(8))


def test_settings_that_the_optimizer_rejects_are_bad_input(tmp_path: Path) -> None:
    refused = task()
    refused.make_optimizer = partial(torch.optim.SGD, lr=0.1, nesterov=True)
    with pytest.raises(BadInput, match=r"^the optimizer cannot be made: Nesterov momentum requires a momentum .*\.$"):
        trainer(tmp_path).fit(refused, batches(4), batches(4))


def test_the_scheduler_is_stepped_after_every_batch_and_ends_with_the_run(tmp_path: Path) -> None:
    run, data = trainer(tmp_path, epochs=2), batches(4, 4, 4)
    run.fit(task(scheduler=cosine), data, data)
    assert run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_a_constant_learning_rate_has_no_scheduler(tmp_path: Path) -> None:
    run, data = trainer(tmp_path), batches(4, 4)
    run.fit(task(), data, data)
    assert run.lr_scheduler_configs == [] and run.optimizers[0].param_groups[0]["lr"] == 0.5


def test_a_tally_passes_many_batches_at_a_time_to_torchmetrics_and_counts_each_image_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally, handed = Tally("val", num_classes=3), list[int]()
    update = tally.metrics.update
    monkeypatch.setattr(tally.metrics, "update", lambda **given: (handed.append(len(given["losses"])), update(**given)))
    torch.manual_seed(0)
    sizes = [4] * (COUNTED_AT_ONCE + 2) + [3, 4]
    losses, scores = torch.rand(len(sizes)), [torch.rand(size, 3) for size in sizes]
    labels = [torch.randint(3, (size,)) for size in sizes]
    for _ in range(2):
        for batch in zip(losses, scores, labels, strict=True):
            tally.add(*batch)
        values = tally.take()
        assert handed == [COUNTED_AT_ONCE, 2, 1, 1]
        expected = (torch.cat(scores).argmax(1) == torch.cat(labels)).double().mean().item()
        assert values["val/acc"].item() == pytest.approx(expected, rel=1e-6)
        mean = (losses.double() * torch.tensor(sizes)).sum().item() / sum(sizes)
        assert values["val/loss"].item() == pytest.approx(mean, rel=1e-6)
        handed.clear()
    assert tally.images == 2 * sum(sizes)

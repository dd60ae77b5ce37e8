import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from src.schedulers import constant, cosine, one_cycle

STEPS = 100


def learning_rates(scheduler: LRScheduler) -> list[float]:
    """The learning rate at each step of a run."""
    rates = []
    for step in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        if step < STEPS - 1:
            scheduler.step()
    return rates


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)


def test_constant_needs_no_scheduler() -> None:
    assert constant(optimizer(), total_steps=STEPS) is None  # type: ignore[func-returns-value]


def test_cosine_falls_from_the_learning_rate_to_zero() -> None:
    rates = learning_rates(cosine(optimizer(), total_steps=STEPS))
    assert rates[0] == 0.5
    assert rates[STEPS // 2] == pytest.approx(0.25)
    assert rates[-1] < 0.001
    assert rates == sorted(rates, reverse=True)


def test_one_cycle_peaks_at_the_learning_rate_after_the_warm_up_and_leaves_momentum_alone() -> None:
    sgd = optimizer()
    scheduler = one_cycle(sgd, total_steps=STEPS, warmup_fraction=0.3)
    rates = learning_rates(scheduler)
    assert max(rates) == pytest.approx(0.5)
    assert rates.index(max(rates)) == pytest.approx(0.3 * STEPS, abs=1)
    assert rates[0] < 0.05 and rates[-1] < 0.01
    assert sgd.param_groups[0]["momentum"] == 0.9

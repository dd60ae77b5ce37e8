"""Learning-rate schedulers, made from an optimizer and the total number of steps, and stepped after every step."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR


def constant(optimizer: Optimizer, *, total_steps: int) -> None:
    """Keeps the optimizer's learning rate. Returns None, because there is nothing to step."""


def cosine(optimizer: Optimizer, *, total_steps: int) -> LRScheduler:
    """Cosine decay from the optimizer's learning rate to zero (Loshchilov and Hutter, 2017, without restarts)."""
    return CosineAnnealingLR(optimizer, T_max=total_steps)


def one_cycle(optimizer: Optimizer, *, total_steps: int, warmup_fraction: float) -> LRScheduler:
    """Rises to the optimizer's learning rate in `warmup_fraction` of the steps, then falls (Smith and Topin, 2018)."""
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=warmup_fraction,
        cycle_momentum=False,  # momentum stays at optimizer.momentum
    )

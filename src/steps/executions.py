"""Executions: many optimizer steps in one step of Lightning's loop.

A step of the loop takes about 0.5 ms, as long as an optimizer step of softmax regression. The term is Keras's.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Literal

from lightning import Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from src.errors import BadInput

Batch = tuple[Tensor, Tensor]  # images (batch, channels, height, width), labels (batch,)
MOST_STEPS = 256  # in one execution: 0.2 s for the smallest networks
PRECISIONS = ("64-true", "32-true", "16-true", "bf16-true", "bf16-mixed")  # without a gradient scaler


class Execution:
    """Consecutive batches for one step of Lightning's loop. Each batch is made on demand."""

    def __init__(self, batches: Iterator[Batch], count: int) -> None:
        self.batches = batches
        self.count = count

    def all_but_last(self) -> Iterator[Batch]:
        return islice(self.batches, self.count - 1)

    def last(self) -> Batch:
        return next(self.batches)


class Executions:
    """A loader of executions of `steps` batches each; the last one of an epoch may have fewer."""

    def __init__(self, loader: Any, steps: int) -> None:
        self.loader = loader  # yields batches, such as `src.datasets.loader.Batches`
        self.steps = steps
        self.sampler, self.batch_sampler = loader.sampler, None  # Lightning looks here for set_epoch

    def __len__(self) -> int:
        return -(-len(self.loader) // self.steps)

    def __iter__(self) -> Iterator[Execution]:
        left, batches = self.loader.batches_left(), iter(self.loader)
        while left > 0:
            count = min(left, self.steps)
            yield Execution(batches, count)
            left -= count

    def state_dict(self) -> dict[str, int]:
        return dict(self.loader.state_dict())

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.loader.load_state_dict(state)


def steps_of_fit(trainer: Trainer) -> int:
    """Number of optimizer steps in the whole fit; Lightning's own estimate counts executions."""
    steps = int(trainer.estimated_stepping_batches)  # makes the loader if there is none yet
    loader = trainer.train_dataloader
    return steps * len(loader.loader) // len(loader) if isinstance(loader, Executions) else steps


def steps_per_execution(wanted: int | Literal["auto"], trainer: Trainer) -> int:
    """Number of optimizer steps in one execution; `auto` is `MOST_STEPS` if the trainer allows it, else 1.

    Raises:
        BadInput: `wanted` is above 1, but Lightning must see every step.
    """
    reason = needs_every_step(trainer)
    if wanted == "auto":
        return 1 if reason else MOST_STEPS
    if wanted > 1 and reason:
        rule = f"1 or auto with this {reason}"
        raise BadInput(f"steps_per_execution must be {rule}, got {wanted}. Try steps_per_execution=auto.")
    return wanted


def needs_every_step(trainer: Trainer) -> str | None:
    """The setting for which Lightning must see every optimizer step, or None. Most such settings count batches."""
    settings = {
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches != 1,
        "trainer.max_steps": trainer.max_steps != -1,
        "trainer.limit_train_batches": is_part(trainer.limit_train_batches),
        "trainer.max_time": any(isinstance(callback, Timer) for callback in trainer.callbacks),  # type: ignore[attr-defined]
        "trainer.val_check_interval": is_part(getattr(trainer, "val_check_interval", "a time")),
        "trainer.precision": trainer.precision not in PRECISIONS,
        "trainer.strategy": type(trainer.strategy) is not SingleDeviceStrategy,  # others sync gradients at every step
        "trainer.profiler": not isinstance(trainer.profiler, PassThroughProfiler),  # type: ignore[attr-defined]
    }
    return next((name for name, needs in settings.items() if needs), None)


def is_part(of_an_epoch: float | str | None) -> bool:
    """Whether a limit of Lightning's (a count, a fraction or a time) can mean less than a whole epoch."""
    return of_an_epoch is not None and (isinstance(of_an_epoch, int) or of_an_epoch != 1.0)


def check_same_executions(state: Mapping[str, int], steps: int, *, num_batches: int) -> None:
    """Checks that a fit resumed in the middle of an epoch has the `steps_per_execution` of its checkpoint.

    Lightning counts its position in the epoch in executions. `state` is the data module's state in the checkpoint.
    """
    before = state["steps_per_execution"]
    if 0 < state["batches"] < num_batches and before != steps:
        raise BadInput(
            f"steps_per_execution must be {before} to resume in the middle of an epoch, as when the checkpoint was "
            f"saved, got {steps}. Try steps_per_execution={before}."
        )

"""Torch's settings in a run: CPU threads, and the precision of float32 matrix products."""

from functools import cache
from typing import Literal

import torch

WORK_PER_THREAD = 1_000_000  # multiply-adds; with less, threads mostly wait for each other


@cache
def available_threads() -> int:
    """The number of cores of this process, or OMP_NUM_THREADS: torch's default before `prepare_torch` changes it."""
    return torch.get_num_threads()


def prepare_torch(threads: int | Literal["auto"], matmul_precision: str, *, multiply_adds: int) -> None:
    """Sets the number of threads and the precision of torch.

    `threads="auto"` depends only on sizes. Timings would give another number from run to run, and with another number
    of threads sums are rounded differently.

    Args:
        threads: CPU threads; `auto` takes as many as a training step can keep busy.
        matmul_precision: of float32 matrix products on a GPU: `highest`, `high` (TF32) or `medium` (bfloat16).
        multiply_adds: multiply-adds of one forward pass, about parameters x images.
    """
    available, enough = available_threads(), -(-multiply_adds // WORK_PER_THREAD)
    torch.set_num_threads(min(available, enough) if threads == "auto" else threads)
    torch.set_float32_matmul_precision(matmul_precision)
    # With deterministic algorithms, torch also fills every new tensor: 5 % of an epoch, without an effect on results.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

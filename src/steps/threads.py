"""How torch computes in a run: CPU threads, and the precision of float32 products."""

from functools import cache
from typing import Literal

import torch

WORK_PER_THREAD = 1_000_000  # multiply-adds; with less, threads mostly wait for each other


@cache
def available_threads() -> int:
    """The cores of this process, or OMP_NUM_THREADS: what torch takes until `prepare_torch` sets another number."""
    return torch.get_num_threads()


def prepare_torch(threads: int | Literal["auto"], matmul_precision: str, *, multiply_adds: int) -> None:
    """Sets how torch computes.

    `threads="auto"` is a rule by sizes. A timing would choose differently from run to run, and another number of
    threads rounds sums differently.

    Args:
        threads: CPU threads; `auto` takes as many as a training step keeps busy.
        matmul_precision: precision of float32 products on a GPU: `highest`, `high` (TF32) or `medium` (bfloat16).
        multiply_adds: multiply-adds of one forward pass, about parameters x images.
    """
    available, enough = available_threads(), -(-multiply_adds // WORK_PER_THREAD)
    torch.set_num_threads(min(available, enough) if threads == "auto" else threads)
    torch.set_float32_matmul_precision(matmul_precision)
    # Deterministic algorithms would also fill each new tensor before it is written: 5 % of an epoch, for nothing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

"""How torch computes in a run: CPU threads, and the precision of float32 products."""

from typing import Literal

import torch

WORK_PER_THREAD = 1_000_000  # multiply-adds; with less, threads wait for each other

# Cores of this process, or OMP_NUM_THREADS: what torch takes before anything is set.
AVAILABLE_THREADS = torch.get_num_threads()


def prepare_torch(threads: int | Literal["auto"], matmul_precision: str, *, multiply_adds: int) -> None:
    """Sets how torch computes.

    `threads="auto"` goes by the sizes alone: a timing would come out differently from run to run, and with another
    number of threads sums are rounded differently.

    Args:
        threads: of the CPU, or `auto` for as many as the steps of training keep busy.
        matmul_precision: of float32 on a GPU: `highest`, `high` (TF32) or `medium` (bfloat16).
        multiply_adds: of a step's forward pass: a parameter makes one an image.
    """
    enough = -(-multiply_adds // WORK_PER_THREAD)
    torch.set_num_threads(min(AVAILABLE_THREADS, enough) if threads == "auto" else threads)
    torch.set_float32_matmul_precision(matmul_precision)
    # Deterministic algorithms would also fill each new tensor before it is written: 5 % of an epoch, for nothing.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

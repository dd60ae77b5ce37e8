"""How many jobs of a sweep are trained at once on this machine, and on which of its GPUs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from src.files import lock

Result = TypeVar("Result")
GPU = ("auto", "gpu", "cuda", "mps")
ONE_A_CORE = -1  # as joblib counts


def jobs_at_once(accelerator: str) -> int:
    """One job a GPU, where jobs are trained on GPUs and there are any, else one a core."""
    if accelerator not in GPU:
        return ONE_A_CORE
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available()) or ONE_A_CORE


def on_free_gpu(work: Callable[[], Result], trainer: Any, sweep_dir: Path) -> Result:
    """Does the work of a job with `trainer.devices` set to the GPU that has the fewest jobs of this sweep.

    So `hydra.launcher.n_jobs` jobs at once on as many GPUs are one a GPU, and twice as many are two. A job that asks
    for certain GPUs, several, or none gets what it asks for.
    """
    import torch

    wants_one = trainer.devices == 1 and trainer.accelerator in GPU
    if not wants_one or torch.cuda.device_count() < 2:
        return work()
    with free_gpu(sweep_dir / ".gpus", torch.cuda.device_count()) as number:
        trainer.devices = [number]
        return work()


@contextmanager
def free_gpu(folder: Path, num_gpus: int) -> Iterator[int]:
    """Holds a place on the GPU with the fewest jobs; the operating system frees that of a job which is killed."""
    folder.mkdir(exist_ok=True)
    for place in count():
        held = lock(folder / f"{place % num_gpus}-{place // num_gpus}.lock")
        if held is None:
            continue
        try:
            yield place % num_gpus
        finally:
            held.release()
        return

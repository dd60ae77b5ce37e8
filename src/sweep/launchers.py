"""Launchers: whether they can be used, how many jobs run at once on this machine, and on which GPUs.

Settings of a launcher are plain dicts, as in conf/hydra/launcher/.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from shutil import which
from typing import Any

from src.errors import BadInput
from src.files import lock

ON_GPU = ("auto", "gpu", "cuda", "mps")
ONE_A_CORE = -1  # as joblib writes it


def check_launcher(name: str, settings: Mapping[str, Any]) -> None:
    """Checks that a launcher can be used; most launchers are plugins, and extras of this project."""
    target = settings["_target_"]
    plugin = ".".join(target.split(".")[:2])  # hydra_plugins.hydra_joblib_launcher
    if target.startswith("hydra_plugins.") and not find_spec(plugin):
        extra = name.partition("_")[0]
        raise BadInput(f"hydra/launcher={name} is an extra. Try pip install -c constraints.txt -e '.[{extra}]'.")
    if target.endswith(".SlurmLauncher") and not which("srun"):
        raise BadInput(f"hydra/launcher={name} needs Slurm, but srun was not found. Try hydra/launcher=submitit_local.")
    if settings.get("n_jobs") == 0:
        raise BadInput("hydra.launcher.n_jobs must not be 0. Try hydra.launcher.n_jobs=2, or -1 for one per core.")


def requeues(target: str) -> bool:
    """Whether a launcher's class queues preempted jobs again, as submitit does."""
    return ".hydra_submitit_launcher." in target


def leaves_workers(target: str) -> bool:
    """Whether the workers of a launcher's class outlive a killed command, as joblib's do."""
    return target.endswith(".JoblibLauncher")


def threads_of(settings: Mapping[str, Any]) -> dict[str, int]:
    """The override of `threads` for each job, if the launcher runs jobs in several processes; else empty.

    It is part of the job's name, because the number of threads changes the last digits of a result.
    """
    if settings["_target_"].endswith(".BasicLauncher"):  # runs jobs in this process
        return {}
    in_ray = settings.get("ray", {}).get("remote", {}).get("num_cpus")
    return {"threads": settings.get("cpus_per_task") or in_ray or 1}


def check_one_process(trainer: Mapping[str, Any]) -> None:
    """Checks that a job of a sweep is trained by one process."""
    devices = trainer["devices"]
    several = len(devices) > 1 if isinstance(devices, list) else devices not in (1, "1")
    if several or "ddp" in str(trainer["strategy"]):
        raise BadInput(
            "a job of a sweep is trained by one process, on one device: leave out trainer=ddp and trainer.devices."
        )


def jobs_at_once(accelerator: str) -> int:
    """One job per GPU if the jobs train on GPUs and there are any, else one job per core."""
    if accelerator not in ON_GPU:
        return ONE_A_CORE
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available()) or ONE_A_CORE


@contextmanager
def free_gpu(trainer: Mapping[str, Any], sweep_dir: Path) -> Iterator[int | None]:
    """Yields the number of the GPU with the fewest jobs of a sweep, and reserves a place on it during the block.

    With as many jobs at once (`hydra.launcher.n_jobs`) as GPUs, each GPU runs one job; with twice as many, two. The
    operating system frees the place of a killed job. Yields None if there are fewer than two GPUs, or if the job asks
    for specific GPUs, for several or for none.
    """
    import torch

    num_gpus = torch.cuda.device_count()
    wants_one = trainer["devices"] == 1 and trainer["accelerator"] in ON_GPU
    if not wants_one or num_gpus < 2:
        yield None
        return
    folder = sweep_dir / ".gpus"
    folder.mkdir(exist_ok=True)
    places = ((place % num_gpus, place // num_gpus) for place in count())
    for number, turn in places:
        if held := lock(folder / f"{number}-{turn}.lock"):
            try:
                yield number
            finally:
                held.release()
            return

"""Launchers: whether one can be used, how many jobs run at once on this machine, and on which of its GPUs.

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
ONE_A_CORE = -1  # joblib's notation


def check_launcher(name: str, settings: Mapping[str, Any]) -> None:
    """Checks that a launcher can be used; most are plugins that are extras of this project."""
    target = settings["_target_"]
    plugin = ".".join(target.split(".")[:2])  # hydra_plugins.hydra_joblib_launcher
    if target.startswith("hydra_plugins.") and not find_spec(plugin):
        extra = name.partition("_")[0]
        raise BadInput(f"hydra/launcher={name} is an extra. Try pip install -c constraints.txt -e '.[{extra}]'.")
    if target.endswith(".SlurmLauncher") and not which("srun"):
        raise BadInput(f"hydra/launcher={name} needs Slurm, and here is no srun. Try hydra/launcher=submitit_local.")
    if settings.get("n_jobs") == 0:
        raise BadInput("hydra.launcher.n_jobs must not be 0. Try hydra.launcher.n_jobs=2, or -1 for one a core.")


def requeues(target: str) -> bool:
    """Whether a launcher's class queues a job again that is preempted: submitit does."""
    return ".hydra_submitit_launcher." in target


def leaves_workers(target: str) -> bool:
    """Whether the workers of a launcher's class outlive a command that is killed: joblib's do."""
    return target.endswith(".JoblibLauncher")


def threads_of(settings: Mapping[str, Any]) -> dict[str, int]:
    """The override that gives each job of a launcher with several processes its share of the CPU.

    It is part of the job's name, because another number of threads changes the last digits of a result.
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
    """One job a GPU if jobs are trained on GPUs and there are any, else one a core."""
    if accelerator not in ON_GPU:
        return ONE_A_CORE
    import torch

    return torch.cuda.device_count() or int(torch.backends.mps.is_available()) or ONE_A_CORE


@contextmanager
def free_gpu(trainer: Mapping[str, Any], sweep_dir: Path) -> Iterator[int | None]:
    """Yields the GPU with the fewest jobs of a sweep, and holds a place on it for the length of the block.

    So `hydra.launcher.n_jobs` jobs at once on as many GPUs are one a GPU, and twice as many are two. The operating
    system frees the place of a job that is killed. Yields None for a job that asks for certain GPUs, for several or
    for none, and if there are fewer than two.
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

"""Rules for the devices of a run: they exist, and its processes share every batch equally."""

import os
from collections.abc import Mapping
from typing import Any

from src.errors import BadInput, must_be
from src.settings import is_integer


def check_shares(settings: Mapping[str, Any], *, num_images: int) -> None:
    """Checks that processes share every batch equally, and that batch normalization never gets a single image."""
    devices, batch_size = settings["trainer"]["devices"], settings["data"]["batch_size"]
    num_processes = devices if is_integer(devices) else len(devices) if isinstance(devices, list) else 1
    if batch_size == "full":
        batch_size = num_images
    elif batch_size % num_processes:
        rule = f"a multiple of the {num_processes} processes of trainer.devices, which share every batch"
        raise must_be(
            "data.batch_size", rule, batch_size, example=str(num_processes * max(1, batch_size // num_processes))
        )
    last = batch_size if settings["data"]["drop_last"] else num_images % batch_size or batch_size
    if settings["model"].get("batch_norm") and 1 in (batch_size // num_processes, last // num_processes):
        raise BadInput(
            f"data.batch_size={settings['data']['batch_size']} leaves one of the {num_images} images alone in a "
            "batch, which model.batch_norm cannot normalize. Try another data.batch_size."
        )


def check_devices(trainer: Mapping[str, Any]) -> None:
    """Checks that requested GPUs exist, and that a CPU run has at most one process per core.

    Imports torch only to count GPUs.
    """
    accelerator, devices = trainer["accelerator"], trainer["devices"]
    several = is_integer(devices) and devices > 1
    num_cores = os.cpu_count() or 1
    if several and devices > num_cores and accelerator == "cpu":
        raise must_be("trainer.devices", f"an integer from 1 to {num_cores} (CPU cores)", devices, example="1")
    if accelerator not in ("gpu", "cuda", "mps") and not (accelerator == "auto" and several):
        return
    import torch

    found = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    num_gpus = found.get(accelerator, max(found.values()))
    if accelerator != "auto" and num_gpus == 0:
        raise BadInput(
            f"trainer.accelerator={accelerator} needs a GPU, but torch finds none. Try trainer.accelerator=cpu."
        )
    if several and num_gpus == 0 and devices > num_cores:
        raise must_be("trainer.devices", f"an integer from 1 to {num_cores} (CPU cores)", devices, example="1")
    if several and 0 < num_gpus < devices:
        raise BadInput(
            f"trainer.devices must be an integer from 1 to {num_gpus} (the GPUs torch finds), got {devices}. "
            f"Try trainer.devices={num_gpus} or trainer.accelerator=cpu."
        )

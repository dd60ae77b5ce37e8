"""Reopens a finished run: checks its settings, and rebuilds its data, network and trainer.

A run's folder may come from anywhere. Its settings are data: classes are looked up among the choices in conf/, and
addresses and folders to write to come from conf/ and from what was typed, never from the run's folder.
"""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.build import build_saved
from src.command.jobs import data_in_conf
from src.datasets.facts import is_address
from src.errors import BadInput, did_you_mean
from src.files import in_one_line, refuse_links, typeable
from src.rules import check
from src.run.records import BEST_CHECKPOINT, saved_choices, saved_settings, typed_overrides
from src.settings import choices, flat, updated
from src.sweep.saved_runs import read_run

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from src.datasets.image_data import ImageDataModule
    from src.task import ClassificationTask

NEEDED = ("data", "model", "trainer", "threads", "matmul_precision")
SETTABLE = ("threads", "matmul_precision", "trainer.accelerator")  # and every key of data
SAME = ("_target_", "facts")  # keys of data that must be as in conf/
OF_TODAY = ("root", "cache")  # keys of data that come from conf/, and so do the addresses in `sources`
OF_TRAINER = ("accelerator", "precision", "deterministic", "limit_val_batches", "limit_test_batches")
ON_ONE_DEVICE = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
WAY_OUT = "Train again, or use another run."


@dataclass(frozen=True)
class FinishedRun:
    """A completed run."""

    folder: Path  # the run's folder
    settings: dict[str, Any]  # nested settings from training, with the changes that were typed
    result: dict[str, Any]  # its metrics.json

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.folder / BEST_CHECKPOINT


@dataclass(frozen=True)
class Rebuilt:
    """The parts of a run as they were in training, and a trainer to measure or predict with."""

    data: "ImageDataModule"
    task: "ClassificationTask"
    trainer: "Trainer"


def opened(folder: Path, changes: dict[str, Any] | None = None) -> FinishedRun:
    """Opens a completed run; `changes` maps keys of its data or device settings to new values.

    Raises:
        BadInput: the run is not completed, was made by another version, or a setting cannot be changed.
        DataError: its settings are damaged, or its folder holds a link, a pipe or a device.
    """
    refuse_links(folder)
    result = read_run(folder).result
    if result["status"] != "completed":
        raise BadInput(unfinished(folder, result))
    saved, changes = saved_settings(folder), changes or {}
    if missing := [key for key in NEEDED if key not in saved]:
        raise another_version(folder, result, f"its config has no {', '.join(missing)}")
    try:
        of_trainer = {key: saved["trainer"][key] for key in OF_TRAINER if key in saved["trainer"]}
        data = trusted_data(saved["data"], saved_choices(folder).get("data", ""), changes)
        check_settable(changes, flat(saved))
        trusted = {"data": data, "trainer": of_trainer | ON_ONE_DEVICE}
        settings = updated({key: saved[key] for key in NEEDED} | trusted, changes)
        check(settings)
    except KeyError as error:
        raise another_version(folder, result, f"its config lacks {error}") from error
    except (TypeError, AttributeError, ValueError) as error:
        raise another_version(folder, result, f"its config is not valid: {in_one_line(error)}") from error
    return FinishedRun(folder, settings, result)


def trusted_data(saved: Mapping[str, Any], choice: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The saved data settings. Addresses, `root` and `cache` are replaced by those of the same choice in conf/.

    Local folders and files that the saved settings name are searched first. If conf/ has no such data set, because it
    came from --config-dir, only they are searched: nothing is downloaded or cached.

    Raises:
        ValueError: the keys, class or facts differ from those in conf/.
    """
    today = data_in_conf(choice) if choice in choices("data") else {}
    if today and (saved.keys() != today.keys() or any(saved[key] != today[key] for key in SAME if key in today)):
        raise ValueError(f"data={choice} in conf/data/ has other settings")
    if "sources" not in saved:  # generated images
        return dict(saved)
    of_today = {key: today[key] for key in OF_TODAY} if today else {"cache": None}
    local = [place for place in (saved["root"], *saved["sources"]) if not is_address(str(place))]
    places = [changes["data.root"]] if "data.root" in changes else local
    return dict(saved) | of_today | {"sources": list(dict.fromkeys(map(str, [*places, *today.get("sources", [])])))}


def check_settable(changes: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    of_data = [key for key in known if key.startswith("data.") and "_target_" not in key and ".facts." not in key]
    settable = [*of_data, *SETTABLE]
    for key in changes:
        if key not in settable:
            raise BadInput(
                f"{key} cannot be set for a finished run.{did_you_mean(key, settable)} Known here: data.KEY, "
                f"{', '.join(SETTABLE)}."
            )


def unfinished(folder: Path, result: Mapping[str, Any]) -> str:
    """Why a run cannot be used, and how to complete it."""
    if result.get("status") == "failed":
        return f"the run in {typeable(folder)} has failed: {result.get('reason')} Try run=latest."
    # Only plain settings: whoever copies the command trusts it.
    words = [text for text in typed_overrides(folder) if re.match(r"\+?(?!resume=|hydra)[a-z][\w./]*=", text)]
    words = [text for text in words if "_target_" not in text]
    again = f"python -m src.train {shlex.join(words)}{' ' if words else ''}resume={typeable(folder)}"
    return f"the run in {typeable(folder)} is {result.get('status', 'unfinished')}. Resume it: {again}"


def another_version(folder: Path, result: Mapping[str, Any], reason: str) -> BadInput:
    commit = (result.get("git_commit") or "unknown")[:8]
    return BadInput(
        f"the run in {typeable(folder)} was made by another version of this project (commit {commit}): "
        f"{' '.join(reason.split())}. Use that version for it, or train again."
    )


def part(run: FinishedRun, name: str, **arguments: Any) -> Any:
    """Builds a part of a run from its saved settings."""
    try:
        return build_saved(name, run.settings[name], **arguments)
    except BadInput as error:
        raise another_version(run.folder, run.result, str(error)) from error


def rebuilt(run: FinishedRun, *callbacks: "Callback") -> Rebuilt:
    """Data, network and trainer of a finished run, with the weights of its best epoch."""
    from src.datasets.image_data import ImageDataModule
    from src.networks import Classifier
    from src.run.checkpoint_file import load_weights
    from src.run.logs import quiet_lightning
    from src.steps.threads import prepare_torch
    from src.task import ClassificationTask

    quiet_lightning()
    data: ImageDataModule = part(run, "data")
    shape, num_classes = data.image_shape, data.num_classes
    network: Classifier = part(run, "model", image_shape=shape, num_classes=num_classes)
    task = ClassificationTask(network, num_classes=num_classes)
    load_weights(task, run.checkpoint, way_out=WAY_OUT)
    # With the same number of threads as in training, sums are rounded in the same way.
    threads = run.settings["threads"]
    threads = run.result.get("threads", 1) if threads == "auto" else threads
    prepare_torch(threads, run.settings["matmul_precision"], multiply_adds=0)
    return Rebuilt(data, task, trainer_of(run, callbacks))


def trainer_of(run: FinishedRun, callbacks: "tuple[Callback, ...]") -> "Trainer":
    """A trainer with the run's settings that writes nothing."""
    from lightning import Trainer

    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    own = dict.fromkeys(off, False) | {"callbacks": list(callbacks)}
    try:
        # Not a folder: on Slurm, Lightning loads weights from any `hpc_ckpt_*` file in the root folder.
        return Trainer(**run.settings["trainer"] | own | {"default_root_dir": os.devnull})
    except (TypeError, ValueError) as error:
        raise another_version(run.folder, run.result, str(error)) from error

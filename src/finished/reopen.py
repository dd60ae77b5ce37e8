"""Reopens a finished run: checks its settings, and rebuilds its data, network and trainer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from src.build import as_dict, build, changed, saved_settings
from src.errors import BadInput, DataError, did_you_mean
from src.files import typeable
from src.rules import check
from src.run.result import BEST_CHECKPOINT, CONFIG_FILE, typed_overrides
from src.settings import flat
from src.sweep.saved_runs import read_run

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from src.datasets.image_data import ImageDataModule
    from src.task import ClassificationTask

NEEDED = ("data", "model", "trainer", "threads", "matmul_precision")
SETTABLE = ("threads", "matmul_precision", "trainer.accelerator")  # and every key of data
ON_ONE_DEVICE = {"trainer.devices": 1, "trainer.num_nodes": 1, "trainer.strategy": "auto"}
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
        DataError: its config is damaged.
    """
    result = read_run(folder).result
    if result["status"] != "completed":
        raise BadInput(unfinished(folder, result))
    saved = saved_settings(folder / CONFIG_FILE)
    if missing := [key for key in NEEDED if key not in saved]:
        raise another_version(folder, result, f"its config has no {', '.join(missing)}")
    check_settable(changes or {}, flat(saved))
    settings = as_dict(changed({key: saved[key] for key in NEEDED}, ON_ONE_DEVICE | (changes or {})))
    try:
        check(settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise another_version(folder, result, f"its config lacks {error}") from error
    return FinishedRun(folder, settings, result)


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
    words = [text for text in typed_overrides(folder) if not text.startswith("resume=")]
    again = " ".join(["python -m src.train", *words, f"resume={typeable(folder)}"])
    return f"the run in {typeable(folder)} is {result.get('status', 'unfinished')}. Resume it: {again}"


def another_version(folder: Path, result: Mapping[str, Any], reason: str) -> BadInput:
    commit = (result.get("git_commit") or "unknown")[:8]
    return BadInput(
        f"the run in {typeable(folder)} was made by another version of this project (commit {commit}): "
        f"{' '.join(reason.split())}. Use that version for it, or train again."
    )


def part(run: FinishedRun, name: str, kind: type, **arguments: Any) -> Any:
    """Builds a part of a run from its config. Only classes of src/ are built: the folder may come from anywhere."""
    config = run.settings[name]
    targets = [key for key in flat(config) if key.endswith("_target_")]
    if targets != ["_target_"] or not str(config["_target_"]).startswith("src."):
        raise another_version(run.folder, run.result, f"{name} is not built by a class of src/")
    try:
        if not issubclass(resolve_name(config["_target_"]), kind):
            raise TypeError(f"{config['_target_']} is not a {kind.__name__}")
        return build(run.settings, name, **arguments)
    except (BadInput, TypeError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise another_version(run.folder, run.result, str(error)) from error


def rebuilt(run: FinishedRun, *callbacks: "Callback") -> Rebuilt:
    """Data, network and trainer of a finished run; the weights are not loaded yet."""
    from src.datasets.image_data import ImageDataModule
    from src.networks import Classifier
    from src.run.logs import quiet_lightning
    from src.steps.threads import prepare_torch
    from src.task import ClassificationTask

    quiet_lightning()
    data: ImageDataModule = part(run, "data", ImageDataModule)
    shape, num_classes = data.image_shape, data.num_classes
    network: Classifier = part(run, "model", Classifier, image_shape=shape, num_classes=num_classes)
    task = ClassificationTask(network, num_classes=num_classes)
    check_fits(run, task)
    # With the same number of threads as in training, sums are rounded in the same way.
    threads = run.settings["threads"]
    threads = run.result.get("threads", 1) if threads == "auto" else threads
    prepare_torch(threads, run.settings["matmul_precision"], multiply_adds=0)
    return Rebuilt(data, task, trainer_of(run, callbacks))


def trainer_of(run: FinishedRun, callbacks: "tuple[Callback, ...]") -> "Trainer":
    """A trainer with the run's settings that writes nothing."""
    from lightning import Trainer

    settings = {key: value for key, value in run.settings["trainer"].items() if key != "_target_"}
    own = {"logger": False, "enable_checkpointing": False, "callbacks": list(callbacks)}
    try:
        return Trainer(**settings | own | {"default_root_dir": str(run.folder)})
    except TypeError as error:
        raise another_version(run.folder, run.result, str(error)) from error


def check_fits(run: FinishedRun, task: "ClassificationTask") -> None:
    """Checks that the tensors of the checkpoint have the names and shapes of the task's tensors."""
    from src.run.checkpoints import load

    weights = load(run.checkpoint, way_out=WAY_OUT).get("state_dict", {})
    expected = {name: tuple(tensor.shape) for name, tensor in task.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise DataError(
                f"{run.checkpoint} does not fit the network of its run: {name} is {found.get(name, 'missing')} in it, "
                f"but {expected.get(name, 'unknown')} by the config and the typed settings. {WAY_OUT}"
            )

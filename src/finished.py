"""Finished runs: found by a word, built anew from the files in their own folders, measured, drawn."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.build import build
from src.checks import check
from src.composer import known_keys
from src.errors import BadInput, DataError, LabError, did_you_mean
from src.files import load_yaml, typeable
from src.run import CONFIG_FILE, FIGURES, METRICS_FILE
from src.sweep.leaderboard import Run, leaderboard, read_run, read_runs
from src.sweep.plan import PLAN_FILE

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from src.data.datamodules import ImageDataModule
    from src.evaluation import Evaluation
    from src.task import ClassificationTask

OUTPUTS = Path("outputs")
details_log = logging.getLogger("details")  # goes to train.log alone
BEST = "checkpoints/best.ckpt"
NEEDED = ("data", "model", "trainer", "threads", "matmul_precision")
SETTABLE = ("threads", "matmul_precision", "trainer.accelerator")  # and those of data


@dataclass(frozen=True)
class FinishedRun:
    """A completed run.

    Attributes:
        folder: where it is.
        config: the settings it was trained with, and what was set on top of them since.
        result: its metrics.json.
    """

    folder: Path
    config: DictConfig
    result: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        """Of the epoch with the best validation accuracy."""
        return self.folder / BEST


@dataclass(frozen=True)
class Rebuilt:
    """The parts of a run, as they were when it was trained, and a trainer to measure or predict with."""

    data: "ImageDataModule"
    task: "ClassificationTask"
    trainer: "Trainer"


def find(word: str, *, data: str | None = None) -> Path:
    """The folder of the run that a word means.

    Args:
        word: `latest`, the newest completed run in outputs/; `best`, that with the highest validation accuracy; or the
            folder of a run, or of a sweep for its best job.
        data: for `best`, the data set that was chosen; None where all runs are of one.

    Raises:
        BadInput: it is none of these, or there are several data sets.
        DataError: no run is there.
    """
    folder = Path(word).expanduser()
    if word in ("latest", "best"):
        completed = [run for run in read_runs(OUTPUTS) if run.completed]
        if not completed:
            raise DataError(f"run={word}: no completed run is in {OUTPUTS}/. Train one: python -m src.train")
        return best_of(completed, data) if word == "best" else max(completed, key=age).folder
    if (folder / PLAN_FILE).is_file():
        return best_job(folder)
    if not (folder / CONFIG_FILE).is_file():
        what = "holds no run" if folder.is_dir() else "is no folder"
        raise BadInput(f"run must be latest, best or the folder of a run or sweep, but {word} {what}. Try run=latest.")
    return folder


def age(run: Run) -> float:
    return (run.folder / METRICS_FILE).stat().st_mtime


def best_of(completed: Sequence[Run], data: str | None) -> Path:
    by_data: dict[str, list[Run]] = {}
    for run in completed:
        # A generated stand-in is easy to learn: it competes with no real images.
        generated = run.result.get("data_source") == "synthetic"
        by_data.setdefault("synthetic" if generated else run.value("data"), []).append(run)
    names = ", ".join(sorted(by_data))
    if data is None and len(by_data) > 1:
        raise BadInput(f"run=best needs a data set: {OUTPUTS}/ has runs of {names}. Add data={min(by_data)}.")
    if data is not None and data not in by_data:
        raise DataError(f"run=best: no completed run of data={data} is in {OUTPUTS}/, but of {names}.")
    return max(by_data[data or names], key=lambda run: run.result["val/acc"]).folder


def best_job(sweep_dir: Path) -> Path:
    """The job at the top of a sweep's leaderboard; of several seeds the best."""
    completed = leaderboard([sweep_dir]).completed
    if not completed:
        raise BadInput(f"no job of the sweep in {typeable(sweep_dir)} is completed yet. Go on with it: resume=auto.")
    return completed[0].best.folder


def opened(folder: Path, overrides: Sequence[str] = ()) -> FinishedRun:
    """A completed run, with settings of its data or device changed.

    Raises:
        BadInput: it is not completed, another version made it, or an override is not for a run that is finished.
        DataError: its config is damaged.
    """
    result = read_run(folder).result
    if result["status"] != "completed":
        raise BadInput(unfinished(folder, result))
    try:
        config = cast(DictConfig, OmegaConf.load(folder / CONFIG_FILE))
        known = known_keys(config)
    except (OmegaConfBaseException, OSError, ValueError, AttributeError) as error:
        raise DataError(f"{folder / CONFIG_FILE} is damaged ({type(error).__name__}).") from error
    except Exception as error:  # yaml's own have no common base with these
        raise DataError(f"{folder / CONFIG_FILE} is no YAML ({type(error).__name__}).") from error
    run = FinishedRun(folder, config, result)
    if missing := [key for key in NEEDED if key not in config]:
        raise another_version(run, f"its config has no {', '.join(missing)}")
    OmegaConf.update(
        config, "trainer", {"devices": 1, "num_nodes": 1, "strategy": "auto"}, force_add=True
    )  # whatever it was trained on
    for text in overrides:
        key, value = parsed(text)
        if key not in known or not (key.startswith("data.") or key in SETTABLE):
            settable = [name for name in known if name.startswith("data.")] + list(SETTABLE)
            raise BadInput(
                f"{key} cannot be set for a finished run.{did_you_mean(key, settable)} Known here: data.KEY, "
                f"{', '.join(SETTABLE)}."
            )
        OmegaConf.update(config, key, value)
    try:
        check(cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)))
    except (KeyError, TypeError, AttributeError, OmegaConfBaseException) as error:
        raise another_version(run, f"its config lacks {error}") from error
    return run


def unfinished(folder: Path, result: Mapping[str, Any]) -> str:
    """Why a run cannot be used, and how to end it."""
    typed = load_yaml(folder / ".hydra" / "overrides.yaml") or []
    words = " ".join(text for text in typed if not text.startswith("resume="))
    again = " ".join(f"python -m src.train {words} resume={typeable(folder)}".split())
    if result.get("status") == "failed":
        return f"the run in {typeable(folder)} has failed: {result.get('reason')} Try run=latest."
    return f"the run in {typeable(folder)} is {result.get('status', 'unfinished')}. Go on with it: {again}"


def parsed(override: str) -> tuple[str, Any]:
    try:
        (found,) = OverridesParser.create().parse_overrides([override])
    except HydraException as error:
        raise BadInput(f"cannot read the override {override!r}. Write key=value.") from error
    if found.is_sweep_override() or found.is_delete() or found.is_add():
        raise BadInput(f"cannot use the override {override!r} here. Write key=value, with one value.")
    return found.key_or_group, found.value()


def another_version(run: FinishedRun, reason: str) -> BadInput:
    commit = (run.result.get("git_commit") or "unknown")[:8]
    return BadInput(
        f"the run in {typeable(run.folder)} was made by another version of this project (commit {commit}): "
        f"{' '.join(reason.split())}. Use that version for it, or train anew."
    )


def part(run: FinishedRun, name: str, kind: type, **arguments: Any) -> Any:
    """A part of the run's config, which may have come with the folder from anywhere: nothing but our own is built.

    Raises:
        BadInput: it is not of this version.
    """
    config = run.config[name]
    targets = [key for key in all_keys(config) if key.endswith("_target_")]
    if targets != ["_target_"] or not str(config._target_).startswith("src."):
        raise another_version(run, f"{name} is to be built by something else than a class of src/")
    try:
        built = get_class(config._target_)
        if not issubclass(built, kind):
            raise TypeError(f"{config._target_} is no {kind.__name__}")
        return build(config, **arguments)
    except (BadInput, TypeError, ValueError, ImportError) as error:
        raise another_version(run, str(error)) from error


def all_keys(config: DictConfig) -> list[str]:
    """Every key, those that begin with an underscore among them."""
    keys = []
    for name, value in cast(dict[str, Any], OmegaConf.to_container(config, resolve=True)).items():
        keys += [name, *(all_keys(OmegaConf.create(value)) if isinstance(value, dict) else ())]
    return keys


def rebuilt(run: FinishedRun, *callbacks: "Callback") -> Rebuilt:
    """Data, network and trainer of a finished run, the weights still to be loaded.

    Raises:
        BadInput: they are of another version.
        DataError: the checkpoint is missing, damaged, or of another network.
    """
    import torch
    from lightning import Trainer

    from src.compute import prepare_torch
    from src.data.datamodules import ImageDataModule
    from src.history import quiet_lightning
    from src.networks import Classifier
    from src.task import ClassificationTask

    quiet_lightning()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # of the processes that have trained: this one goes on alone
    data: ImageDataModule = part(run, "data", ImageDataModule)
    shape, num_classes = data.image_shape, data.num_classes
    network: Classifier = part(run, "model", Classifier, image_shape=shape, num_classes=num_classes)
    task = ClassificationTask(network, num_classes=num_classes)
    check_fits(run, task)
    # With as many threads as it was trained with, sums are rounded alike.
    threads = run.result.get("threads", 1) if run.config.threads == "auto" else run.config.threads
    prepare_torch(threads, run.config.matmul_precision, multiply_adds=0)
    settings = {key: value for key, value in run.config.trainer.items() if key != "_target_"}
    own = {"logger": False, "enable_checkpointing": False}
    try:
        trainer = Trainer(**settings | own | {"callbacks": list(callbacks), "default_root_dir": str(run.folder)})
    except TypeError as error:
        raise another_version(run, str(error)) from error
    return Rebuilt(data, task, trainer)


def check_fits(run: FinishedRun, task: "ClassificationTask") -> None:
    from src.checkpoints import load

    way_out = "Train anew, or use another run."
    weights = load(run.checkpoint, way_out=way_out).get("state_dict", {})
    expected = {name: tuple(tensor.shape) for name, tensor in task.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise DataError(
                f"{run.checkpoint} does not fit the network of its run: {name} is {found.get(name, 'missing')} in it, "
                f"and {expected.get(name, 'unknown')} by the config and what was typed. {way_out}"
            )


def evaluated(run: FinishedRun, split: str) -> tuple["Evaluation", Rebuilt]:
    """The scores of a split, computed as in training, with the best checkpoint's weights.

    Args:
        run: finished.
        split: `val` or `test`.
    """
    from src.evaluation import Evaluation, KeepScores

    keep = KeepScores()
    parts = rebuilt(run, keep)
    measure: Callable[..., Any] = parts.trainer.validate if split == "val" else parts.trainer.test
    measure(parts.task, parts.data, ckpt_path=run.checkpoint, weights_only=True, verbose=False)
    loss, acc = (parts.trainer.callback_metrics[f"{split}/{name}"].item() for name in ("loss", "acc"))
    data = parts.data
    return Evaluation(split, data.splits[split], data.class_names, keep.scores(), loss, acc), parts


def draw_figures(folder: Path) -> bool:
    """Draws a run's pictures into its folder and its event file, once; returns whether they are there.

    What stands against it is only told: the run has been completed.
    """
    from src.gallery import draw_gallery, to_tensorboard

    if (folder / FIGURES).exists():
        return True
    try:
        run = opened(folder)
        evaluation, parts = evaluated(run, "test")
        files = draw_gallery(folder / FIGURES, evaluation, parts.task.network, parts.data.normalize, run_dir=folder)
        to_tensorboard(files, folder, epochs=run.result.get("epochs", 0))
    except Exception as error:
        reason = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
        print(f"warning: the figures were not drawn: {reason}", file=sys.stderr)
        details_log.info("why the figures were not drawn:", exc_info=error)
        return False
    return True


def draw_figures_of_best(sweep_dir: Path) -> None:
    """Draws the pictures of a sweep's best job, if they are wanted."""
    entries = leaderboard([sweep_dir]).completed
    if entries and load_yaml(entries[0].best.folder / CONFIG_FILE).get("figures"):
        folder = entries[0].best.folder
        if draw_figures(folder):
            print(f"  figures      {typeable(folder / FIGURES)}")

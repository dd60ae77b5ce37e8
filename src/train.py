"""One run: fit, keep the checkpoint that is best on validation accuracy, test once with it.

python -m src.train model=mlp data=cifar2
"""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.build import as_dict, build
from src.command_line import RUN_DIR, is_helper_process, run_command, settle_in_worker, share_work
from src.composer import CONF
from src.errors import BadInput
from src.finished import draw_figures, draw_figures_of_best
from src.hyperparameters import hyperparameters
from src.run import RunResult, record, report
from src.settings import flat, key_of
from src.sweep.placement import on_free_gpu

if TYPE_CHECKING:
    from lightning import Trainer

    from src.data.datamodules import ImageDataModule
    from src.history import History
    from src.task import ClassificationTask


def train(cfg: DictConfig, run_dir: Path, *, quiet: bool = False, named: Mapping[str, Any] | None = None) -> RunResult:
    """Trains and tests one network as `cfg` says; checkpoints and curves go to `run_dir`.

    On the terminal, unless `quiet`, a bar moves and a line an epoch is printed. `named` are the hyperparameters that
    the run's row in TensorBoard shows.
    """
    # Imported here, so that --help and a mistyped command do not wait for torch.
    from lightning import Trainer, seed_everything

    from src.checkpoints import KeepBest, KeepLast, RandomState, WholeFiles, to_continue
    from src.compute import prepare_torch
    from src.data.datamodules import ImageDataModule
    from src.executions import steps_per_execution
    from src.history import History, quiet_lightning
    from src.networks import Classifier
    from src.progress import Progress
    from src.task import ClassificationTask

    quiet_lightning()
    seed_everything(cfg.seed, verbose=False)

    data: ImageDataModule = build(cfg.data)
    network: Classifier = build(cfg.model, image_shape=data.image_shape, num_classes=data.num_classes)
    optimizer, scheduler = build(cfg.optimizer), build(cfg.scheduler)
    task = ClassificationTask(
        network, num_classes=data.num_classes, optimizer=optimizer, scheduler=scheduler, cuda_graph=cfg.cuda_graph
    )
    prepare_torch(cfg.threads, cfg.matmul_precision, multiply_adds=network.num_parameters * data.images_per_step)

    history = History(run_dir, max_epochs=cfg.trainer.max_epochs, quiet=quiet)
    keep_best = KeepBest(run_dir / "checkpoints")
    keep_last = KeepLast(run_dir / "checkpoints", keep_best)
    callbacks = [RandomState(), keep_best, keep_last, history, Progress(quiet=quiet)]
    if cfg.pruner:
        callbacks.append(build(cfg.pruner))
    trainer: Trainer = build(
        cfg.trainer, logger=history, callbacks=callbacks, plugins=[WholeFiles()], default_root_dir=str(run_dir)
    )
    data.steps_per_execution = steps_per_execution(cfg.steps_per_execution, trainer)
    trainer.fit(task, data, ckpt_path=to_continue(run_dir), weights_only=True)
    if not keep_best.best_model_path:
        raise BadInput("no epoch was validated, so there is no best one. Remove what keeps the trainer from it.")
    trainer.test(task, data, ckpt_path=keep_best.best_model_path, weights_only=True, verbose=False)
    result = result_of(trainer, task, data, history)
    if named:
        history.summarize(named, result.metrics)
    if cfg.graph:
        history.draw_graph(network, data.image_shape)
    history.close()
    return result


def result_of(trainer: "Trainer", task: "ClassificationTask", data: "ImageDataModule", history: "History") -> RunResult:
    """What a trained and tested task comes to."""
    import torch

    return RunResult(
        metrics={
            **{name: history.best[name] for name in ("val/acc", "val/loss")},
            **{name: trainer.callback_metrics[name].item() for name in ("test/acc", "test/loss")},
        },
        best_epoch=int(history.best["epoch"]),
        epochs=len(history.rows),
        train_seconds=history.train_seconds,
        images_per_second=task.train_tally.images * trainer.world_size / history.train_seconds,
        num_parameters=task.network.num_parameters,
        threads=torch.get_num_threads(),
        device=str(trainer.strategy.root_device),
        data_source=data.source,
        validation="official test" if data.validation == "test" else "train split",
    )


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def main(cfg: DictConfig) -> None:
    if is_helper_process():
        share_work(partial(train, cfg))
        return
    job = HydraConfig.get()
    run_dir = Path(job.runtime.output_dir)
    in_sweep = job.mode == RunMode.MULTIRUN
    overrides = list(job.overrides.task)
    named = hyperparameters(flat(as_dict(cfg)), choices=job.runtime.choices, typed=map(key_of, overrides))
    run = partial(train, cfg, run_dir, quiet=in_sweep, named=named)
    if in_sweep:
        run = partial(on_free_gpu, run, cfg.trainer, run_dir.parent)
        settle_in_worker(job.runtime.cwd, job.launcher._target_)
    os.environ[RUN_DIR] = str(run_dir)
    exit_code = record(run, run_dir=run_dir, seed=cfg.seed, overrides=overrides, quiet=in_sweep)
    # A failed job does not end a sweep, whose exit code comes from what its jobs have written down.
    if exit_code and not in_sweep:
        sys.exit(exit_code)
    if exit_code == 0:
        if cfg.figures == "all" or (cfg.figures and not in_sweep):
            draw_figures(run_dir)
        report(run_dir, quiet=in_sweep)


if __name__ == "__main__":
    sys.exit(run_command(main, after_sweep=draw_figures_of_best))

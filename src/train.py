"""Trains one run: fits, keeps the checkpoint with the best validation accuracy, and tests once with it.

python -m src.train model=mlp data=cifar2
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.build import as_dict, build, changed
from src.command.command_line import run_command
from src.command.processes import end_distributed_run, settle_in_worker, share_work
from src.finished.measure import draw_figures, draw_figures_of_best
from src.metrics import METRICS, MONITOR
from src.run.hyperparameters import hyperparameters
from src.run.records import write_settings
from src.run.result import RunFacts, RunResult, record, report
from src.settings import fingerprint, flat, key_of
from src.sweep.launchers import free_gpu, leaves_workers, requeues

if TYPE_CHECKING:
    from lightning import Trainer

    from src.datasets.image_data import ImageDataModule
    from src.task import ClassificationTask


def train(cfg: DictConfig, run_dir: Path, *, quiet: bool = False, named: Mapping[str, Any] | None = None) -> RunResult:
    """Trains and tests one network as configured; writes checkpoints and curves to `run_dir`.

    Prints a line for each epoch, and a progress bar on a terminal, unless `quiet`. `named` holds the hyperparameters of
    the run's row in TensorBoard's HPARAMS tab.
    """
    # Imported here, so that --help and a mistyped command do not wait for torch.
    from lightning import seed_everything

    from src.run import checkpoint_file, checkpoints, epoch_logger, event_file, fit_state, history, logs, progress
    from src.steps import executions, threads
    from src.task import ClassificationTask

    logs.quiet_lightning()
    seed_everything(cfg.seed, verbose=False)

    data: ImageDataModule = build(cfg, "data")
    network = build(cfg, "model", image_shape=data.image_shape, num_classes=data.num_classes)
    optimizer, scheduler = build(cfg, "optimizer"), build(cfg, "scheduler")
    task = ClassificationTask(network, data.num_classes, optimizer, scheduler, cuda_graph=cfg.cuda_graph)
    multiply_adds = network.num_parameters * data.images_per_step
    threads.prepare_torch(cfg.threads, cfg.matmul_precision, multiply_adds=multiply_adds)

    rows, best = history.History(run_dir), checkpoints.KeepBest(run_dir)
    events = event_file.EventFile(run_dir, rows)
    logger = epoch_logger.EpochLogger(rows, events, max_epochs=cfg.trainer.max_epochs, quiet=quiet)
    state = fit_state.FitState(logger, settings=fingerprint(as_dict(cfg)), force=cfg.force_resume)
    callbacks = [checkpoints.RandomState(), best, checkpoints.KeepLast(run_dir, best), state]
    callbacks += [progress.Progress(quiet), *([build(cfg, "pruner")] if cfg.pruner else [])]
    settings = {"callbacks": callbacks, "plugins": [checkpoint_file.WholeFiles()], "default_root_dir": str(run_dir)}
    trainer: Trainer = build(cfg, "trainer", logger=logger, **settings)

    data.steps_per_execution = executions.steps_per_execution(cfg.steps_per_execution, trainer)
    with checkpoints.restoring(run_dir, state) as earlier:
        trainer.fit(task, data, ckpt_path=earlier, weights_only=True)
    best_row = rows.row_with(MONITOR, best.score)
    checkpoint_file.load_weights(task, best.path, way_out="Train again in a new folder.")
    trainer.test(task, data, ckpt_path=best.path, weights_only=True, verbose=False)
    result = result_of(trainer, task, data, best_row, epochs=len(rows.rows), train_seconds=state.train_seconds)
    if named:
        events.add_hyperparameters(named, result.metrics, epoch=result.epochs)
    if cfg.graph:
        events.add_graph(network, data.image_shape)
    events.close()
    return result


def result_of(
    trainer: "Trainer",
    task: "ClassificationTask",
    data: "ImageDataModule",
    best_row: Mapping[str, float],
    *,
    epochs: int,
    train_seconds: float,
) -> RunResult:
    """The result of a trained and tested task; `best_row` is the best epoch's row of metrics.csv."""
    import torch

    names = (*METRICS, "loss")
    val = {f"val/{name}": best_row[f"val/{name}"] for name in names}
    test = {f"test/{name}": trainer.callback_metrics[f"test/{name}"].item() for name in names}
    return RunResult(
        metrics=val | test,
        best_epoch=int(best_row["epoch"]),
        epochs=epochs,
        train_seconds=train_seconds,
        images_per_second=task.train_tally.images * trainer.world_size / train_seconds,
        num_parameters=task.network.num_parameters,
        threads=torch.get_num_threads(),
        device=str(trainer.strategy.root_device),
        data_source=data.source,
        validation="official test" if data.validation == "test" else "train split",
    )


def on_free_gpu(work: Callable[[DictConfig], RunResult], cfg: DictConfig, sweep_dir: Path) -> RunResult:
    """Runs a job of a sweep on the GPU that runs the fewest jobs of that sweep."""
    with free_gpu(as_dict(cfg.trainer), sweep_dir) as number:
        return work(cfg if number is None else changed(cfg, {"trainer.devices": [number]}))


def main(cfg: DictConfig) -> None:
    """Runs one job, a single run or one of a sweep, in the folder that Hydra has created for it."""
    job = HydraConfig.get()
    run_dir, in_sweep = Path(job.runtime.output_dir), job.mode == RunMode.MULTIRUN
    launcher, overrides = job.launcher._target_, list(job.overrides.task)
    settings = as_dict(cfg)
    write_settings(run_dir, settings)
    named = hyperparameters(flat(settings), choices=job.runtime.choices, typed=map(key_of, overrides))
    facts = RunFacts(run_dir, cfg.seed, overrides, quiet=in_sweep, may_be_requeued=in_sweep and requeues(launcher))
    work = partial(train, run_dir=run_dir, quiet=in_sweep, named=named)
    if in_sweep:
        settle_in_worker(job.runtime.cwd, ends_with_parent=leaves_workers(launcher))
        work = partial(on_free_gpu, work, sweep_dir=run_dir.parent)
    exit_code = record(partial(work, cfg), facts)
    # A failed job does not end its sweep: the sweep's exit code comes from the results of all jobs.
    if exit_code and not in_sweep:
        sys.exit(exit_code)
    if exit_code == 0:
        end_distributed_run()
        if cfg.figures == "all" or (cfg.figures and not in_sweep):
            draw_figures(run_dir)
        report(run_dir, quiet=in_sweep)


def share(cfg: DictConfig) -> None:
    """Takes part in a distributed run, in a helper process."""
    share_work(partial(train, cfg, Path(HydraConfig.get().runtime.output_dir)))


if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:], main, share, after_sweep=draw_figures_of_best))

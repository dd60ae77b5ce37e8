"""One run: fit, keep the checkpoint that is best on validation accuracy, test once with it.

python -m src.train model=mlp data=cifar2
"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.command_line import build, is_helper_process, run_command
from src.errors import BadInput, LabError
from src.jobs import CONF
from src.run import RunResult, record

if TYPE_CHECKING:
    from lightning import Trainer

    from src.data.datamodules import ImageDataModule
    from src.history import History
    from src.task import ClassificationTask


def train(cfg: DictConfig, run_dir: Path) -> RunResult:
    """Trains and tests one network as `cfg` says; checkpoints and curves go to `run_dir`."""
    # Imported here, so that --help and a mistyped command do not wait for torch.
    from lightning import Trainer, seed_everything
    from lightning.pytorch.callbacks import ModelCheckpoint

    from src.data.datamodules import ImageDataModule
    from src.history import History, quiet_lightning
    from src.networks import Classifier
    from src.task import ClassificationTask

    quiet_lightning()
    seed_everything(cfg.seed, verbose=False)

    data: ImageDataModule = build(cfg.data)
    network: Classifier = build(cfg.model, image_shape=data.image_shape, num_classes=data.num_classes)
    optimizer, scheduler = build(cfg.optimizer), build(cfg.scheduler)
    task = ClassificationTask(network, num_classes=data.num_classes, optimizer=optimizer, scheduler=scheduler)

    history = History(run_dir, max_epochs=cfg.trainer.max_epochs)
    # Saved at the end of the training epoch: by then a loss that is not finite has ended the run.
    checkpoint = partial(
        ModelCheckpoint, run_dir / "checkpoints", save_on_train_epoch_end=True, enable_version_counter=False
    )
    keep_best = checkpoint(filename="best", monitor="val/acc", mode="max")
    keep_last = checkpoint(filename="last")  # `save_last` would only follow a new best
    trainer: Trainer = build(
        cfg.trainer, logger=history, callbacks=[keep_best, keep_last, history], default_root_dir=str(run_dir)
    )
    trainer.fit(task, data)
    if not keep_best.best_model_path:
        raise BadInput("no epoch was validated, so there is no best one. Remove what keeps the trainer from it.")
    trainer.test(task, data, ckpt_path=keep_best.best_model_path, weights_only=True, verbose=False)
    history.close()

    return result_of(trainer, task, data, history)


def result_of(trainer: "Trainer", task: "ClassificationTask", data: "ImageDataModule", history: "History") -> RunResult:
    """What a trained and tested task comes to."""
    return RunResult(
        metrics={
            **{name: history.best[name] for name in ("val/acc", "val/loss")},
            **{name: trainer.callback_metrics[name].item() for name in ("test/acc", "test/loss")},
        },
        best_epoch=int(history.best["epoch"]),
        epochs=len(history.rows),
        train_seconds=history.train_seconds,
        images_per_second=task.images_trained * trainer.world_size / history.train_seconds,
        num_parameters=sum(parameter.numel() for parameter in task.network.parameters()),
        device=str(trainer.strategy.root_device),
        data_source=data.source,
        validation="official test" if data.validation == "test" else "train split",
    )


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def main(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    run_dir = Path(job.runtime.output_dir)
    run = partial(train, cfg, run_dir)
    if is_helper_process():
        try:
            run()
        except (LabError, RuntimeError) as error:  # the first process tells what went wrong
            if isinstance(error, LabError) or "Connection closed by peer" in str(error):
                sys.exit(1)
            raise
        return
    exit_code = record(run, run_dir=run_dir, seed=cfg.seed, overrides=list(job.overrides.task))
    # A failed job does not end a sweep, whose exit code comes from what its jobs have written down.
    if exit_code and job.mode == RunMode.RUN:
        sys.exit(exit_code)


if __name__ == "__main__":
    sys.exit(run_command(main))

"""One run: fit, keep the checkpoint that is best on validation accuracy, test once with it.

python -m src.train model=mlp data=cifar2
"""

import sys
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.command_line import is_helper_process, run_command
from src.jobs import CONF
from src.run import RunResult, record


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

    data: ImageDataModule = instantiate(cfg.data, _convert_="all")
    network: Classifier = instantiate(
        cfg.model, image_shape=data.image_shape, num_classes=data.num_classes, _convert_="all"
    )
    task = ClassificationTask(
        network,
        num_classes=data.num_classes,
        optimizer=instantiate(cfg.optimizer, _convert_="all"),
        scheduler=instantiate(cfg.scheduler, _convert_="all"),
    )

    history = History(run_dir, max_epochs=cfg.trainer.max_epochs)
    # Saved at the end of the training epoch: by then a loss that is not finite has ended the run.
    checkpoint = partial(
        ModelCheckpoint, run_dir / "checkpoints", save_on_train_epoch_end=True, enable_version_counter=False
    )
    keep_best = checkpoint(filename="best", monitor="val/acc", mode="max")
    keep_last = checkpoint(filename="last")  # `save_last` would only follow a new best
    trainer: Trainer = instantiate(
        cfg.trainer,
        logger=history,
        callbacks=[keep_best, keep_last, history],
        default_root_dir=str(run_dir),
        _convert_="all",
    )
    trainer.fit(task, data)
    trainer.test(task, data, ckpt_path=keep_best.best_model_path, weights_only=True, verbose=False)
    history.close()

    best, tested = history.best, trainer.callback_metrics
    return RunResult(
        metrics={
            "val/acc": best["val/acc"],
            "val/loss": best["val/loss"],
            "test/acc": tested["test/acc"].item(),
            "test/loss": tested["test/loss"].item(),
        },
        best_epoch=int(best["epoch"]),
        epochs=len(history.rows),
        train_seconds=history.train_seconds,
        images_per_second=len(history.rows) * len(data.splits["train"]) / history.train_seconds,
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        device=str(trainer.strategy.root_device),
        data_source=data.source,
        validation="official test" if cfg.data.validation == "test" else "train split",
    )


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def main(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    run_dir = Path(job.runtime.output_dir)
    run = partial(train, cfg, run_dir)
    if is_helper_process():
        run()
        return
    exit_code = record(run, run_dir=run_dir, seed=cfg.seed, overrides=list(job.overrides.task))
    # A failed job does not end a sweep, whose exit code comes from what its jobs have written down.
    if exit_code and job.mode == RunMode.RUN:
        sys.exit(exit_code)


if __name__ == "__main__":
    sys.exit(run_command(main))

"""An Optuna study in a sweep's folder, and the callback by which its trials are stopped when they fall behind."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock
from lightning import Callback, LightningModule, Trainer

if TYPE_CHECKING:
    from optuna import Study


STOPPED = "stopped after epoch"


def cut_torn_line(journal: Path, lock: FileLock) -> None:
    """Removes what a killed process has left of a line: with another one behind it, Optuna could not read it."""
    with lock:
        content = journal.read_bytes() if journal.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)


def open_study(journal: Path, *, seed: int, min_epochs: int, reduction_factor: int) -> "Study":
    """The study of a journal, which is made if need be.

    Args:
        journal: a file that several processes may write to.
        seed: of the sampler, a Tree-structured Parzen Estimator (Bergstra et al., 2011).
        min_epochs: before the first halving.
        reduction_factor: of asynchronous successive halving (Li et al., 2020); 1 stops no trial.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = FileLock(journal.with_name(f".{journal.name}.lock"))
    cut_torn_line(journal, lock)
    halving = optuna.pruners.SuccessiveHalvingPruner(min_epochs, max(2, reduction_factor))
    study = optuna.create_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(str(journal), lock_obj=cast(Any, lock))),
        pruner=halving if reduction_factor > 1 else optuna.pruners.NopPruner(),
        direction="maximize",
        load_if_exists=True,
    )
    # A search that goes on draws anew: the same draws would propose the same jobs.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.get_trials(deepcopy=False)))
    return study


class Pruner(Callback):
    """Reports each epoch's validation accuracy to a trial, and ends the fit when the study says so.

    Args:
        journal: of the study.
        trial: its number.
        min_epochs: as of the study.
        reduction_factor: as of the study.
    """

    def __init__(self, journal: str, trial: int, min_epochs: int, reduction_factor: int) -> None:
        from optuna import Trial

        study = open_study(Path(journal), seed=0, min_epochs=min_epochs, reduction_factor=reduction_factor)
        self.trial = Trial(study, study.get_trials(deepcopy=False)[trial]._trial_id)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A fit that was interrupted when it had been told to stop does not go on."""
        stopped = self.trial.storage.get_trial(self.trial._trial_id).user_attrs.get(STOPPED)
        if stopped is not None and trainer.current_epoch >= stopped:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        falls_behind = trainer.is_global_zero and self.falls_behind(
            trainer.callback_metrics["val/acc"].item(), epoch=trainer.current_epoch + 1
        )
        if trainer.strategy.broadcast(falls_behind):
            trainer.should_stop = True

    def falls_behind(self, accuracy: float, *, epoch: int) -> bool:
        known = self.trial.storage.get_trial(self.trial._trial_id)
        if epoch in known.intermediate_values:  # reported before the run was interrupted
            return bool(known.user_attrs.get(STOPPED) == epoch)
        self.trial.report(accuracy, epoch)
        if self.trial.should_prune():
            self.trial.set_user_attr(STOPPED, epoch)
            return True
        return False

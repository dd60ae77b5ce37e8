"""The Optuna study of a search, in the sweep's folder, and the callback that prunes trials which fall behind."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from filelock import FileLock
from lightning import Callback, LightningModule, Trainer

from src.errors import DataError
from src.files import in_one_line, read_bytes
from src.metrics import MONITOR

if TYPE_CHECKING:
    from optuna import Study, Trial

MOST_BYTES = 64 << 20  # of the journal
PRUNED_AFTER = "stopped after epoch"  # attribute of a trial


def open_study(journal: Path, *, seed: int, min_epochs: int, reduction_factor: int) -> "Study":
    """The study in a journal file, which several processes may write to. The file is created if it is missing.

    Args:
        seed: seed of the sampler, a Tree-structured Parzen Estimator (Bergstra et al., 2011).
        min_epochs: number of epochs before the first halving.
        reduction_factor: asynchronous successive halving (Li et al., 2020) keeps one trial in this many; 1 keeps all.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna's own locks are links or files, which remain when a process is killed.
    lock = FileLock(journal.with_name(f".{journal.name}.lock"))
    cut_torn_line(journal, lock)
    halving: Any = optuna.pruners.SuccessiveHalvingPruner(min_epochs, max(2, reduction_factor))
    pruner = halving if reduction_factor > 1 else optuna.pruners.NopPruner()
    try:
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=cast(Any, lock)))
        study = optuna.create_study(
            study_name="sweep", storage=storage, pruner=pruner, direction="maximize", load_if_exists=True
        )
        trials = study.get_trials(deepcopy=False)
    except OSError:
        raise
    except Exception as error:  # a damaged journal fails in many ways
        raise DataError(f"{journal} is damaged ({type(error).__name__}: {in_one_line(error)}).") from error
    # With the same seed, a resumed search would propose the same jobs again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(trials))
    return study


def cut_torn_line(journal: Path, lock: FileLock) -> None:
    """Removes the incomplete last line that a killed process has left; Optuna cannot read lines after it."""
    with lock:
        try:
            content = read_bytes(journal, most_bytes=MOST_BYTES)
        except FileNotFoundError:
            return
        if content and not content.endswith(b"\n"):
            os.truncate(journal, content.rfind(b"\n") + 1)


def attached(study: "Study", number: int) -> "Trial":
    """A trial that another process has asked for, as an object that takes reports.

    Private: `FrozenTrial._trial_id` of optuna 5.0. In public, only the process that asks for a trial can report to it.
    """
    from optuna import Trial

    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


class Pruner(Callback):
    """Reports each epoch's validation accuracy to a trial of the study, and ends the fit if the trial is pruned."""

    def __init__(self, journal: str, trial: int, min_epochs: int, reduction_factor: int) -> None:
        self.number = trial
        self.study = open_study(Path(journal), seed=0, min_epochs=min_epochs, reduction_factor=reduction_factor)
        self.trial = attached(self.study, trial)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends a resumed fit whose trial was pruned just before the interruption."""
        pruned_after = self.study.get_trials(deepcopy=False)[self.number].user_attrs.get(PRUNED_AFTER)
        if pruned_after is not None and trainer.current_epoch >= pruned_after:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        falls_behind = trainer.is_global_zero and self.falls_behind(
            trainer.callback_metrics[MONITOR].item(), epoch=trainer.current_epoch + 1
        )
        if trainer.strategy.broadcast(falls_behind):
            trainer.should_stop = True

    def falls_behind(self, accuracy: float, *, epoch: int) -> bool:
        """Reports the accuracy of an epoch; returns whether the study prunes the trial."""
        known = self.study.get_trials(deepcopy=False)[self.number]
        if epoch in known.intermediate_values:  # reported before the run was interrupted
            return bool(known.user_attrs.get(PRUNED_AFTER) == epoch)
        self.trial.report(accuracy, epoch)
        if self.trial.should_prune():
            self.trial.set_user_attr(PRUNED_AFTER, epoch)
            return True
        return False

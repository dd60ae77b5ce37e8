"""The result of a run in metrics.json: its metrics if it completed, or the reason if it did not."""

import logging
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.errors import Stopped, as_known
from src.files import exclusive, printable, typeable, write_json
from src.run import logs
from src.run.provenance import add_start, mixed, provenance
from src.run.records import EXAMPLES, LOCK_FILE, METRICS_FILE, read_result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """The result of a completed run."""

    metrics: dict[str, float]  # loss and metrics (0..1) of `val` and `test`, both with the best checkpoint's weights
    best_epoch: int  # the epoch of the best checkpoint, from 1
    epochs: int  # number of epochs trained
    train_seconds: float  # wall time of training and validation, without loading and testing
    images_per_second: float  # training images per second of `train_seconds`
    num_parameters: int  # number of trainable parameters
    device: str  # where the network was trained
    threads: int  # number of CPU threads
    data_source: str  # where the images were found
    validation: str  # the images behind `val`: `train split` or `official test`

    def as_json(self) -> dict[str, Any]:
        """The result as the keys of metrics.json."""
        return self.metrics | {name: value for name, value in vars(self).items() if name != "metrics"}


@dataclass(frozen=True)
class RunFacts:
    """Facts about a run that metrics.json has in addition to its result, and how failures are reported."""

    folder: Path  # the run's folder
    seed: int  # the run's seed
    overrides: list[str]  # the typed overrides, without Hydra's own
    quiet: bool = False  # whether failures go only to train.log, because the sweep reports them
    may_be_requeued: bool = False  # whether the launcher can queue the run again, as submitit does on preemption

    def write(self, status: str, **facts: Any) -> None:
        own = {"seed": self.seed, "overrides": self.overrides}
        write_json(self.folder / METRICS_FILE, {"status": status, **facts, **own, **provenance(), **mixed(self.folder)})


def record(work: Callable[[], RunResult], run: RunFacts) -> int:
    """Does a run's work and writes metrics.json, even if the work fails; returns the exit code.

    A second process with the same folder waits, and does nothing if the run is then completed.

    Raises:
        SystemExit: on Ctrl-C or SIGTERM, after writing metrics.json; if submitit requeues the job, without writing.
    """
    (run.folder / LOCK_FILE).parent.mkdir(exist_ok=True)
    with exclusive(run.folder / LOCK_FILE, f"running {run.folder.name}"):
        if read_result(run.folder).get("status") == "completed":
            return 0
        (run.folder / METRICS_FILE).unlink(missing_ok=True)  # from an earlier start
        try:
            add_start(run.folder)  # before training: a commit during it does not change the code that runs
            run.write("completed", **work().as_json())
        except BaseException as error:
            if run.may_be_requeued and is_requeue(error):
                raise
            if signal_name := stopped_by(error):
                report_interruption(run, signal_name)
                raise
            return report_failure(run, error)
    return 0


def report_interruption(run: RunFacts, signal_name: str) -> None:
    run.write("interrupted", reason=signal_name)
    complain = logs.details if run.quiet else logs.failure
    complain.error("interrupted by %s; what was trained so far is in %s", signal_name, typeable(run.folder))


def report_failure(run: RunFacts, error: BaseException) -> int:
    """Logs why a run failed and writes it to metrics.json; returns the exit code."""
    known = as_known(error)
    reason = printable(str(known or f"{type(error).__name__}: {error}"))
    complain = logs.details if run.quiet else logs.failure
    complain.error("error: %s", reason, exc_info=None if known else error)
    if known:
        logs.details.info("where it happened:", exc_info=error)
    try:
        run.write("failed", reason=reason)
    except OSError as second:
        complain.error("error: %s could not be written either: %s", METRICS_FILE, second)
    return known.exit_code if known else 1


def stopped_by(error: BaseException) -> str | None:
    """The name of the signal that ended a run; None if it was another error."""
    if isinstance(error, Stopped):
        return "SIGTERM" if error.code == 143 else "Ctrl-C"
    # Python's and Lightning's exceptions, where SIGTERM is left to the launcher.
    return {"KeyboardInterrupt": "Ctrl-C", "SIGTERMException": "SIGTERM"}.get(type(error).__name__)


def is_requeue(error: BaseException) -> bool:
    """Whether submitit ends this process because it has queued the job again.

    Private: the exit codes of submitit 1.5.4.
    """
    return isinstance(error, SystemExit) and error.code in (-1, 144)


def outcome(result: dict[str, Any]) -> str:
    """How a run ended, in a few words."""
    if result.get("status") != "completed":
        return f"{result.get('status', 'unfinished')}: {result.get('reason', '')}".rstrip(": ")
    return (
        f"val acc {result['val/acc']:.4f} (epoch {result['best_epoch']} of {result['epochs']})   "
        f"test acc {result['test/acc']:.4f}   {result['train_seconds']:.1f} s"
    )


def report(run_dir: Path, *, quiet: bool) -> None:
    """Logs how a completed run ended and what to type next; with `quiet`, only to train.log."""
    write = logs.details.info if quiet else log.info
    result, folder = read_result(run_dir), typeable(run_dir)
    write(
        "val acc %.4f (epoch %d of %d, %s)   test acc %.4f   %.1f s, %s",
        *(result[name] for name in ("val/acc", "best_epoch", "epochs", "validation")),
        *(result[name] for name in ("test/acc", "train_seconds", "data_source")),
    )
    examples = run_dir / EXAMPLES
    images = shlex.quote(f"{os.path.relpath(examples) if examples.exists() else 'photos'}/*.png")
    in_outputs = os.path.relpath(run_dir).startswith("outputs/")
    write("  folder       %s", folder)
    write("  evaluate     python -m src.eval run=%s", folder)
    write("  predict      python -m src.predict run=%s images=%s", folder, images)
    write("  tensorboard  tensorboard --logdir %s", "outputs" if in_outputs else folder)

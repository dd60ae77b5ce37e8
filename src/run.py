"""What a run leaves behind: its result and how it ended, in metrics.json."""

import json
import logging
import os
import platform
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from src.errors import Stopped, as_known
from src.files import exclusive, typeable, write_json

METRICS_FILE = "metrics.json"
LOCK_FILE = ".hydra/lock"
CONFIG_FILE = ".hydra/config.yaml"
FIGURES = "figures"
EXAMPLES = "figures/examples"  # images as files, to try predicting on
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core")
log = logging.getLogger(__name__)
failure_log = logging.getLogger("failure")
details_log = logging.getLogger("details")  # goes to train.log alone


@dataclass(frozen=True)
class RunResult:
    """The result of a completed run.

    Attributes:
        metrics: loss and accuracy (0..1) of `val` and `test`, both with the best checkpoint's weights.
        best_epoch: the first epoch, from 1, with the highest `val/acc`.
        epochs: epochs trained.
        train_seconds: wall time of the fit, validation included, loading and testing not.
        images_per_second: training images over `train_seconds`.
        num_parameters: that are trained.
        device: where the network was trained.
        threads: CPU threads it was trained with.
        data_source: where the images were found.
        validation: what `val` is, `train split` or `official test`.
    """

    metrics: dict[str, float]
    best_epoch: int
    epochs: int
    train_seconds: float
    images_per_second: float
    num_parameters: int
    device: str
    threads: int
    data_source: str
    validation: str


def record(run: Callable[[], RunResult], *, run_dir: Path, seed: int, overrides: list[str], quiet: bool = False) -> int:
    """Runs and writes metrics.json, however it ends; returns the exit code.

    One process at a time: a second one waits, and finds the work done.

    Args:
        run: the work.
        run_dir: the run's folder.
        seed: of the run.
        overrides: as typed.
        quiet: tell of the end in train.log alone.

    Raises:
        SystemExit: Ctrl-C or SIGTERM, after the interruption was written down.
    """
    facts: dict[str, Any] = {"seed": seed, "overrides": overrides}
    complain = details_log if quiet else failure_log
    (run_dir / LOCK_FILE).parent.mkdir(exist_ok=True)
    with exclusive(run_dir / LOCK_FILE, f"running {run_dir.name}"):
        if read_result(run_dir).get("status") == "completed":
            return 0
        (run_dir / METRICS_FILE).unlink(missing_ok=True)  # of an earlier start
        try:
            facts |= provenance()
            result = run()
            write_json(run_dir / METRICS_FILE, {"status": "completed", **flat(result), **facts})
        except BaseException as error:
            if is_queued_again(error):
                raise
            if signalled := stopped_by(error):
                write_json(run_dir / METRICS_FILE, {"status": "interrupted", "reason": signalled, **facts})
                complain.error("interrupted by %s; what was trained so far is in %s", signalled, typeable(run_dir))
                raise
            known = as_known(error)
            reason = str(known or f"{type(error).__name__}: {error}")
            complain.error("error: %s", reason, exc_info=None if known else error)
            if known:
                details_log.info("where it happened:", exc_info=error)
            try:
                write_json(run_dir / METRICS_FILE, {"status": "failed", "reason": reason, **facts})
            except OSError as second:
                complain.error("error: %s could not be written either: %s", METRICS_FILE, second)
            return known.exit_code if known else 1
    return 0


def stopped_by(error: BaseException) -> str | None:
    """What has ended a run from outside, as it is called, if anything has."""
    if isinstance(error, Stopped):
        return "SIGTERM" if error.code == 143 else "Ctrl-C"
    # Lightning's own, where SIGTERM was left to the launcher.
    return {"KeyboardInterrupt": "Ctrl-C", "SIGTERMException": "SIGTERM"}.get(type(error).__name__)


def is_queued_again(error: BaseException) -> bool:
    """Whether submitit has queued this job again, before its time was over, and ends the process: no failure."""
    return isinstance(error, SystemExit) and "SUBMITIT_EXECUTOR" in os.environ and error.code in (-1, 144)


def flat(result: RunResult) -> dict[str, Any]:
    """A result as the keys of metrics.json."""
    return result.metrics | {name: value for name, value in vars(result).items() if name != "metrics"}


def read_result(run_dir: Path) -> dict[str, Any]:
    """What is in a run's metrics.json; nothing if it has none."""
    try:
        result: dict[str, Any] = json.loads((run_dir / METRICS_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        return {"status": "failed", "reason": f"{METRICS_FILE} is damaged: {error}"}
    return result if isinstance(result, dict) else {"status": "failed", "reason": f"{METRICS_FILE} is none of ours"}


@cache  # the code of a process is that of its start
def provenance() -> dict[str, Any]:
    """What produced a result: versions, git commit, and whether files had changed since that commit."""
    commit = git("rev-parse", "HEAD")
    return {
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(git("status", "--porcelain")),
    }


def git(*arguments: str) -> str | None:
    """What git prints about this project's own checkout; None without git or outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def report(run_dir: Path, *, quiet: bool) -> None:
    """Tells how a completed run ended, and what to type next.

    Args:
        run_dir: the run's folder.
        quiet: tell it in train.log alone.
    """
    tell = details_log.info if quiet else log.info
    result, folder = read_result(run_dir), typeable(run_dir)
    tell(
        "val acc %.4f (epoch %d of %d, %s)   test acc %.4f   %.1f s, %s",
        *(result[name] for name in ("val/acc", "best_epoch", "epochs", "validation")),
        *(result[name] for name in ("test/acc", "train_seconds", "data_source")),
    )
    examples = run_dir / EXAMPLES
    images = shlex.quote(f"{os.path.relpath(examples) if examples.exists() else 'photos'}/*.png")
    tell("  folder       %s", folder)
    tell("  evaluate     python -m src.eval run=%s", folder)
    tell("  predict      python -m src.predict run=%s images=%s", folder, images)
    in_outputs = os.path.relpath(run_dir).startswith("outputs/")
    tell("  tensorboard  tensorboard --logdir %s", "outputs" if in_outputs else folder)

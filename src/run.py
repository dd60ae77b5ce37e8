"""What a run leaves behind: its result and how it ended, in metrics.json."""

import errno
import json
import logging
import os
import platform
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from src.errors import CannotWrite, LabError

METRICS_FILE = "metrics.json"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core")
log = logging.getLogger(__name__)
failure_log = logging.getLogger("failure")


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


def record(
    run: Callable[[], RunResult],
    *,
    tell: Callable[[RunResult, Path], None],
    run_dir: Path,
    seed: int,
    overrides: list[str],
) -> int:
    """Runs and writes metrics.json, however it ends; returns the exit code.

    Args:
        run: the work.
        tell: tells of a completed run.
        run_dir: the run's folder.
        seed: of the run.
        overrides: as typed.

    Raises:
        SystemExit: Ctrl-C or SIGTERM, after the interruption was written down.
    """
    facts: dict[str, Any] = {"seed": seed, "overrides": overrides}
    try:
        facts |= provenance()
        result = run()
        write_metrics(run_dir, {"status": "completed", **flat(result), **facts})
    except SystemExit as stopped:
        reason = {130: "Ctrl-C", 143: "SIGTERM"}.get(int(stopped.code or 0), f"exit {stopped.code}")
        write_metrics(run_dir, {"status": "interrupted", "reason": reason, **facts})
        failure_log.error("interrupted by %s; what was trained so far is in %s", reason, typeable(run_dir))
        raise
    except Exception as error:
        known = as_known(error)
        reason = str(known or f"{type(error).__name__}: {error}")
        failure_log.error("error: %s", reason, exc_info=None if known else error)
        try:
            write_metrics(run_dir, {"status": "failed", "reason": reason, **facts})
        except OSError as second:
            failure_log.error("error: %s could not be written either: %s", METRICS_FILE, second)
        return known.exit_code if known else 1
    tell(result, run_dir)
    return 0


def as_known(error: BaseException) -> LabError | None:
    """The failure that can be told in a line or two, if it is one; Hydra wraps those of constructors."""
    if isinstance(error, LabError):
        return error
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        what = error.filename or "a file"
        return CannotWrite(f"could not write {what}: {error.strerror}. Make room, or set hydra.run.dir.")
    return as_known(error.__cause__) if error.__cause__ else None


def flat(result: RunResult) -> dict[str, Any]:
    """A result as the keys of metrics.json."""
    return result.metrics | {name: value for name, value in vars(result).items() if name != "metrics"}


def write_metrics(run_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Writes metrics.json whole or not at all."""
    partial = run_dir / f"{METRICS_FILE}.part"
    partial.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    partial.replace(run_dir / METRICS_FILE)


def read_metrics(sweep_dir: Path) -> dict[Path, dict[str, Any]]:
    """The folders of a sweep's jobs, in order, and what each left in its metrics.json."""
    return {path.parent: json.loads(path.read_text()) for path in sorted(sweep_dir.glob(f"*/{METRICS_FILE}"))}


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


def typeable(folder: Path) -> str:
    """A folder as one would type it in a shell, from here."""
    relative = os.path.relpath(folder)
    return shlex.quote(str(folder) if relative.startswith("..") else relative)


def report_run(result: RunResult, run_dir: Path) -> None:
    """Tells how a run ended, and what to type next."""
    folder = typeable(run_dir)
    logdir = "outputs" if folder.startswith("outputs/") else folder
    log.info(
        "val acc %.4f (epoch %d of %d, %s)   test acc %.4f   %.1f s, %s",
        result.metrics["val/acc"],
        result.best_epoch,
        result.epochs,
        result.validation,
        result.metrics["test/acc"],
        result.train_seconds,
        result.data_source,
    )
    log.info("  folder       %s", folder)
    log.info("  tensorboard  tensorboard --logdir %s", logdir)


def report_job(result: RunResult, run_dir: Path) -> None:
    """Tells how a job of a sweep ended, in one line."""
    log.info(
        "%s   val acc %.4f (epoch %d of %d)   test acc %.4f   %.1f s",
        run_dir.name,
        result.metrics["val/acc"],
        result.best_epoch,
        result.epochs,
        result.metrics["test/acc"],
        result.train_seconds,
    )

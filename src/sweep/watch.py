"""Progress of a sweep, read by the parent process from its jobs' files: the same with every launcher."""

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from src.files import written
from src.metrics import MONITOR
from src.run.records import CURVES_FILE, METRICS_FILE, read_result
from src.run.result import outcome
from src.sweep.leaderboard import write_leaderboard
from src.sweep.plan import Job, Plan

SECONDS_BETWEEN_LOOKS = 0.25
TO_LINE_START_AND_CLEAR = "\r\x1b[K"


class Watch:
    """Prints a line for each job that ends and rewrites the leaderboard; a terminal also shows the running jobs.

    Used as a context manager around the launch. A thread reads the files of the jobs several times a second.
    """

    def __init__(self, folder: Path, plan: Plan, jobs: Sequence[Job], *, out: TextIO | None = None) -> None:
        self.folder = folder
        self.plan = plan
        self.out = out or sys.stdout
        self.waiting: dict[str, Job] = {}
        self.before: dict[str, int | None] = {}
        self.ended = 0
        self.lock = threading.Lock()
        self.begin(plan, jobs)
        # Jobs that an earlier command planned but never ran are not counted.
        self.total = plan.num_trials or len(self.finished_before()) + len(jobs)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self.started = time.monotonic()
        for job, result in self.finished_before():
            self.ended += 1
            self.write(f"[{self.ended}/{self.total}] {self.name(job)}   {outcome(result)}   (before)\n")
        self.todo = self.total - self.ended
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()
        self.look()
        if self.out.isatty():
            self.write(TO_LINE_START_AND_CLEAR)

    def begin(self, plan: Plan, jobs: Sequence[Job]) -> None:
        """Adds jobs that are about to start."""
        self.plan = plan
        with self.lock:
            self.before |= {job.folder: written(self.folder / job.folder / METRICS_FILE) for job in jobs}
            self.waiting |= {job.folder: job for job in jobs}

    def run(self) -> None:
        while not self.stop.wait(SECONDS_BETWEEN_LOOKS):
            with suppress(OSError):  # a folder that is being created; the job itself reports real errors
                self.look()

    def finished_before(self) -> list[tuple[Job, dict[str, Any]]]:
        others = [job for job in self.plan.jobs if job.folder not in self.waiting]
        found = [(job, read_result(self.folder / job.folder)) for job in others]
        return [(job, result) for job, result in found if result.get("status") in ("completed", "failed")]

    def look(self) -> None:
        """Reports the jobs that have ended since the last look."""
        with self.lock:
            ended = [job for job in self.waiting.values() if self.has_ended(job)]
            for job in ended:
                del self.waiting[job.folder]
                self.ended += 1
                clear = TO_LINE_START_AND_CLEAR if self.out.isatty() else ""
                result = outcome(read_result(self.folder / job.folder))
                parts = [f"{clear}[{self.ended}/{self.total}] {self.name(job)}", result, self.time_left()]
                self.write("   ".join(filter(None, parts)) + "\n")
            if ended:
                with suppress(OSError):  # written again, and reported, when the sweep has ended
                    write_leaderboard(self.folder)
            if self.out.isatty():
                width = shutil.get_terminal_size().columns - 1
                self.write(TO_LINE_START_AND_CLEAR + self.now_running()[:width])

    def has_ended(self, job: Job) -> bool:
        """Whether a job has written a result since it was added."""
        return written(self.folder / job.folder / METRICS_FILE) not in (None, self.before[job.folder])

    def now_running(self) -> str:
        """The running jobs in one line, with their epochs and validation accuracies."""
        running = []
        for job in self.waiting.values():
            epochs, accuracy = progress(self.folder / job.folder)
            if (self.folder / job.folder).is_dir():
                reached = f"   epoch {epochs}/{job.max_epochs}"
                running.append(self.name(job) + reached + (f"   val acc {accuracy}" if accuracy else ""))
        parts = [f"[{self.ended + 1}/{self.total}] " + "  |  ".join(running), self.time_left()]
        return "   ".join(filter(None, parts)) if running else ""

    def time_left(self) -> str:
        """The time left at the speed so far; empty if the sweep is complete or has not made any progress."""
        started = [progress(self.folder / job.folder)[0] / job.max_epochs for job in self.waiting.values()]
        share = (self.todo - (self.total - self.ended) + sum(started)) / (self.todo or 1)
        if self.ended == self.total or share <= 0:
            return ""
        return f"{duration((time.monotonic() - self.started) * (1 - share) / share)} left"

    def name(self, job: Job) -> str:
        return " ".join(self.plan.own_overrides(job)) or job.folder

    def write(self, text: str) -> None:
        with suppress(BrokenPipeError):  # the jobs continue if nobody reads the output
            self.out.write(text)
            self.out.flush()


def progress(run_dir: Path) -> tuple[int, str]:
    """The epochs that a running job has completed and its newest validation accuracy, from its metrics.csv."""
    try:
        head, *rows = (run_dir / CURVES_FILE).read_text().splitlines()
    except (OSError, ValueError):
        return 0, ""
    values = dict(zip(head.split(","), rows[-1].split(","), strict=False)) if rows else {}
    accuracy = values.get(MONITOR)
    return len(rows), f"{float(accuracy):.4f}" if accuracy else ""


def duration(seconds: float) -> str:
    """A duration that is quick to read: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

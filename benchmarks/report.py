"""Writes the figures of a benchmark as Markdown tables, with a description of the machine."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core")


def machine(device: torch.device) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = next(iter(names), cpu)
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git.stdout.strip(),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if device.type == "cuda" else None,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """Median, minimum and maximum of the ratios of paired values."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def markdown(figures: dict[str, Any]) -> str:
    facts = figures["machine"]
    device = facts["gpu"] or f"{facts['cores']} cores of {facts['cpu']}"
    packages = ", ".join(f"{package} {facts[package]}" for package in PACKAGES)
    head = f"{facts['date']}, commit {facts['commit']}, {device}; Python {facts['python']}, {packages}.\n"
    head += f"Medians of {figures['repeats']} repeats, the arms in turn; minimum and maximum in brackets.\n"
    parts = [head]
    if figures["cases"]:
        parts.append(epochs(figures["cases"]))
    if "answer_seconds" in figures:
        parts.append(processes(figures))
    if "sweep_seconds" in figures:
        parts.append(sweeps(figures))
    if "launcher_seconds" in figures:
        parts.append(launchers(figures))
    if "search_best" in figures:
        parts.append(searches(figures))
    return "\n".join(parts)


def epochs(cases: dict[str, Any]) -> str:
    arms = ("BARE", "OURS", "BAREBONES", "STOCK")
    head = ["one epoch with validation", *(f"{arm}, s" for arm in arms), "OURS images/s", "OURS / BARE", "STOCK / OURS"]
    rows = []
    for name, case in cases.items():
        seconds = case["epoch_seconds"]
        rows.append(
            [
                f"{name} ({case['threads']} threads)",
                *(f"{median(seconds[arm]):.3f}" for arm in arms),
                f"{case['images'] / median(seconds['OURS']):,.0f}",
                ratio(seconds["OURS"], seconds["BARE"]),
                ratio(seconds["STOCK"], seconds["OURS"]),
            ]
        )
    notes = [
        f"{name}: weights bitwise equal in {case['bitwise_equal_weights']}; STOCK with {case['stock_workers']} workers"
        for name, case in cases.items()
    ]
    return table(head, rows) + "\n" + "\n".join(f"* {note}" for note in notes) + "\n"


def processes(figures: dict[str, Any]) -> str:
    answers, around = figures["answer_seconds"], figures["around_the_fit_seconds"]
    memory, imports = figures["peak_megabytes"], answers["import torch, lightning"]
    limit = [1.1 * megabytes + 60 for megabytes in memory["BARE"]]
    of_arms = [
        [arm, f"{median(around[arm]):.2f}", f"{median(memory[arm]):.0f}"]
        for arm in ("BARE", "OURS", "BAREBONES", "STOCK")
    ]
    answered = [[name, f"{median(seconds):.2f}", ratio(seconds, imports)] for name, seconds in answers.items()]
    return "\n".join(
        [
            table(["a process that trains softmax, batch 256", "start and end, s", "peak memory, MB"], of_arms),
            f"* OURS uses {ratio(memory['OURS'], limit)} of 1.1 x BARE + 60 MB.\n",
            table(["answer", "s", "of the imports"], answered),
        ]
    )


def sweeps(figures: dict[str, Any]) -> str:
    sweep, later = figures["sweep_seconds"], figures["later_job_seconds"]["OURS"]
    rows = [
        ["sweep of 16 jobs (8 learning rates x 2 batch sizes, softmax, 3 epochs), s", *both(sweep)],
        ["STOCK / OURS", ratio(sweep["STOCK"], sweep["OURS"]), ""],
    ]
    return "\n".join(
        [
            table([f"end to end, {len(sweep['OURS'])} repeats", "OURS", "STOCK"], rows),
            f"* Jobs 2..16 of our sweep take {median(later):.3f} s in addition to their fit, testing included.\n",
        ]
    )


def launchers(figures: dict[str, Any]) -> str:
    seconds, jobs = figures["launcher_seconds"], figures["launcher_job_seconds"]
    rows = [
        [name, f"{median(values):.1f} ({min(values):.1f} - {max(values):.1f})", f"{median(jobs[name]):.1f}"]
        for name, values in seconds.items()
    ]
    faster = ratio(seconds["sequential"], seconds["joblib"])
    head = ["four jobs of mlp, batch 64, 12 epochs", "end to end, s", "fit of a job, s"]
    return table(head, [*rows, ["sequential / joblib", faster, ""]])


def searches(figures: dict[str, Any]) -> str:
    epochs, best, seconds = (figures[f"search_{name}"] for name in ("epochs", "best", "seconds"))
    rows = [
        [name, f"{median(epochs[name]):.0f}", f"{median(best[name]):.4f}", f"{median(seconds[name]):.0f}"]
        for name in epochs
    ]
    share, short = ratio(epochs["optuna"], epochs["grid"]), median(best["grid"]) - median(best["optuna"])
    head = ["softmax on Fashion-MNIST", "epochs in all", "best val acc", "seconds"]
    note = f"* The search takes {share} of the grid's epochs; its best is {100 * short:.2f} points below the grid's.\n"
    return table(head, rows) + note


def both(seconds: dict[str, list[float]]) -> list[str]:
    return [f"{median(seconds[arm]):.1f} ({min(seconds[arm]):.1f} - {max(seconds[arm]):.1f})" for arm in seconds]

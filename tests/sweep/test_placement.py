from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.command.jobs import checked_jobs
from src.sweep.launchers import free_gpu, on_free_gpu


def test_jobs_are_spread_over_the_gpus_and_places_are_given_back(tmp_path: Path) -> None:
    with ExitStack() as first, ExitStack() as others:
        assert first.enter_context(free_gpu(tmp_path / "gpus", 3)) == 0
        taken = [others.enter_context(free_gpu(tmp_path / "gpus", 3)) for _ in range(4)]
        assert taken == [1, 2, 0, 1]
        first.close()
        assert others.enter_context(free_gpu(tmp_path / "gpus", 3)) == 0
    with free_gpu(tmp_path / "gpus", 3) as number:
        assert number == 0


@pytest.mark.parametrize(
    ("accelerator", "devices", "num_gpus", "expected"),
    [
        ("auto", 1, 4, [0]),
        ("gpu", 1, 4, [0]),
        ("cpu", 1, 4, 1),
        ("auto", 2, 4, 2),
        ("auto", [3], 4, [3]),
        ("auto", 1, 1, 1),
        ("auto", 1, 0, 1),
    ],
)
def test_a_job_that_wants_one_gpu_of_several_gets_a_free_one(
    accelerator: str, devices: Any, num_gpus: int, expected: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    trainer = SimpleNamespace(accelerator=accelerator, devices=devices)
    assert on_free_gpu(lambda: trainer.devices, trainer, tmp_path) == expected


@pytest.mark.parametrize(
    ("overrides", "num_gpus", "expected"),
    [
        ([], 4, 4),
        ([], 0, -1),
        (["trainer=cpu"], 4, -1),
        (["trainer=gpu", "hydra.launcher.n_jobs=8"], 4, 8),
    ],
)
def test_joblib_starts_a_job_a_gpu_or_one_a_core(
    overrides: list[str], num_gpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    jobs = checked_jobs(["hydra/launcher=joblib", *overrides, "seed=0,1"], multirun=True)
    assert jobs.whole.hydra.launcher.n_jobs == expected

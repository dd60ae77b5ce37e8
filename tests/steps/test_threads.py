import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from src.steps import threads as module
from src.steps.threads import available_threads, prepare_torch
from tests.runs import ROOT


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")


def threads(num_parameters: int, images_per_step: int, wanted: object = "auto") -> int:
    prepare_torch(wanted, "highest", multiply_adds=num_parameters * images_per_step)  # type: ignore[arg-type]
    return torch.get_num_threads()


def test_auto_is_one_thread_per_million_multiply_adds_up_to_the_available_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "available_threads", lambda: 3)
    softmax, mlp = 7850, 203_530
    assert [threads(softmax, 64), threads(softmax, 256), threads(mlp, 64)] == [1, 3, 3]
    assert [threads(500_000, 2), threads(500_001, 2), threads(1, 1)] == [1, 2, 1]


def test_a_typed_number_of_threads_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_threads", lambda: 1)
    assert threads(7850, 64, wanted=2) == 2


def test_available_threads_do_not_depend_on_an_earlier_setting() -> None:
    assert threads(1, 1, wanted=available_threads() + 1) == available_threads() + 1
    assert threads(10**9, 64) == available_threads()


def test_auto_takes_at_most_omp_num_threads() -> None:
    prepare = "from src.steps.threads import prepare_torch; prepare_torch('auto', 'highest', multiply_adds=10**12)"
    code = f"{prepare}; import torch; print(torch.get_num_threads())"
    line, environment = [sys.executable, "-c", code], os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_matmul_precision_is_set_for_every_run() -> None:
    for precision in ("high", "highest"):
        prepare_torch(1, precision, multiply_adds=1)
        assert torch.get_float32_matmul_precision() == precision

"""Which run `run=` selects."""

import os
from pathlib import Path
from typing import Any

import pytest

from src.errors import BadInput, DataError
from src.files import write_json
from src.finished.find import find
from tests.sweeps import Sweep

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def left(folder: Path, data: str, **result: Any) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", Sweep.RESULT | {"overrides": [f"data={data}"], "data_source": "files"} | result)
    return folder


def test_latest_is_the_newest_completed_run() -> None:
    for number, status in enumerate(["completed", "completed", "failed"]):
        folder = left(Path("outputs") / "runs" / "day" / f"{9 - number}", "cifar2", status=status)
        os.utime(folder / "metrics.json", (number, number))
    assert find("latest").name == "8"


def test_best_has_the_highest_validation_accuracy_on_its_data_set() -> None:
    for number, (data, accuracy) in enumerate([("cifar2", 0.7), ("cifar2", 0.9), ("cifar2", 0.8)]):
        left(Path("outputs") / "sweeps" / f"{number}", data, **{"val/acc": accuracy})
    assert find("best").name == "1"
    left(Path("outputs") / "3", "fashion_mnist", **{"val/acc": 0.95})
    left(Path("outputs") / "4", "cifar2", **{"val/acc": 1.0, "data_source": "synthetic"})
    assert find("best", data="cifar2").name == "1"
    assert find("best", data="synthetic").name == "4"
    text = r"^run=best needs a data set: outputs/ has runs of cifar2, fashion_mnist, synthetic\. Add data=cifar2\.$"
    with pytest.raises(BadInput, match=text):
        find("best")
    text = "outputs/ has no completed run of data=cifar10, only of cifar2, fashion_mnist"
    with pytest.raises(DataError, match=text):
        find("best", data="cifar10")


def test_a_sweep_selects_the_job_at_the_top_of_its_leaderboard() -> None:
    sweep = Sweep(Path("grid"), "optimizer.lr=0.1,1", "seed=0,1")
    with pytest.raises(BadInput, match="no job of the sweep in grid is completed yet"):
        find("grid")
    sweep.left(*({"val/acc": accuracy} for accuracy in (0.6, 0.5, 0.9, 0.1)))
    assert find("grid").name == sweep.plan.jobs[0].folder  # a mean of 0.55 is higher than 0.5


@pytest.mark.parametrize(("word", "said"), [("nothing", "is not a folder"), ("empty", "holds no run")])
def test_a_folder_without_a_run_is_bad_input(word: str, said: str) -> None:
    Path("empty").mkdir()
    text = rf"^run must be latest, best or the folder of a run or sweep, but {word} {said}\. Try run=latest\.$"
    with pytest.raises(BadInput, match=text):
        find(word)
    with pytest.raises(DataError, match=r"there is no completed run in outputs/\. Train one: python -m src\.train"):
        find("latest")

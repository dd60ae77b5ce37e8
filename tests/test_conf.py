"""Every choice of every group, and nothing else, is there and trains."""

import csv
from pathlib import Path

import pytest
import torch

from src.command.compose import CONF
from src.train import train
from tests.conftest import Compose

CHOICES = {
    "data": {"fashion_mnist", "cifar2", "cifar10", "synthetic"},
    "model": {"linear", "softmax", "softmax_scratch", "mlp"},
    "optimizer": {"sgd", "adam", "adamw"},
    "scheduler": {"constant", "cosine", "one_cycle"},
    "trainer": {"auto", "cpu", "gpu", "ddp"},
    "debug": {"fast", "overfit"},
}
SMALL = [
    "data=synthetic",
    "data.train_per_class=30",
    "data.test_per_class=5",
    "data.val_size=50",
    "trainer.max_epochs=1",
]


def test_the_groups_have_exactly_the_choices_of_the_contract() -> None:
    folders = [folder for folder in Path(CONF).iterdir() if folder.is_dir() and folder.name != "hydra"]
    assert {folder.name: {path.stem for path in folder.glob("*.yaml")} for folder in folders} == CHOICES


@pytest.mark.parametrize(
    "choice",
    [
        f"{group}={name}"
        for group, names in CHOICES.items()
        for name in sorted(names)
        if group not in ("data", "debug") and name not in ("gpu", "ddp")  # ddp: test_train.py
    ],
)
def test_every_choice_trains(choice: str, config: Compose, tmp_path: Path) -> None:
    result = train(config(*SMALL, choice), tmp_path)
    assert 0 <= result.metrics["test/acc"] <= 1


@pytest.mark.parametrize("data", ["fashion_mnist", "cifar2", "cifar10"])
@pytest.mark.parametrize("model", ["linear", "softmax", "softmax_scratch", "mlp"])
def test_every_network_trains_on_every_data_set(model: str, data: str, config: Compose, tmp_path: Path) -> None:
    overrides = [f"data={data}", "data.source=synthetic", f"model={model}", "debug=fast", "data.train_size=1000"]
    result = train(config(*overrides), tmp_path)
    assert result.data_source == "synthetic"
    assert result.epochs == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_trainer_trains_on_the_gpu(config: Compose, tmp_path: Path) -> None:
    assert train(config(*SMALL, "trainer=gpu"), tmp_path).device == "cuda:0"


def test_debug_overfit_learns_its_images_by_heart(config: Compose, tmp_path: Path) -> None:
    train(config("data=fashion_mnist", "data.source=synthetic", "debug=overfit"), tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["train/acc"]) == 1.0

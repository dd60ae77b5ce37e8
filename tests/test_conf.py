"""Every choice in conf/ trains."""

import csv
from pathlib import Path

import pytest
import torch
from torchvision.datasets import CIFAR10

from src.files import load_yaml
from src.settings import CONF, choices, groups
from src.train import train
from tests.conftest import Compose
from tests.runs import SMALL

ELSEWHERE = {"data", "debug"}  # groups with tests of their own below
CHOICES = [f"{group}={name}" for group in groups() for name in choices(group) if group not in ELSEWHERE]
INNER = [(part, name, choice) for part in groups() for name in groups(part) for choice in choices(f"{part}/{name}")]
NEED_MORE = {"trainer=gpu", "trainer=ddp"}  # the first is tested below, the second in test_train.py


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice not in NEED_MORE])
def test_every_choice_trains(choice: str, config: Compose, tmp_path: Path) -> None:
    result = train(config(*SMALL, choice, "trainer.max_epochs=1"), tmp_path)
    assert 0 <= result.metrics["test/acc"] <= 1


@pytest.mark.parametrize(("part", "name", "choice"), INNER)
def test_every_choice_in_a_subgroup_trains(part: str, name: str, choice: str, config: Compose, tmp_path: Path) -> None:
    words = [*SMALL, "model=mlp", "optimizer.lr=0.01", f"{part}.{name}={choice}", "trainer.max_epochs=1"]
    assert train(config(*words), tmp_path).epochs == 1


@pytest.mark.parametrize("data", [name for name in choices("data") if name != "synthetic"])
@pytest.mark.parametrize("model", choices("model"))
def test_every_network_trains_on_every_data_set(model: str, data: str, config: Compose, tmp_path: Path) -> None:
    overrides = [f"data={data}", "data.source=synthetic", f"model={model}", "debug=fast", "data.train_size=1000"]
    result = train(config(*overrides), tmp_path)
    assert result.data_source == "synthetic"
    assert result.epochs == 1


def test_the_digests_of_cifar10_are_the_official_ones() -> None:
    """CI reads CIFAR-10 as image files, so only this test notices a wrong digest of the archive."""
    facts = load_yaml(CONF / "data" / "cifar10.yaml")["facts"]
    assert facts["archive_sha256"] == "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    assert facts["digests"] == dict([*CIFAR10.train_list, *CIFAR10.test_list])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_trainer_trains_on_the_gpu(config: Compose, tmp_path: Path) -> None:
    assert train(config(*SMALL, "trainer=gpu", "trainer.max_epochs=1"), tmp_path).device == "cuda:0"


def test_debug_overfit_reaches_a_training_accuracy_of_1(config: Compose, tmp_path: Path) -> None:
    train(config("data=fashion_mnist", "data.source=synthetic", "debug=overfit"), tmp_path)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["train/acc"]) == 1.0

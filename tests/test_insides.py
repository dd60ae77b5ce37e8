"""Private names of other packages: each is used in one function, whose docstring says `Private:` and why.

If a test here fails after an update, look at the function that it names.
"""

import ast
import inspect
import re
from collections import UserList
from collections.abc import Callable, Iterator
from importlib import import_module, util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from src.command.argv import hydra_parser
from src.datasets.loader import Shuffle
from src.run.event_file import append_pictures, hparams_summaries
from src.steps.optimizer_steps import step_counter
from src.sweep.search import contains
from src.sweep.study import attached
from tests.runs import QUIET
from tests.source import MODULES, functions


class Tiny(LightningModule):
    """Trains one linear layer, and records the number of optimizer steps before each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.steps: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.steps.append(step_counter(self.trainer).total.completed)
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Loader(UserList[Tensor]):
    def __init__(self) -> None:
        super().__init__(torch.zeros(2, 1, 1))
        self.sampler, self.batch_sampler = Shuffle(2, seed=0), None
        self.epochs: list[int] = []

    def __iter__(self) -> Iterator[Tensor]:
        self.epochs.append(self.sampler.epoch)
        yield from super().__iter__()


@pytest.fixture(scope="module")
def fitted() -> Any:
    task, loader = Tiny(), Loader()
    Trainer(max_epochs=2, accelerator="cpu", **QUIET).fit(task, loader)
    return SimpleNamespace(task=task, loader=loader)


def check_step_counter(fitted: Any) -> None:
    assert fitted.task.steps == [0, 1, 2, 3]


def check_set_epoch(fitted: Any) -> None:
    assert fitted.loader.epochs == [0, 1]


def check_load_state_dict(fitted: Any) -> None:
    restored = {"best_model_score", "best_model_path", "kth_best_model_path", "kth_value", "best_k_models"}
    assert restored <= vars(ModelCheckpoint(monitor="x")).keys()
    assert restored <= {*re.findall(r"self\.(\w+) = ", inspect.getsource(ModelCheckpoint.load_state_dict))}


def check_quiet_lightning(fitted: Any) -> None:
    text = "".join(path.read_text() for path in sorted(package("lightning").rglob("*.py")))
    for said in ("callbacks used to create the checkpoint need to be provided", "Checkpoint directory"):
        assert said in text
    assert lightning.pytorch._logger.name == "lightning.pytorch"


def check_is_requeue(fitted: Any) -> None:
    pytest.importorskip("submitit")
    assert "sys.exit(-1)" in (package("submitit") / "core" / "job_environment.py").read_text()


def check_hydra_parser(fitted: Any) -> None:
    arguments = vars(hydra_parser().parse_intermixed_args(["seed=1", "-m", "--cfg", "job"]))
    assert (arguments["overrides"], arguments["multirun"], arguments["cfg"]) == (["seed=1"], True, "job")
    assert {"config_path", "config_name", "config_dir", "experimental_rerun", "info"} <= arguments.keys()


def check_hparams_summaries(fitted: Any) -> None:
    assert len(hparams_summaries({"lr": 0.1}, {"hp/acc": 0.5})) == 3


def check_write_summary(fitted: Any) -> None:
    source = inspect.getsource(SummaryWriter)
    assert "file_writer" in source and "add_summary" in source


def check_append_pictures(fitted: Any) -> None:
    for name in ("tensorboard.compat.proto.event_pb2", "tensorboard.summary.writer.record_writer"):
        assert import_module(name), append_pictures


def check_attached(fitted: Any) -> None:
    study = pytest.importorskip("optuna").create_study()
    study.ask()
    assert attached(study, 0).number == 0


def check_contains(fitted: Any) -> None:
    choices = pytest.importorskip("optuna").distributions.CategoricalDistribution(["a", "b"])
    assert contains(choices, "a") and not contains(choices, "c")


def package(name: str) -> Any:
    spec = util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


CHECKS: dict[str, Callable[[Any], None]] = {
    name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")
}
MARKED = {name.rpartition(".")[2]: name for name, node in functions() if "Private: " in (ast.get_docstring(node) or "")}


@pytest.mark.parametrize("name", MARKED)
def test_the_private_names_that_a_function_uses_still_exist(name: str, fitted: Any) -> None:
    assert name in CHECKS, f"{MARKED[name]} uses private names: write check_{name}, which fails when they are gone"
    CHECKS[name](fitted)


def test_every_check_belongs_to_a_marked_function() -> None:
    assert CHECKS.keys() == MARKED.keys()


@pytest.mark.parametrize("name", MODULES)
def test_private_names_are_used_only_in_marked_functions(name: str) -> None:
    marked = {id(node) for full, function in functions() if full in MARKED.values() for node in ast.walk(function)}
    for node in (node for node in ast.walk(MODULES[name]) if id(node) not in marked):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("_"):
            assert ast.unparse(node.value) in ("self", "cls") or ast.unparse(node) == "os._exit", ast.unparse(node)
        if isinstance(node, ast.ImportFrom):
            assert not any(part.startswith("_") for part in (node.module or "").split(".")), ast.unparse(node)

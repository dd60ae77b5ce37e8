from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything

from src.build import build
from src.errors import BadInput
from src.steps.executions import MOST_STEPS, Batch, Executions, steps_per_execution
from src.task import ClassificationTask
from src.train import train
from tests.conftest import Compose

SMALL = ["data=synthetic", "data.train_per_class=30", "data.test_per_class=5", "data.val_size=51"]
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Numbered:
    """A loader of batches 0, 1, ... that notes when each is made."""

    sampler = None

    def __init__(self, count: int, done: int = 0) -> None:
        self.count, self.done, self.made = count, done, list[int]()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        for number in range(self.done, self.count):
            self.made.append(number)
            yield torch.tensor(number), torch.tensor(number)

    def batches_left(self) -> int:
        return self.count - self.done

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.done = state["done"]


def numbers(executions: Executions) -> list[list[int]]:
    return [
        [int(images) for images, _ in execution.all_but_last()] + [int(execution.last()[0])] for execution in executions
    ]


@pytest.mark.parametrize(("count", "steps"), [(7, 3), (6, 3), (1, 3), (2, 1)])
def test_executions_have_every_batch_once_in_order(count: int, steps: int) -> None:
    executions = Executions(Numbered(count), steps)
    groups = numbers(executions)
    assert list(chain(*groups)) == list(range(count))
    assert len(groups) == len(executions)
    assert {len(group) for group in groups[:-1]} <= {steps}


def test_a_batch_is_made_when_its_turn_comes() -> None:
    loader = Numbered(5)
    first = next(iter(Executions(loader, 3)))
    assert loader.made == []
    assert [int(images) for images, _ in first.all_but_last()] == [0, 1] == loader.made
    assert int(first.last()[0]) == 2


def test_executions_go_on_where_their_loader_does() -> None:
    executions = Executions(Numbered(7), 3)
    executions.load_state_dict({"done": 3})
    assert executions.state_dict() == {"done": 3}
    assert numbers(executions) == [[3, 4, 5], [6]]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("trainer.accumulate_grad_batches", {"accumulate_grad_batches": 2}),
        ("trainer.max_steps", {"max_steps": 5}),
        ("trainer.limit_train_batches", {"limit_train_batches": 1}),
        ("trainer.limit_train_batches", {"limit_train_batches": 0.5}),
        ("trainer.val_check_interval", {"val_check_interval": 0.5}),
        ("trainer.val_check_interval", {"val_check_interval": 1}),
        ("trainer.limit_train_batches", {"overfit_batches": 1}),
        ("trainer.val_check_interval", {"val_check_interval": "00:00:00:10"}),
        ("trainer.max_time", {"max_time": "00:00:00:10"}),
        ("trainer.precision", {"precision": "16-mixed"}),
        ("trainer.strategy", {"strategy": "ddp"}),
        ("trainer.profiler", {"profiler": "simple"}),
    ],
)
def test_where_a_setting_needs_every_step_there_is_one_step_an_execution(name: str, settings: dict[str, Any]) -> None:
    if settings.get("precision") == "16-mixed" and not torch.cuda.is_available():
        pytest.skip("float16 with a gradient scaler needs a GPU")
    trainer = Trainer(**QUIET | settings)
    assert steps_per_execution("auto", trainer) == 1
    assert steps_per_execution(1, trainer) == 1
    text = f"^steps_per_execution must be 1 or auto with this {name}, got 20. Try steps_per_execution=auto.$"
    with pytest.raises(BadInput, match=text):
        steps_per_execution(20, trainer)


@pytest.mark.parametrize(
    "settings", [{}, {"limit_train_batches": 1.0}, {"gradient_clip_val": 0.5}, {"precision": "bf16-mixed"}]
)
def test_else_there_are_many_or_as_many_as_wanted(settings: dict[str, Any]) -> None:
    trainer = Trainer(**QUIET | settings)
    assert steps_per_execution("auto", trainer) == MOST_STEPS
    assert steps_per_execution(20, trainer) == 20


def same(left: Any, right: Any) -> bool:
    """Whether two parts of checkpoints are equal, tensors to the last bit."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=softmax_scratch"],
        ["model=mlp", "optimizer.momentum=0.9", "trainer.gradient_clip_val=0.01", "scheduler=one_cycle"],
        [
            *("model=mlp", "model.dropout=0.5", "model.batch_norm=true", "optimizer=adamw", "scheduler=cosine"),
            *("data.augment={shift: 2, flip: true}", "trainer.precision=bf16-mixed"),
        ],
        ["model=mlp", "trainer.gradient_clip_val=0.001", "+trainer.gradient_clip_algorithm=value"],
        ["data.drop_last=true"],
        ["model=mlp", "trainer.precision=64-true"],
        ["model=mlp", "trainer.precision=bf16-true"],
    ],
)
def test_a_run_is_the_same_to_the_last_bit_with_one_and_with_many_steps_an_execution(
    overrides: list[str], config: Compose, tmp_path: Path
) -> None:
    results, checkpoints = [], []
    for steps in ("1", "3", "auto"):
        cfg = config(*SMALL, "data.batch_size=20", "trainer.max_epochs=3", f"steps_per_execution={steps}", *overrides)
        results.append(train(cfg, tmp_path / steps))
        for name in ("best", "last"):
            checkpoint = torch.load(tmp_path / steps / f"checkpoints/{name}.ckpt", weights_only=True)
            checkpoints.append({key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")})
            per_epoch = 12 if "data.drop_last=true" in overrides else 13
            assert checkpoint["global_step"] == (checkpoint["epoch"] + 1) * per_epoch
    assert results[0].metrics == results[1].metrics == results[2].metrics
    assert (tmp_path / "1/metrics.csv").read_text() == (tmp_path / "3/metrics.csv").read_text()
    assert (tmp_path / "1/metrics.csv").read_text() == (tmp_path / "auto/metrics.csv").read_text()
    for few, many in ((0, 2), (1, 3), (0, 4), (1, 5)):
        assert same(checkpoints[few], checkpoints[many])


class SaveEveryExecution(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


@pytest.fixture
def fit(config: Compose, tmp_path: Path) -> Any:
    """Trains for 3 epochs of 8 steps, and saves a checkpoint after every execution."""
    cfg = config(*SMALL, "model=mlp", "optimizer=adam", "scheduler=cosine", "data.batch_size=32")

    def run(folder: str, steps: int, ckpt_path: Path | None = None) -> Path:
        seed_everything(0, verbose=False)
        data = build(cfg, "data")
        network = build(cfg, "model", image_shape=data.image_shape, num_classes=10)
        task = ClassificationTask(network, 10, build(cfg, "optimizer"), build(cfg, "scheduler"))
        data.steps_per_execution = steps
        trainer = Trainer(**QUIET, max_epochs=3, callbacks=[SaveEveryExecution(tmp_path / folder)])
        trainer.fit(task, data, ckpt_path=ckpt_path, weights_only=True)
        return tmp_path / folder

    return run


def test_a_fit_that_is_resumed_between_executions_ends_with_the_same_weights(fit: Any) -> None:
    whole = fit("whole", 3)
    assert sorted(int(path.stem) for path in whole.iterdir()) == [3, 6, 8, 11, 14, 16, 19, 22, 24]
    expected = torch.load(whole / "24.ckpt", weights_only=True)
    for step in (3, 8, 14, 22):
        resumed = torch.load(fit(f"from {step}", 3, whole / f"{step}.ckpt") / "24.ckpt", weights_only=True)
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
            assert same(resumed[part], expected[part])


def test_after_the_end_of_an_epoch_a_fit_can_be_resumed_with_other_executions(fit: Any) -> None:
    whole = fit("whole", 1)
    expected = torch.load(whole / "24.ckpt", weights_only=True)["state_dict"]
    resumed = fit("from 16", 3, whole / "16.ckpt")
    assert [path.name for path in sorted(resumed.iterdir())] == ["19.ckpt", "22.ckpt", "24.ckpt"]
    assert same(torch.load(resumed / "24.ckpt", weights_only=True)["state_dict"], expected)


def test_in_the_middle_of_an_epoch_it_cannot(fit: Any) -> None:
    whole = fit("whole", 3)
    text = r"^steps_per_execution must be 3 to go on from the middle of an epoch, .*, got 1\. Try .*=3\.$"
    with pytest.raises(BadInput, match=text):
        fit("from 3", 1, whole / "3.ckpt")

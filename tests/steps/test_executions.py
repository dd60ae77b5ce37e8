from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import LambdaCallback

from src.build import build
from src.errors import BadInput
from src.steps.executions import MOST_STEPS, Batch, Executions, steps_per_execution
from src.task import ClassificationTask
from src.train import train
from tests.conftest import Compose
from tests.runs import SMALL

OFF = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
QUIET: dict[str, Any] = {"accelerator": "cpu", "devices": 1} | OFF


class Numbered:
    """A loader of batches 0, 1, ... that records when each is made."""

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


def test_a_batch_is_made_only_when_it_is_needed() -> None:
    loader = Numbered(5)
    first = next(iter(Executions(loader, 3)))
    assert loader.made == []
    assert [int(images) for images, _ in first.all_but_last()] == [0, 1] == loader.made
    assert int(first.last()[0]) == 2


def test_executions_resume_where_their_loader_resumes() -> None:
    executions = Executions(Numbered(7), 3)
    executions.load_state_dict({"done": 3})
    assert executions.state_dict() == {"done": 3}
    assert numbers(executions) == [[3, 4, 5], [6]]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *[("accumulate_grad_batches", 2), ("max_steps", 5), ("limit_train_batches", 1), ("limit_train_batches", 0.5)],
        *[("val_check_interval", 0.5), ("val_check_interval", 1), ("val_check_interval", "00:00:00:10")],
        *[("max_time", "00:00:00:10"), ("precision", "16-mixed"), ("strategy", "ddp"), ("profiler", "simple")],
        ("overfit_batches", 1),
    ],
)
def test_a_setting_that_needs_every_step_allows_one_step_per_execution(setting: str, value: Any) -> None:
    if value == "16-mixed" and not torch.cuda.is_available():
        pytest.skip("float16 with a gradient scaler needs a GPU")
    trainer = Trainer(**QUIET | {setting: value})
    name = "limit_train_batches" if setting == "overfit_batches" else setting
    assert steps_per_execution("auto", trainer) == steps_per_execution(1, trainer) == 1
    text = f"^steps_per_execution must be 1 or auto with this trainer.{name}, got 20. Try steps_per_execution=auto.$"
    with pytest.raises(BadInput, match=text):
        steps_per_execution(20, trainer)


@pytest.mark.parametrize(
    "settings", [{}, {"limit_train_batches": 1.0}, {"gradient_clip_val": 0.5}, {"precision": "bf16-mixed"}]
)
def test_other_settings_allow_many_steps_per_execution(settings: dict[str, Any]) -> None:
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
        *[["model=softmax_scratch"], ["data.drop_last=true"]],
        ["model=mlp", "optimizer.momentum=0.9", "trainer.gradient_clip_val=0.01", "scheduler=one_cycle"],
        [
            *("model=mlp", "model.dropout=0.5", "model.batch_norm=true", "optimizer=adamw", "scheduler=cosine"),
            *("data.augment={shift: 2, flip: true}", "trainer.precision=bf16-mixed"),
        ],
        ["model=mlp", "trainer.gradient_clip_val=0.001", "+trainer.gradient_clip_algorithm=value"],
        *[["model=mlp", f"trainer.precision={precision}"] for precision in ("64-true", "bf16-true")],
    ],
)
def test_one_and_many_steps_per_execution_give_bitwise_equal_runs(
    overrides: list[str], config: Compose, tmp_path: Path
) -> None:
    results, checkpoints = [], []
    for steps in ("1", "3", "auto"):
        cfg = config(*SMALL, "data.batch_size=20", "trainer.max_epochs=3", f"steps_per_execution={steps}", *overrides)
        metrics = train(cfg, tmp_path / steps).metrics
        results.append((metrics, (tmp_path / steps / "metrics.csv").read_text()))
        for name in ("best", "last"):
            checkpoint = torch.load(tmp_path / steps / f"checkpoints/{name}.ckpt", weights_only=True)
            checkpoints.append({key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers")})
            per_epoch = 12 if "data.drop_last=true" in overrides else 13
            assert checkpoint["global_step"] == (checkpoint["epoch"] + 1) * per_epoch
    assert results[0] == results[1] == results[2]
    for few, many in ((0, 2), (1, 3), (0, 4), (1, 5)):
        assert same(checkpoints[few], checkpoints[many])


@pytest.fixture
def fit(config: Compose, tmp_path: Path) -> Any:
    """Trains for 3 epochs of 8 steps, and saves a checkpoint after every execution."""
    cfg = config(*SMALL, "model=mlp", "optimizer=adam", "scheduler=cosine", "data.batch_size=32")

    def run(folder: str, steps: int, ckpt_path: Path | None = None) -> Path:
        def save(trainer: Trainer, *arguments: Any) -> None:
            trainer.save_checkpoint(tmp_path / folder / f"{trainer.global_step}.ckpt")

        seed_everything(0, verbose=False)
        data = build(cfg, "data")
        network = build(cfg, "model", image_shape=data.image_shape, num_classes=10)
        task = ClassificationTask(network, 10, build(cfg, "optimizer"), build(cfg, "scheduler"))
        data.steps_per_execution = steps
        trainer = Trainer(**QUIET, max_epochs=3, callbacks=[LambdaCallback(on_train_batch_end=save)])
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


def test_after_an_epoch_a_fit_can_be_resumed_with_other_steps_per_execution(fit: Any) -> None:
    whole = fit("whole", 1)
    expected = torch.load(whole / "24.ckpt", weights_only=True)["state_dict"]
    resumed = fit("from 16", 3, whole / "16.ckpt")
    assert [path.name for path in sorted(resumed.iterdir())] == ["19.ckpt", "22.ckpt", "24.ckpt"]
    assert same(torch.load(resumed / "24.ckpt", weights_only=True)["state_dict"], expected)


def test_in_the_middle_of_an_epoch_it_cannot_be_resumed_with_others(fit: Any) -> None:
    whole = fit("whole", 3)
    text = r"^steps_per_execution must be 3 to resume in the middle of an epoch, .*, got 1\. Try .*=3\.$"
    with pytest.raises(BadInput, match=text):
        fit("from 3", 1, whole / "3.ckpt")

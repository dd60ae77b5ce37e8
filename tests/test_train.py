"""Whole runs: by calling `train`, and by the command as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.build import build
from src.settings import choices, groups
from src.task import ClassificationTask
from src.train import train
from tests.conftest import composed
from tests.runs import QUIET, ROOT, SMALL, assert_same_weights, command, files, weights


def test_the_best_checkpoint_is_the_best_epoch_and_is_tested_once(tmp_path: Path) -> None:
    words = [*SMALL, "trainer.max_epochs=8", "optimizer.lr=1.0", "seed=2", "data.validation=test"]
    result = train(composed(*words), tmp_path)
    best, last = (torch.load(tmp_path / f"checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert best["epoch"] + 1 == result.best_epoch < 8
    assert last["epoch"] + 1 == result.epochs == 8
    assert result.metrics["test/acc"] == result.metrics["val/acc"]
    assert result.metrics["test/loss"] == result.metrics["val/loss"]
    assert result.validation == "official test"
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("test/acc")] == [8]
    assert [event.step for event in events.Scalars("val/acc")] == list(range(1, 9))


def test_the_same_seed_gives_bitwise_equal_weights_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("first", 0), ("second", 0), ("third", 1)):
        torch.rand(seed + 1)
        overrides = [*SMALL, "model=mlp", "model.dropout=0.5", "trainer.max_epochs=2", f"seed={seed}"]
        train(composed(*overrides), tmp_path / name)
    first, second, third = (tmp_path / name / "checkpoints/last.ckpt" for name in ("first", "second", "third"))
    assert_same_weights(first, second)
    with pytest.raises(AssertionError):
        assert_same_weights(first, third)


class SaveEveryStep(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *arguments: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def test_a_fit_resumed_in_the_middle_of_an_epoch_ends_with_the_same_weights(tmp_path: Path) -> None:
    cfg = composed(*SMALL, "model=mlp", "optimizer=adam", "data.augment={shift: 2, flip: true}", "data.batch_size=32")

    def fit(folder: str, ckpt_path: Path | None = None) -> None:
        seed_everything(0, verbose=False)
        data = build(cfg, "data")
        network = build(cfg, "model", image_shape=data.image_shape, num_classes=10)
        task = ClassificationTask(network, 10, build(cfg, "optimizer"), build(cfg, "scheduler"))
        trainer = Trainer(max_epochs=3, accelerator="cpu", callbacks=[SaveEveryStep(tmp_path / folder)], **QUIET)
        trainer.fit(task, data, ckpt_path=ckpt_path, weights_only=True)

    fit("whole")
    assert len(list((tmp_path / "whole").iterdir())) == 3 * 8  # steps: 249 images in batches of 32
    for step in (3, 8, 9, 15, 16, 20):
        fit(f"from {step}", tmp_path / "whole" / f"{step}.ckpt")
        assert_same_weights(tmp_path / "whole" / "24.ckpt", tmp_path / f"from {step}" / "24.ckpt")


def test_the_result_names_the_source_of_the_images(tmp_path: Path, fashion_root: Path, cifar_images: Path) -> None:
    def source(*overrides: str) -> str:
        cfg = composed(*overrides, f"data.cache={tmp_path / 'cache'}", "data.val_size=10", "trainer.max_epochs=1")
        return train(cfg, tmp_path / str(len(list(tmp_path.iterdir())))).data_source

    fashion = [f"data.root={fashion_root}", "data.sources=[${data.root}]"]
    assert source("data=fashion_mnist", *fashion) == str(fashion_root / "FashionMNIST" / "raw")
    images = f"data.root={cifar_images}"
    assert source("data=cifar2", images).startswith(f"{cifar_images}/cifar10 (image folder, fingerprint ")
    assert source("data=cifar2", images, "data.augment={shift: 4, flip: true}").startswith(str(cifar_images))


def test_softmax_scratch_gives_the_same_metrics_as_softmax(tmp_path: Path) -> None:
    words = [[*SMALL, f"model={model}", "trainer.max_epochs=3"] for model in ("softmax", "softmax_scratch")]
    softmax, scratch = (train(composed(*each), tmp_path / each[-2]) for each in words)
    assert scratch.metrics == pytest.approx(softmax.metrics, rel=1e-4)
    assert softmax.num_parameters == scratch.num_parameters == 28 * 28 * 10 + 10


def test_the_command_writes_exactly_these_files(tmp_path: Path) -> None:
    done = command(*SMALL, "model=mlp", "trainer.max_epochs=2", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (run_dir,) = (tmp_path / "outputs" / "runs").glob("*/*")
    (events,) = run_dir.glob("events.out.tfevents.*")
    assert files(run_dir) == {
        *(".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/previous.ckpt"),
        *(".hydra/starts.json", ".hydra/lock", ".lock", "metrics.csv", "metrics.json", "train.log", events.name),
    }
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert (metrics["status"], metrics["overrides"]) == ("completed", [*SMALL, "model=mlp", "trainer.max_epochs=2"])
    lines = done.stdout.splitlines()
    assert [line[:9] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert f"test acc {metrics['test/acc']:.4f}" in lines[2] and f"val acc {metrics['val/acc']:.4f}" in lines[2]
    folder = run_dir.relative_to(tmp_path)
    assert lines[3:] == [
        f"  folder       {folder}",
        f"  evaluate     python -m src.eval run={folder}",
        f"  predict      python -m src.predict run={folder} images='photos/*.png'",
        "  tensorboard  tensorboard --logdir outputs",
    ]
    log = (run_dir / "train.log").read_text()
    assert all(line in log for line in lines)


def test_each_job_of_a_sweep_has_its_own_folder_and_a_failed_job_does_not_stop_the_sweep(tmp_path: Path) -> None:
    sweep = ["-m", *SMALL, "model=mlp", "trainer.max_epochs=1", "optimizer.lr=0.01,1e30,0.1", "hydra.sweep.dir=grid"]
    done = command(*sweep, cwd=tmp_path)
    assert done.returncode == 5
    statuses = {}
    for number, lr in enumerate(["0.01", "1e+30", "0.1"]):
        (folder,) = (tmp_path / "grid").glob(f"{number:03d}_*optimizer.lr={lr},*")
        metrics = json.loads((folder / "metrics.json").read_text())
        statuses[lr] = metrics["status"]
        assert (metrics.get("reason") or "").startswith("training diverged" if lr == "1e+30" else "")
        assert not list((folder / "checkpoints").glob("*")) or lr != "1e+30"
    assert statuses == {"0.01": "completed", "1e+30": "failed", "0.1": "completed"}
    assert "2 of 3 jobs completed in grid" in done.stdout and "optimizer.lr=1e+30   failed: training div" in done.stdout
    assert done.stderr == ""
    assert "error: training diverged: " in next((tmp_path / "grid").glob("001_*/train.log")).read_text()


def test_a_job_of_a_sweep_equals_the_same_command_run_alone(tmp_path: Path) -> None:
    words = [*SMALL, "model=mlp", "trainer.max_epochs=2"]
    assert command("-m", *words, "seed=0,1", "hydra.sweep.dir=grid", cwd=tmp_path).returncode == 0
    train(composed(*words, "seed=1"), tmp_path / "alone")
    (job,) = (tmp_path / "grid").glob("001_*")
    assert_same_weights(job / "checkpoints/best.ckpt", tmp_path / "alone/checkpoints/best.ckpt")


def test_two_processes_give_the_same_result_as_one(tmp_path: Path) -> None:
    overrides = [*SMALL, "model=mlp", "trainer.max_epochs=2", "trainer.accelerator=cpu", "data.train_size=248"]
    done = command(*overrides, "figures=true", "trainer=ddp", "hydra.run.dir=two", cwd=tmp_path)
    assert (done.returncode, done.stdout.count("epoch 2/2")) == (0, 1)
    assert len(list((tmp_path / "two" / "figures").glob("*.png"))) == 6  # drawn only by the first process
    alone = train(composed(*overrides), tmp_path / "one").metrics
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert {name: metrics[name] for name in alone} == pytest.approx(alone, rel=1e-4)
    ours, theirs = (weights(tmp_path / folder / "checkpoints/last.ckpt") for folder in ("one", "two"))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert files(tmp_path / "two") >= {"metrics.csv", "checkpoints/best.ckpt"}
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("optimizer.lr=abc", "optimizer.lr must be a finite number > 0, got 'abc'. Try optimizer.lr=0.1.\n"),
        ("data=cifar2 data.root=nowhere http_proxy", "cannot read the override 'http_proxy'"),
    ],
)
def test_bad_input_prints_one_line_to_stderr_and_writes_nothing(words: str, text: str, tmp_path: Path) -> None:
    done = command(*words.split(), cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {text}") and not list(tmp_path.iterdir())


def test_damaged_data_is_reported_in_one_line_with_exit_code_3(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"damaged")
    done = command("data=cifar2", "hydra.run.dir=run", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert done.stderr.startswith("error: data/cifar-10-batches-py/data_batch_1 is damaged: its md5 is ")
    metrics: dict[str, Any] = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["status"] == "failed" and metrics["reason"] in done.stderr


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_reports_it_and_keeps_its_checkpoints(signum: int, code: int, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "src.train", *SMALL, "trainer.max_epochs=100000", "hydra.run.dir=run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code and stderr.decode().startswith("interrupted by ")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["status"] == "interrupted"
    assert weights(tmp_path / "run" / "checkpoints" / "best.ckpt")


def test_help_is_one_screen_with_every_group_and_five_commands(tmp_path: Path) -> None:
    done = command("--help", cwd=tmp_path)
    lines = done.stdout.rstrip().splitlines()
    assert done.returncode == 0 and len(lines) <= 26
    assert {f"{group}: {', '.join(choices(group))}" for group in groups()} <= set(lines)
    assert sum(line.startswith(("  python -m src.train", "  tensorboard ")) for line in lines) == 5

"""Small runs: started as commands, trained into a folder as a command does, and compared by their weights."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from src import settings
from src.build import as_dict
from src.command.jobs import Jobs, checked_jobs
from src.errors import BadInput
from src.files import load_yaml, write_json
from src.run.records import CHOICES_FILE, write_settings
from src.settings import choices
from src.train import train

ROOT = Path(__file__).resolve().parents[1]
SMALL = ["data=synthetic", "data.train_per_class=30", "data.test_per_class=5", "data.val_size=51", "figures=false"]
QUIET: dict[str, Any] = dict.fromkeys(  # for a Trainer that writes and prints nothing
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)


def command(*arguments: str, cwd: Path, module: str = "src.train") -> subprocess.CompletedProcess[str]:
    """Runs a command as a user types it, in any folder."""
    line = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def checked(*words: str) -> Jobs:
    """The jobs of a command; -m among its words makes it a sweep."""
    return checked_jobs([word for word in words if word != "-m"], multirun="-m" in words)


def refusal(*words: str) -> str:
    """The error message for a command with bad input."""
    with pytest.raises(BadInput) as caught:
        checked(*words)
    return str(caught.value)


def trained(cfg: Any, folder: Path) -> dict[str, Any]:
    """Trains a run and writes the files that the command would write; returns its result."""
    save_settings(cfg, folder)
    result = {"status": "completed", "seed": cfg.seed, **train(cfg, folder).as_json(), "git_commit": "c" * 40}
    write_json(folder / "metrics.json", result)
    return result


def save_settings(cfg: Any, folder: Path) -> None:
    """Writes the settings and choices of a run as its command does; `data` is recognized by its class."""
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    write_settings(folder, as_dict(cfg))
    targets = {load_yaml(settings.CONF / "data" / f"{name}.yaml").get("_target_"): name for name in choices("data")}
    found = {"data": targets[cfg.data._target_], "model": "softmax"}
    OmegaConf.save({"hydra": {"runtime": {"choices": found}}}, folder / CHOICES_FILE)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def weights(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(path, weights_only=True)
    return dict(checkpoint["state_dict"])


def assert_same_weights(left: Path, right: Path) -> None:
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name

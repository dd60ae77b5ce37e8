"""A finished run is reopened: what can be changed, and what is refused."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from src.command.key_values import parsed
from src.errors import BadInput, DataError
from src.files import write_json
from src.finished.measure import evaluated
from src.finished.reopen import opened, rebuilt

OTHER_VERSION = r"the run in run was made by another version of this project \(commit cccccccc\)"


def test_a_run_that_is_not_completed_is_bad_input(run: Path) -> None:
    (run / ".hydra" / "overrides.yaml").write_text("- model=mlp\n- resume=auto\n")
    write_json(run / "metrics.json", {"status": "interrupted", "reason": "Ctrl-C"})
    text = r"^the run in run is interrupted\. Resume it: python -m src\.train model=mlp resume=run$"
    with pytest.raises(BadInput, match=text):
        opened(run)
    write_json(run / "metrics.json", {"status": "failed", "reason": "diverged."})
    with pytest.raises(BadInput, match=r"^the run in run has failed: diverged\. Try run=latest\.$"):
        opened(run)


def test_the_command_to_resume_has_only_plain_settings(run: Path) -> None:
    words = ["--config-dir=/tmp/evil", "model._target_=os.system", "hydra.run.dir=x", "a\nb", "model=mlp; touch x"]
    write_json(run / ".hydra" / "overrides.yaml", [*words, "model.hidden_sizes=[32,16]"])
    write_json(run / "metrics.json", {"status": "interrupted", "reason": "Ctrl-C\nfake line"})
    with pytest.raises(BadInput) as caught:
        opened(run)
    again = "python -m src.train 'model=mlp; touch x' 'model.hidden_sizes=[32,16]' resume=run"
    assert str(caught.value) == f"the run in run is interrupted. Resume it: {again}"


def test_on_slurm_no_other_checkpoint_is_loaded(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = evaluated(opened(run), "test")[0].reported
    (run / "hpc_ckpt_1.ckpt").write_bytes(b"garbage")
    for name in ("NTASKS", "JOB_ID", "PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "1" if name in ("NTASKS", "JOB_ID") else "0")
    monkeypatch.setenv("SLURM_JOB_NAME", "x")
    monkeypatch.setenv("SLURM_NODELIST", "localhost")
    assert evaluated(opened(run), "test")[0].reported == expected


def test_a_result_with_missing_entries_is_reported(run: Path) -> None:
    write_json(run / "metrics.json", {"status": "completed"})
    with pytest.raises(BadInput, match=r"^the run in run has failed: metrics\.json lacks best_epoch, epochs, test/acc"):
        opened(run)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("data.roots=x", "data.roots cannot be set for a finished run. Did you mean data."),
        ("model.loss=squared", "model.loss cannot be set for a finished run."),
        ("data.val_size=0", "data.val_size must be between 1 and 299"),
        ("data.val_size=1,2", "cannot use the override 'data.val_size=1,2' here. Write key=value, with one value."),
        ("data.val_size=[", "cannot read the override 'data.val_size=['. Write key=value."),
    ],
)
def test_impossible_overrides_are_bad_input(override: str, text: str, run: Path) -> None:
    with pytest.raises(BadInput, match=f"^{re.escape(text)}"):
        opened(run, parsed([override]))


def changed(run: Path, key: str, value: Any) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("model._target_", name) for name in ("src.networks.Transformer", "src.run.result.git", "os.system")],
        ("data.extra", {"_target_": "os.system", "command": "touch canary"}),
        *[("data._target_", "src.gone.Data"), ("model.heads", 8), ("data.facts.size", 27)],
    ],
)
def test_a_run_of_another_version_is_bad_input_and_runs_no_foreign_code(key: str, value: Any, run: Path) -> None:
    changed(run, key, value)
    with pytest.raises(BadInput, match=rf"^{OTHER_VERSION}: .* Use that version for it, or train again\.$"):
        rebuilt(opened(run))
    assert not Path("canary").exists()


def test_a_job_of_a_search_is_opened_without_its_pruner(run: Path) -> None:
    changed(run, "pruner", {"_target_": "src.sweep.study.Pruner", "number": 3})
    opened_run = opened(run)
    assert "pruner" not in opened_run.settings
    evaluation, _ = evaluated(opened_run, "test")
    assert evaluation.reported["loss"] == opened_run.result["test/loss"]


def test_a_config_without_a_needed_part_is_reported_as_another_version(run: Path) -> None:
    (run / ".hydra" / "config.yaml").write_text("model: {}\n")
    with pytest.raises(BadInput, match=OTHER_VERSION):
        opened(run)
    (run / ".hydra" / "config.yaml").write_text("model: [")
    with pytest.raises(DataError, match=r"config\.yaml is damaged"):
        opened(run)


def test_a_checkpoint_that_does_not_fit_is_reported_with_the_shapes(run: Path) -> None:
    changed(run, "data.size", 20)
    shapes = "network.output.weight is (10, 784) in it, but (10, 400) by the settings of the run."
    text = re.escape(f"run/checkpoints/best.ckpt does not fit the network of its run: {shapes}")
    with pytest.raises(DataError, match=f"^{text}"):
        evaluated(opened(run), "test")


def test_a_checkpoint_that_is_missing_damaged_or_would_run_code_is_refused(run: Path) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"best\.ckpt is damaged or not a checkpoint"):
        evaluated(opened(run), "test")

    class Canary:
        def __reduce__(self) -> Any:
            return os.system, ("touch canary",)

    torch.save({"state_dict": Canary()}, path)
    with pytest.raises(DataError, match=r"best\.ckpt is damaged or not a checkpoint"):
        evaluated(opened(run), "test")
    assert not Path("canary").exists()
    path.unlink()
    with pytest.raises(DataError, match=r"best\.ckpt is missing\. Train again, or use another run\."):
        evaluated(opened(run), "test")

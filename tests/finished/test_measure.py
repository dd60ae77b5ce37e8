"""A finished run, measured and drawn."""

import json
import shutil
from pathlib import Path

import pytest

from src.finished.measure import draw_figures, draw_figures_of_best, evaluated
from src.finished.reopen import opened
from tests.conftest import Compose
from tests.runs import SMALL, trained
from tests.sweeps import Sweep

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_batch_size_threads_and_accelerator_can_be_changed(run: Path) -> None:
    before = json.loads((run / "metrics.json").read_text())
    changes = {"data.batch_size": 7, "threads": 1, "trainer.accelerator": "cpu"}
    evaluation, parts = evaluated(opened(run, changes), "val")
    assert evaluation.reported == {"loss": before["val/loss"], "acc": before["val/acc"]}
    assert parts.data.batch_size == 7


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_evaluation_equals_the_reported_result_in_other_precisions(
    precision: str, config: Compose, tmp_path: Path
) -> None:
    cfg = config(*SMALL, "trainer.max_epochs=2", "model=mlp", f"trainer.precision={precision}")
    result = trained(cfg, tmp_path / "other")
    for split in ("val", "test"):
        evaluation, _ = evaluated(opened(tmp_path / "other"), split)
        assert {f"{split}/{name}": value for name, value in evaluation.reported.items()}.items() <= result.items()


def test_only_the_best_job_of_a_sweep_is_drawn_once_and_if_figures_are_wanted(run_once: Path) -> None:
    sweep = Sweep(Path("grid"), "optimizer.lr=0.1,1")
    for job in sweep.plan.jobs:
        shutil.copytree(run_once, sweep.folder / job.folder)
    result = json.loads((run_once / "metrics.json").read_text())
    sweep.left(result | {"val/acc": 0.1}, result | {"val/acc": 0.9})
    draw_figures_of_best(sweep.folder)
    assert not list(sweep.folder.glob("*/figures"))
    for job in sweep.plan.jobs:
        path = sweep.folder / job.folder / ".hydra" / "config.yaml"
        path.write_text(path.read_text().replace("figures: false", "figures: true"))
    draw_figures_of_best(sweep.folder)
    (figures,) = sweep.folder.glob("*/figures")
    assert figures.parent.name == sweep.plan.jobs[1].folder
    before = {path: path.stat().st_mtime_ns for path in figures.iterdir()}
    draw_figures_of_best(sweep.folder)
    assert {path: path.stat().st_mtime_ns for path in figures.iterdir()} == before


def test_an_error_while_drawing_is_reported_as_a_warning(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "best.ckpt").unlink()
    draw_figures(run)
    said = "warning: the figures were not drawn: run/checkpoints/best.ckpt is missing."
    assert capsys.readouterr().err.startswith(said)

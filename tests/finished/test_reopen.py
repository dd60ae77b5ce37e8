"""Finished runs: which one a word means, what may be changed, and what is refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from src.errors import BadInput, DataError
from src.files import write_json
from src.finished.find import find
from src.finished.measure import draw_figures_of_best, evaluated
from src.finished.reopen import opened, rebuilt
from src.settings import flat
from src.train import train
from tests.conftest import Compose
from tests.runs import SMALL
from tests.sweeps import Sweep


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def trained(config: Compose, folder: Path, *overrides: str) -> dict[str, Any]:
    """A run as the command leaves it; returns its result."""
    cfg = config(*SMALL, "trainer.max_epochs=2", *overrides)
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")
    result = {"status": "completed", "seed": cfg.seed, **flat(train(cfg, folder)), "git_commit": "c" * 40}
    write_json(folder / "metrics.json", result)
    return result


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run, copied by each test that needs one."""
    from hydra import compose, initialize_config_dir

    from src.command.compose import CONF

    def config(*overrides: str) -> Any:
        with initialize_config_dir(config_dir=CONF, version_base="1.3"):
            return compose("config", ["figures=false", *overrides])

    folder = tmp_path_factory.mktemp("finished") / "run"
    trained(config, folder)
    return folder


@pytest.fixture
def run(run_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(run_once, tmp_path / "run")
    return Path("run")


def left(folder: Path, data: str, **result: Any) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "metrics.json", Sweep.RESULT | {"overrides": [f"data={data}"], "data_source": "files"} | result)
    return folder


def test_latest_is_the_run_that_was_completed_last() -> None:
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
    with pytest.raises(BadInput) as caught:
        find("best")
    expected = "run=best needs a data set: outputs/ has runs of cifar2, fashion_mnist, synthetic. Add data=cifar2."
    assert str(caught.value) == expected
    with pytest.raises(
        DataError, match="no completed run of data=cifar10 is in outputs/, but of cifar2, fashion_mnist"
    ):
        find("best", data="cifar10")


def test_a_sweep_means_the_job_at_the_top_of_its_leaderboard() -> None:
    sweep = Sweep(Path("grid"), "optimizer.lr=0.1,1", "seed=0,1")
    with pytest.raises(BadInput, match="no job of the sweep in grid is completed yet"):
        find("grid")
    sweep.left(*({"val/acc": accuracy} for accuracy in (0.6, 0.5, 0.9, 0.1)))
    assert find("grid").name == sweep.plan.jobs[0].folder  # 0.55 in the mean is more than 0.5


@pytest.mark.parametrize(("word", "said"), [("nothing", "is no folder"), ("empty", "holds no run")])
def test_what_is_no_run_is_bad_input(word: str, said: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(BadInput) as caught:
        find(word)
    assert (
        str(caught.value)
        == f"run must be latest, best or the folder of a run or sweep, but {word} {said}. Try run=latest."
    )
    with pytest.raises(DataError, match=r"no completed run is in outputs/\. Train one: python -m src\.train"):
        find("latest")


def test_a_run_that_is_not_completed_is_bad_input(run: Path) -> None:
    (run / ".hydra" / "overrides.yaml").write_text("- model=mlp\n- resume=auto\n")
    write_json(run / "metrics.json", {"status": "interrupted", "reason": "Ctrl-C"})
    with pytest.raises(BadInput) as caught:
        opened(run)
    expected = "the run in run is interrupted. Go on with it: python -m src.train model=mlp resume=run"
    assert str(caught.value) == expected
    write_json(run / "metrics.json", {"status": "failed", "reason": "diverged."})
    with pytest.raises(BadInput, match=r"^the run in run has failed: diverged\. Try run=latest\.$"):
        opened(run)


def test_a_result_that_lacks_something_is_told(run: Path) -> None:
    write_json(run / "metrics.json", {"status": "completed"})
    with pytest.raises(BadInput, match=r"^the run in run has failed: metrics\.json lacks best_epoch, test/acc"):
        opened(run)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("data.roots=x", "data.roots cannot be set for a finished run. Did you mean data.seed?"),
        ("model.loss=squared", "model.loss cannot be set for a finished run."),
        ("data.val_size=0", "data.val_size must be between 1 and 299"),
        ("data.val_size=1,2", "cannot use the override 'data.val_size=1,2' here. Write key=value, with one value."),
        ("data.val_size=[", "cannot read the override 'data.val_size=['. Write key=value."),
    ],
)
def test_overrides_that_cannot_be_are_bad_input(override: str, text: str, run: Path) -> None:
    with pytest.raises(BadInput) as caught:
        opened(run, [override])
    assert text.partition(".")[0] in str(caught.value)
    assert str(caught.value).startswith(text.partition(" Did")[0])


def changed(run: Path, key: str, value: Any) -> None:
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    OmegaConf.update(config, key, value, force_add=True)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model._target_", "src.networks.Transformer"),
        ("model._target_", "src.run.result.git"),
        ("model._target_", "os.system"),
        ("model.heads", 8),
        ("data.extra", {"_target_": "os.system", "command": "touch canary"}),
        ("data._target_", "src.gone.Data"),
        ("trainer.turbo", True),
    ],
)
def test_a_run_of_another_version_is_bad_input_and_nothing_foreign_is_run(key: str, value: Any, run: Path) -> None:
    changed(run, key, value)
    with pytest.raises(BadInput) as caught:
        rebuilt(opened(run))
    assert str(caught.value).startswith(
        "the run in run was made by another version of this project (commit cccccccc): "
    )
    assert str(caught.value).endswith("Use that version for it, or train anew.")
    assert not Path("canary").exists()


def test_a_config_without_a_needed_part_is_of_another_version(run: Path) -> None:
    (run / ".hydra" / "config.yaml").write_text("model: {}\n")
    with pytest.raises(BadInput, match="was made by another version"):
        opened(run)
    (run / ".hydra" / "config.yaml").write_text("model: [")
    with pytest.raises(DataError, match=r"config\.yaml is no YAML"):
        opened(run)


def test_a_checkpoint_that_does_not_fit_is_told_with_the_shapes(run: Path) -> None:
    changed(run, "data.size", 20)
    with pytest.raises(DataError) as caught:
        evaluated(opened(run), "test")
    expected = "network.output.weight is (10, 784) in it, and (10, 400) by the config and what was typed."
    assert str(caught.value).startswith("run/checkpoints/best.ckpt does not fit the network of its run: " + expected)


def test_a_checkpoint_that_is_missing_damaged_or_would_run_code_is_refused(run: Path) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"best\.ckpt is damaged or no checkpoint of ours"):
        evaluated(opened(run), "test")

    class Canary:
        def __reduce__(self) -> Any:
            return os.system, ("touch canary",)

    torch.save({"state_dict": Canary()}, path)
    with pytest.raises(DataError, match=r"best\.ckpt is damaged or no checkpoint of ours"):
        evaluated(opened(run), "test")
    assert not Path("canary").exists()
    path.unlink()
    with pytest.raises(DataError, match=r"best\.ckpt is missing\. Train anew, or use another run\."):
        evaluated(opened(run), "test")


def test_data_of_another_place_and_another_batch_size_can_be_set(run: Path) -> None:
    before = json.loads((run / "metrics.json").read_text())
    evaluation, parts = evaluated(opened(run, ["data.batch_size=7", "threads=1", "trainer.accelerator=cpu"]), "val")
    assert (evaluation.loss, evaluation.acc) == (before["val/loss"], before["val/acc"])
    assert parts.data.batch_size == 7


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_what_training_reported_is_found_again_in_other_precisions(
    precision: str, config: Compose, tmp_path: Path
) -> None:
    result = trained(config, tmp_path / "other", "model=mlp", f"trainer.precision={precision}")
    for split in ("val", "test"):
        evaluation, _ = evaluated(opened(tmp_path / "other"), split)
        assert {f"{split}/loss": evaluation.loss, f"{split}/acc": evaluation.acc}.items() <= result.items()


def test_of_a_sweep_the_best_job_is_drawn_once_if_figures_are_wanted(run_once: Path) -> None:
    sweep = Sweep(Path("grid"), "optimizer.lr=0.1,1")
    for job in sweep.plan.jobs:
        shutil.copytree(run_once, sweep.folder / job.folder)
    result = json.loads((run_once / "metrics.json").read_text())
    sweep.left(result | {"val/acc": 0.1}, result | {"val/acc": 0.9})
    draw_figures_of_best(sweep.folder)
    assert not list(sweep.folder.glob("*/figures"))
    for job in sweep.plan.jobs:
        changed(sweep.folder / job.folder, "figures", True)
    draw_figures_of_best(sweep.folder)
    (figures,) = sweep.folder.glob("*/figures")
    assert figures.parent.name == sweep.plan.jobs[1].folder
    before = {path: path.stat().st_mtime_ns for path in figures.iterdir()}
    draw_figures_of_best(sweep.folder)
    assert {path: path.stat().st_mtime_ns for path in figures.iterdir()} == before


def test_what_stands_against_drawing_is_told_and_harms_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from src.finished.measure import draw_figures

    (run / "checkpoints" / "best.ckpt").unlink()
    draw_figures(run)
    assert capsys.readouterr().err.startswith(
        "warning: the figures were not drawn: run/checkpoints/best.ckpt is missing."
    )

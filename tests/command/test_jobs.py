from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.command.jobs import checked_jobs
from src.errors import BadInput
from tests.conftest import Compose


def error(*overrides: str, multirun: bool = False) -> str:
    with pytest.raises(BadInput) as caught:
        checked_jobs(overrides, multirun=multirun)
    return str(caught.value)


def test_several_values_need_a_sweep() -> None:
    assert (
        error("optimizer.lr=0.1,0.2")
        == "optimizer.lr=0.1,0.2 names several values. Add -m to run them all, one job each."
    )


def test_a_sweep_without_jobs_or_steps_is_an_error() -> None:
    assert error("model=glob(x*)", multirun=True).startswith("no job matches model=glob(x*). Name at least one value")
    assert error("optimizer.lr=interval(0,1)", multirun=True) == (
        "optimizer.lr=interval(0,1) is a range without steps. Try key=0.01,0.1, or hydra/sweeper=optuna."
    )


def test_all_jobs_of_a_sweep_are_checked_before_the_first_one_starts() -> None:
    text = error("optimizer.lr=0.1,-1", "seed=0,1", multirun=True)
    assert text == (
        "job 2: optimizer.lr must be a finite number > 0, got -1. Try optimizer.lr=0.1.\n"
        "2 of 4 jobs cannot run, so none was started."
    )


def test_a_sweep_has_hydras_jobs_in_hydras_order() -> None:
    jobs = checked_jobs(["optimizer.lr=0.01,0.1", "model=softmax,mlp", "seed=range(0,2)"], multirun=True)
    assert jobs.is_sweep
    found = [(config.optimizer.lr, config.model._target_.rpartition(".")[2], config.seed) for config in jobs.configs]
    assert found == [(lr, model, s) for lr in (0.01, 0.1) for model in ("SoftmaxRegression", "MLP") for s in (0, 1)]


def test_a_job_is_composed_as_hydra_composes_it(config: Compose) -> None:
    overrides = ["model=mlp", "model.hidden_sizes=[8,4]", "data=cifar2", "optimizer.lr=1e-3", "figures=all"]
    overrides.append("debug=overfit")
    jobs = checked_jobs(overrides, multirun=False)
    assert OmegaConf.to_yaml(jobs.configs[0]) == OmegaConf.to_yaml(config(*overrides))


def test_parts_of_ones_own_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("defaults: [mlp]\nhidden_sizes: [2]\n")
    (job,) = checked_jobs(["model=tiny"], multirun=False, config_dir=str(tmp_path)).configs
    assert job.model.hidden_sizes == [2]


def test_a_run_can_be_repeated_from_the_configuration_it_left(config: Compose, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config("model=mlp", "seed=5")))
    (job,) = checked_jobs(["optimizer.lr=0.3"], multirun=False, config_path=str(tmp_path)).configs
    assert (job.seed, job.optimizer.lr, list(job.model.hidden_sizes)) == (5, 0.3, [256])


def test_linear_regression_learns_by_adam_unless_another_optimizer_is_typed() -> None:
    (unless,) = checked_jobs(["model=linear"], multirun=False).configs
    (typed,) = checked_jobs(["model=linear", "optimizer=sgd"], multirun=False).configs
    assert (unless.optimizer._target_, typed.optimizer._target_) == ("torch.optim.Adam", "torch.optim.SGD")


@pytest.mark.parametrize("words", [["trainer=ddp"], ["trainer.devices=2"], ["trainer.devices=[0,1]"]])
def test_a_job_of_a_sweep_is_trained_by_one_process(words: list[str]) -> None:
    expected = "job 0: a job of a sweep is trained by one process, on one device: leave out trainer=ddp and trainer"
    assert error(*words, "trainer.accelerator=cpu", "seed=0,1", multirun=True).startswith(expected)
    assert checked_jobs([*words, "trainer.accelerator=cpu"], multirun=False).configs


@pytest.mark.parametrize(("key", "value", "least"), [("n_trials", 0, 1), ("at_once", 1.5, 1), ("seed", -1, 0)])
def test_a_search_with_impossible_settings_is_refused(key: str, value: float, least: int) -> None:
    pytest.importorskip("optuna")
    expected = f"hydra.sweeper.{key} must be an integer >= {least}, got {value}. Try hydra.sweeper.{key}=1."
    assert error("hydra/sweeper=optuna", f"hydra.sweeper.{key}={value}", multirun=True) == expected


def test_a_search_needs_something_to_search() -> None:
    pytest.importorskip("optuna")
    words = ["optimizer.lr=0.1", "data.batch_size=64", "hydra/sweeper=optuna"]
    assert error(*words, multirun=True).startswith("nothing is left to search.")
    assert error("data.batch_size=0,64", "hydra/sweeper=optuna", multirun=True).startswith("data.batch_size must be an")

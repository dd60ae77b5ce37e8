from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.command.jobs import checked_jobs
from tests.conftest import Compose
from tests.runs import checked, refusal

ONE_PROCESS = "job 0: a job of a sweep is trained by one process, on one device: leave out trainer=ddp and trainer"
LR_OF_JOB_2 = "job 2: optimizer.lr must be a finite number > 0, got -1. Try optimizer.lr=0.1.\n"
NO_STEPS = "optimizer.lr=interval(0,1) is a range without steps. Try key=0.01,0.1, or hydra/sweeper=optuna."


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("optimizer.lr=0.1,0.2", "optimizer.lr=0.1,0.2 names several values. Add -m to run them all, one job each."),
        ("-m model=glob(x*)", "no job matches model=glob(x*). Name at least one value for each key."),
        ("-m optimizer.lr=interval(0,1)", NO_STEPS),
        ("-m optimizer.lr=0.1,-1 seed=0,1", LR_OF_JOB_2 + "2 of 4 jobs cannot run, so none was started."),
    ],
)
def test_several_values_need_a_sweep_in_which_every_job_is_valid(words: str, answer: str) -> None:
    assert refusal(*words.split()) == answer


def test_a_sweep_has_hydras_jobs_in_hydras_order() -> None:
    jobs = checked("-m", "optimizer.lr=0.01,0.1", "model=softmax,mlp", "seed=range(0,2)")
    assert jobs.is_sweep
    found = [(config.optimizer.lr, config.model._target_.rpartition(".")[2], config.seed) for config in jobs.configs]
    assert found == [(lr, model, s) for lr in (0.01, 0.1) for model in ("SoftmaxRegression", "MLP") for s in (0, 1)]


def test_a_job_is_composed_as_hydra_composes_it(config: Compose) -> None:
    words = [
        "model=mlp",
        "model.hidden_sizes=[8,4]",
        "data=cifar2",
        "optimizer.lr=1e-3",
        "figures=all",
        "debug=overfit",
    ]
    assert OmegaConf.to_yaml(checked(*words).configs[0]) == OmegaConf.to_yaml(config(*words))


def test_config_files_may_be_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tiny.yaml").write_text("defaults: [mlp]\nhidden_sizes: [2]\n")
    (job,) = checked_jobs(["model=tiny"], multirun=False, config_dir=str(tmp_path)).configs
    assert job.model.hidden_sizes == [2]


def test_a_run_can_be_repeated_from_its_saved_config(config: Compose, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(config("model=mlp", "seed=5")))
    (job,) = checked_jobs(["optimizer.lr=0.3"], multirun=False, config_path=str(tmp_path)).configs
    assert (job.seed, job.optimizer.lr, list(job.model.hidden_sizes)) == (5, 0.3, [256])


def test_linear_regression_uses_adam_unless_another_optimizer_is_typed() -> None:
    (unless,), (typed,) = checked("model=linear").configs, checked("model=linear", "optimizer=sgd").configs
    assert (unless.optimizer._target_, typed.optimizer._target_) == ("torch.optim.Adam", "torch.optim.SGD")


@pytest.mark.parametrize("word", ["trainer=ddp", "trainer.devices=2", "trainer.devices=[0,1]"])
def test_a_job_of_a_sweep_must_be_trained_by_one_process(word: str) -> None:
    assert refusal("-m", word, "trainer.accelerator=cpu", "seed=0,1").startswith(ONE_PROCESS)
    assert checked(word, "trainer.accelerator=cpu").configs


@pytest.mark.parametrize(("key", "value", "least"), [("n_trials", 0, 1), ("at_once", 1.5, 1), ("seed", -1, 0)])
def test_a_search_with_impossible_settings_is_refused(key: str, value: float, least: int) -> None:
    pytest.importorskip("optuna")
    expected = f"hydra.sweeper.{key} must be an integer >= {least}, got {value}. Try hydra.sweeper.{key}=1."
    assert refusal("-m", "hydra/sweeper=optuna", f"hydra.sweeper.{key}={value}") == expected


def test_a_search_needs_something_to_search() -> None:
    pytest.importorskip("optuna")
    nothing = refusal("-m", "hydra/sweeper=optuna", "optimizer.lr=0.1", "data.batch_size=64")
    assert nothing.startswith("nothing is left to search.")
    assert refusal("-m", "hydra/sweeper=optuna", "data.batch_size=0,64").startswith("data.batch_size must be an")

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.errors import BadInput
from src.jobs import checked_jobs
from tests.conftest import Compose


def error(*overrides: str, multirun: bool = False) -> str:
    with pytest.raises(BadInput) as caught:
        checked_jobs(overrides, multirun=multirun)
    return str(caught.value)


def test_an_unknown_choice_is_met_with_the_nearest_known_one() -> None:
    assert (
        error("model=mpl")
        == "unknown model 'mpl'. Did you mean model=mlp? Choices: linear, mlp, softmax, softmax_scratch."
    )
    assert error("trainer=gpus").startswith("unknown trainer 'gpus'. Did you mean trainer=gpu? Choices: auto, cpu, ")
    assert error("model=null").startswith("unknown model 'null'. Choices: linear, ")


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_an_unknown_key_is_met_with_the_nearest_known_one(sign: str) -> None:
    expected = (
        "unknown key 'optimizer.lrr'. Did you mean optimizer.lr? Known here: "
        "optimizer.lr, optimizer.momentum, optimizer.weight_decay."
    )
    assert error(f"{sign}optimizer.lrr=1") == expected


def test_a_key_without_its_group_is_recognized() -> None:
    assert error("lr=1").startswith("unknown key 'lr'. Did you mean optimizer.lr?")
    assert error("batch_size=64").startswith("unknown key 'batch_size'. Did you mean data.batch_size?")


def test_a_mistyped_group_is_recognized() -> None:
    assert error("modle=mlp").startswith("unknown key 'modle'. Did you mean model? Known here: data, debug, model, ")


def test_a_key_of_a_part_that_was_not_chosen_is_told_apart() -> None:
    assert (
        error("model=softmax", "model.hidden_sizes=[8]")
        == "model.hidden_sizes belongs to model=mlp, which was not chosen. Try model=mlp model.hidden_sizes=..."
    )


def test_a_parameter_that_lightning_has_can_be_added_and_others_cannot() -> None:
    jobs = checked_jobs(["+trainer.val_check_interval=0.5"], multirun=False)
    assert jobs.configs[0].trainer.val_check_interval == 0.5
    assert error("trainer.val_check_interval=0.5").startswith("unknown key 'trainer.val_check_interval'.")


@pytest.mark.parametrize("key", ["trainer.logger", "trainer.callbacks", "model.image_shape", "data.settings"])
def test_what_the_code_passes_itself_cannot_be_added(key: str) -> None:
    assert error(f"+{key}=null").startswith(f"unknown key '{key}'.")


def test_what_is_no_override_is_told() -> None:
    assert error("lr") == "cannot read the override 'lr'. Write key=value."
    assert error("hydra.run.dir=/a=b") == (
        """cannot read the override 'hydra.run.dir=/a=b'. Quote the value: 'hydra.run.dir="/a=b"'."""
    )
    checked_jobs(['hydra.run.dir="/a=b"'], multirun=False)


def test_keys_cannot_be_removed() -> None:
    assert error("~model").startswith("~model would remove a part that is needed. Choices: linear, mlp, ")
    assert error("~seed") == "~seed would remove a key that is needed. Set it to null instead."


def test_several_values_need_a_sweep() -> None:
    assert (
        error("optimizer.lr=0.1,0.2")
        == "optimizer.lr=0.1,0.2 names several values. Add -m to run them all, one job each."
    )


def test_a_sweep_without_jobs_or_steps_is_an_error() -> None:
    assert error("model=glob(x*)", multirun=True).startswith("no job matches model=glob(x*). Name at least one value")
    assert error("optimizer.lr=interval(0,1)", multirun=True) == (
        "optimizer.lr=interval(0,1) is a range without steps. Name the values: key=0.01,0.1."
    )


def test_an_interpolation_that_leads_nowhere_is_told_in_one_line() -> None:
    assert error("seed=${nope}").startswith("Interpolation key 'nope' not found")
    assert "\n" not in error("seed=${nope}")


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
    overrides = ["model=mlp", "model.hidden_sizes=[8,4]", "data=cifar2", "optimizer.lr=1e-3", "debug=overfit"]
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

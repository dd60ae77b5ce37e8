import pytest

from src.command.jobs import checked_jobs
from src.errors import BadInput
from src.settings import choices


def error(*overrides: str, multirun: bool = False) -> str:
    with pytest.raises(BadInput) as caught:
        checked_jobs(overrides, multirun=multirun)
    return str(caught.value)


def test_an_unknown_choice_is_met_with_the_nearest_known_one() -> None:
    known = ", ".join(choices("model"))
    assert error("model=mpl") == f"unknown model 'mpl'. Did you mean model=mlp? Choices: {known}."
    assert error("model=null") == f"unknown model 'null'. Choices: {known}."
    assert error("model.loss=cross_entropi").startswith(
        "unknown model.loss 'cross_entropi'. Did you mean model.loss=cross_entropy? Choices: "
    )
    assert error("model/loss=squared") == "model/loss is chosen by its key. Try model.loss=squared."


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
    assert error("modle=mlp").startswith("unknown key 'modle'. Did you mean model? Known here: data, ")


def test_a_key_of_a_part_that_was_not_chosen_is_told_apart() -> None:
    assert (
        error("model=softmax", "model.hidden_sizes=[8]")
        == "model.hidden_sizes belongs to model=mlp, which was not chosen. Try model=mlp model.hidden_sizes=..."
    )


def test_a_parameter_that_lightning_has_can_be_added_and_others_cannot() -> None:
    jobs = checked_jobs(["+trainer.val_check_interval=0.5"], multirun=False)
    assert jobs.configs[0].trainer.val_check_interval == 0.5
    assert error("trainer.val_check_interval=0.5").startswith("unknown key 'trainer.val_check_interval'.")


def test_a_setting_that_the_chosen_launcher_lacks_is_told_with_the_others() -> None:
    words = ["hydra.launcher.n_jobs=2", "seed=0,1"]
    assert error(*words, multirun=True).startswith(
        "hydra.launcher.n_jobs is no setting of this launcher. Choose another: hydra/launcher=basic, "
    )


@pytest.mark.parametrize("key", ["trainer.logger", "trainer.callbacks", "model.image_shape", "data.facts.size"])
def test_what_the_code_passes_itself_cannot_be_added(key: str) -> None:
    assert error(f"+{key}=null").startswith(f"unknown key '{key}'.")


def test_what_is_no_override_is_told() -> None:
    assert error("lr") == "cannot read the override 'lr'. Write key=value."
    assert error("hydra.run.dir=/a=b") == (
        """cannot read the override 'hydra.run.dir=/a=b'. Quote the value: 'hydra.run.dir="/a=b"'."""
    )
    checked_jobs(['hydra.run.dir="/a=b"'], multirun=False)


def test_keys_cannot_be_removed() -> None:
    assert error("~model").startswith("~model would remove a part that is needed. Choices: ")
    assert error("~seed") == "~seed would remove a key that is needed. Set it to null instead."


def test_an_interpolation_that_leads_nowhere_is_told_in_one_line() -> None:
    assert error("seed=${nope}").startswith("Interpolation key 'nope' not found")
    assert "\n" not in error("seed=${nope}")

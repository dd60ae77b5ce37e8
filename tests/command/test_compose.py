import pytest

from src.settings import choices
from tests.runs import checked, refusal

MODELS, LOSSES = (", ".join(choices(group)) for group in ("model", "model/loss"))
NO_LRR = "unknown key 'optimizer.lrr'. Did you mean optimizer.lr? Known here: "
RATES = "optimizer.lr, optimizer.momentum, optimizer.weight_decay."
QUOTE = """Quote the value: 'hydra.run.dir="/a=b"'."""
OF_MLP = "model.hidden_sizes belongs to model=mlp, which was not chosen. Try model=mlp model.hidden_sizes=..."


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("model=mpl", f"unknown model 'mpl'. Did you mean model=mlp? Choices: {MODELS}."),
        ("model=null", f"unknown model 'null'. Choices: {MODELS}."),
        ("model.loss=hubre", f"unknown model.loss 'hubre'. Did you mean model.loss=huber? Choices: {LOSSES}."),
        ("model/loss=squared", "model/loss is chosen by its key. Try model.loss=squared."),
        *((f"{sign}optimizer.lrr=1", NO_LRR + RATES) for sign in ("", "+", "++")),
        ("model=softmax model.hidden_sizes=[8]", OF_MLP),
        ("lr", "cannot read the override 'lr'. Write key=value."),
        ("hydra.run.dir=/a=b", f"cannot read the override 'hydra.run.dir=/a=b'. {QUOTE}"),
        ("~model", f"~model would remove a part that is needed. Choices: {MODELS}."),
        ("~seed", "~seed would remove a key that is needed. Set it to null instead."),
    ],
)
def test_a_mistyped_override_is_answered_with_what_can_be_typed(words: str, answer: str) -> None:
    assert refusal(*words.split()) == answer


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("lr=1", "unknown key 'lr'. Did you mean optimizer.lr?"),  # a key without its group
        ("batch_size=64", "unknown key 'batch_size'. Did you mean data.batch_size?"),
        ("modle=mlp", "unknown key 'modle'. Did you mean model? Known here: data, "),
        ("trainer.val_check_interval=0.5", "unknown key 'trainer.val_check_interval'."),  # must be added with +
        *((f"+trainer.{name}=null", f"unknown key 'trainer.{name}'.") for name in ("logger", "callbacks")),
        *((f"+{key}=null", f"unknown key '{key}'.") for key in ("model.image_shape", "data.facts.size")),
        ("seed=${nope}", "Interpolation key 'nope' not found"),
    ],
)
def test_an_unknown_key_is_answered_with_known_keys_in_one_line(word: str, answer: str) -> None:
    assert refusal(word).startswith(answer) and "\n" not in refusal(word)


def test_a_quoted_value_and_an_added_trainer_parameter_are_accepted() -> None:
    (config,) = checked('hydra.run.dir="/a=b"', "+trainer.val_check_interval=0.5").configs
    assert config.trainer.val_check_interval == 0.5


def test_a_setting_that_the_chosen_launcher_lacks_is_answered_with_the_other_launchers() -> None:
    answer = "hydra.launcher.n_jobs is not a setting of this launcher. Choose another: hydra/launcher=basic, "
    assert refusal("-m", "hydra.launcher.n_jobs=2", "seed=0,1").startswith(answer)

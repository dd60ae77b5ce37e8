import pytest

from src.command.key_values import one_of, own_and_others
from src.errors import BadInput

DEFAULTS = {"run": "", "split": "test"}


def test_a_commands_own_words_are_separated_from_overrides() -> None:
    words = ["run=best", "data.root=a=b", "threads=1"]
    assert own_and_others(words, DEFAULTS) == ({"run": "best", "split": "test"}, ["data.root=a=b", "threads=1"])


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("splt=val", " Did you mean split?"),
        ("latest", " Did you mean run=latest?"),
        ("--run", " Did you mean run?"),
        ("trainer=cpu", ""),
    ],
)
def test_unknown_words_are_bad_input(word: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        own_and_others([word], DEFAULTS)
    assert str(caught.value) == f"unknown word {word!r}.{hint} Known here: run, split, data.KEY."


def test_a_value_that_is_not_a_choice_is_bad_input() -> None:
    assert one_of("split", "val", ("test", "val")) == "val"
    with pytest.raises(BadInput, match=r"^split must be one of test, val, got 'train'\. Try split=test\.$"):
        one_of("split", "train", ("test", "val"))

from pathlib import Path

from src import settings
from src.settings import choices, flat, groups, is_result, key_of, without_hydra


def test_flat_turns_nested_settings_into_dotted_keys() -> None:
    assert flat({"model": {"sizes": [1], "none": {}}, "seed": 7}) == {"model.sizes": [1], "model.none": {}, "seed": 7}


def test_the_key_of_any_override_is_found_and_hydras_own_are_left_out() -> None:
    assert [key_of(text) for text in ("a.b=1", "+a.b=1=2", "++a.b={c:1}")] == ["a.b"] * 3
    assert without_hydra(["seed=1", "hydra.verbose=true", "+hydra/launcher=joblib", "~x"]) == ["seed=1", "~x"]


def test_is_result_is_false_for_settings_that_change_no_result() -> None:
    assert is_result("optimizer.lr") and not is_result("pruner._target_") and not is_result("resume")


def test_the_choices_are_the_files_of_conf(own_conf: Path) -> None:
    (own_conf / "model" / "loss" / "mine.yaml").touch()
    assert "mine" in choices("model/loss") and "mine" not in choices("model")
    assert groups("model") == ["activation", "loss"] and "hydra" not in groups()
    assert choices("nothing") == [] and own_conf == settings.CONF

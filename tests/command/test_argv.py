import sys
from pathlib import Path

import pytest

from src.command.argv import folder_override, hand_over, parse

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def test_flags_are_passed_to_hydra_before_the_overrides() -> None:
    typed = parse(["seed=1", "-m", "model=mlp", "--cfg", "job", "-cp", "mine"])
    assert typed.overrides == ["seed=1", "model=mlp"] and typed.asks("multirun") and not typed.asks("help", "info")
    path = str(Path("mine").resolve())
    assert typed.for_hydra() == ["--cfg", "job", "--multirun", "--config-path", path, "seed=1", "model=mlp"]


def test_a_folder_name_with_special_characters_is_quoted() -> None:
    Path("a,seed=3").mkdir()
    assert parse(["resume=a,seed=3"]).overrides == ["resume='a,seed=3'"]
    assert parse(["resume=auto"]).overrides == ["resume=auto"]
    assert folder_override("x", Path("a/b-1.0")) == "x=a/b-1.0"
    assert folder_override("x", Path("a'b\\c")) == r"x='a\'b\\c'"


def test_hydra_gets_its_words_through_sys_argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "typed"])
    seen: list[str] = []
    hand_over(lambda: seen.extend(sys.argv), ["--cfg", "job"])
    assert seen == ["train.py", "--cfg", "job"]

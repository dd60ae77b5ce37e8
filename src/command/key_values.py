"""The arguments of `src.eval` and `src.predict`: the command's own settings, and overrides of the finished run."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from src.errors import BadInput, did_you_mean, shortened

WITHOUT_A_DOT = ("threads", "matmul_precision")  # keys of a run that may be overridden


def own_and_others(words: Sequence[str], defaults: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Splits words into the command's own settings, completed by their defaults, and overrides of the run."""
    own, others = dict(defaults), []
    for word in words:
        key, equals, value = word.partition("=")
        if key in own and equals:
            own[key] = value
        elif (equals and "." in key) or key in WITHOUT_A_DOT:
            others.append(word)
        else:
            hint = did_you_mean(key, own) or (f" Did you mean run={word}?" if not equals and not own["run"] else "")
            raise BadInput(f"unknown word {word!r}.{hint} Known here: {', '.join(own)}, data.KEY.")
    return own, others


def one_of(key: str, value: str, choices: Sequence[str]) -> str:
    """Returns the value; raises BadInput if it is not one of the choices."""
    if value not in choices:
        raise BadInput(f"{key} must be one of {', '.join(choices)}, got {value!r}. Try {key}={choices[0]}.")
    return value


def parsed(overrides: Sequence[str]) -> dict[str, Any]:
    """Parses overrides into keys and values."""
    found = {}
    for text in overrides:
        try:
            (override,) = OverridesParser.create().parse_overrides([text])
        except (HydraException, ValueError, RecursionError) as error:
            raise BadInput(f"cannot read the override {shortened(text)!r}. Write key=value.") from error
        if override.is_sweep_override() or override.is_delete() or override.is_add():
            raise BadInput(f"cannot use the override {text!r} here. Write key=value, with one value.")
        found[override.key_or_group] = override.value()
    return found

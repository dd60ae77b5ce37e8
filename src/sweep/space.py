"""The space of a search: what is typed for a key, read as one of Optuna's distributions."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import OmegaConf

from src.errors import BadInput

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SPACES = Path(__file__).resolve().parents[2] / "conf" / "hydra" / "space"


def space_of(model: str) -> dict[str, str]:
    """The keys that are searched for a network, and their values as one would type them."""
    path = SPACES / f"{model}.yaml"
    return {str(key): str(value) for key, value in OmegaConf.load(path).items()} if path.exists() else {}


def ends(override: Override) -> list[str]:
    """The values that a job can get at most, as they are typed: both ends of an interval, or every choice."""
    if not override.is_sweep_override():
        raise BadInput(
            f"{override.input_line} leaves nothing to search. Name several values, or an interval(low,high)."
        )
    value = override.value()
    if isinstance(value, IntervalSweep):
        if value.start is None or value.end is None or not value.start < value.end:
            raise BadInput(f"{override.input_line} must be an interval(low,high), the lower first.")
        if "log" in value.tags and value.start <= 0:
            raise BadInput(f"{override.input_line} must be above 0, where it is to be logarithmic.")
        return [f"{value.start}", f"{value.end}"]
    return list(override.sweep_string_iterator())


def distributions(space: Mapping[str, str]) -> dict[str, "BaseDistribution"]:
    """Optuna's form of a space; choices are kept as they are typed."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for key, text in space.items():
        override = OverridesParser.create().parse_override(f"{key}={text}")
        value = override.value()
        if not isinstance(value, IntervalSweep):
            found[key] = CategoricalDistribution(list(override.sweep_string_iterator()))
            continue
        assert value.start is not None and value.end is not None
        kind: Any = (
            IntDistribution if isinstance(value.start, int) and isinstance(value.end, int) else FloatDistribution
        )
        found[key] = kind(value.start, value.end, log="log" in value.tags)
    return found


def as_typed(values: Mapping[str, Any]) -> list[str]:
    """What Optuna proposes, as overrides."""
    return [f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]

"""Settings by their keys, written with dots: the names to choose from, and which settings results depend on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONF = Path(__file__).resolve().parents[1] / "conf"
NOT_RESULTS = {"resume", "retry_failed", "pruner", "figures", "graph"}  # no result depends on them


def choices(group: str) -> list[str]:
    """The names that conf/ has for a group, such as `model` or `model/loss`; none if it is no group."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def groups(parent: str = "") -> list[str]:
    """The groups of conf/, or those inside another group; Hydra's own are left out."""
    return sorted(path.name for path in (CONF / parent).glob("*") if path.is_dir() and path.name != "hydra")


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def is_result(key: str) -> bool:
    """Whether results depend on a setting; `pruner._target_` belongs to `pruner`."""
    return key.partition(".")[0] not in NOT_RESULTS


def without_hydra(overrides: Sequence[str]) -> list[str]:
    """The overrides that say what a job is, not how Hydra runs it."""
    return [text for text in overrides if not text.lstrip("+~").startswith(("hydra.", "hydra/"))]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, the keys joined by dots: `{"optimizer.lr": 0.1}`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        full = f"{prefix}{key}"
        found |= flat(value, f"{full}.") if isinstance(value, dict) and value else {full: value}
    return found

"""The choices in conf/, settings by dotted keys, and which settings results depend on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

CONF = Path(__file__).resolve().parents[1] / "conf"
NOT_RESULTS = {"resume", "retry_failed", "force_resume", "pruner", "figures", "graph"}  # results do not depend on these


def choices(group: str) -> list[str]:
    """The choices of a group in conf/, such as `model` or `model/loss`; empty if there is no such group."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def groups(parent: str = "") -> list[str]:
    """The groups in conf/, or inside another group, without Hydra's own."""
    return sorted(path.name for path in (CONF / parent).glob("*") if path.is_dir() and path.name != "hydra")


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+")


def is_result(key: str) -> bool:
    """Whether results depend on a setting. A nested key such as `pruner._target_` counts as `pruner`."""
    return key.partition(".")[0] not in NOT_RESULTS


def without_hydra(overrides: Sequence[str]) -> list[str]:
    """The overrides without Hydra's own, which say how a job is run."""
    return [text for text in overrides if not text.lstrip("+~").startswith(("hydra.", "hydra/"))]


def updated(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested settings with new values; `changes` maps dotted keys to values."""
    whole = deepcopy(dict(settings))
    for key, value in changes.items():
        *parents, name = key.split(".")
        reduce(lambda inner, parent: inner.setdefault(parent, {}), parents, whole)[name] = value
    return whole


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A digest of the settings that must not change when a run is continued."""
    others = {"trainer.devices", "trainer.max_epochs"}  # these two may change
    results = {key: value for key, value in flat(settings).items() if is_result(key) and key not in others}
    return hashlib.sha256(json.dumps(results, sort_keys=True, default=str).encode()).hexdigest()[:16]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings to dotted keys: `{"optimizer.lr": 0.1}`."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        full = f"{prefix}{key}"
        found |= flat(value, f"{full}.") if isinstance(value, dict) and value else {full: value}
    return found


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

"""Builds objects from a config, and turns configs into plain settings."""

from collections.abc import Mapping
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from src import settings
from src.errors import BadInput
from src.files import in_one_line, load_yaml
from src.settings import choices, updated


def build(config: DictConfig | Mapping[str, Any], part: str, **arguments: Any) -> Any:
    """Builds the object that one part of a config describes, such as the network (`part="model"`).

    The value of an inner group's key, such as `model.loss: huber`, is replaced by what it names (see `named`).

    Raises:
        BadInput: the constructor fails, for example because it refuses a parameter.
    """
    own = config[part]
    chosen = {name: named(f"{part}/{name}", own[name]) for name in settings.groups(part) if name in own}
    try:
        return instantiate(own, **chosen, **arguments, _convert_="all")
    except InstantiationException as error:
        name, cause = own["_target_"].rpartition(".")[2], error.__cause__ or error
        raise BadInput(f"{name} cannot be made: {' '.join(str(cause).split())}") from error


def build_saved(part: str, saved: Mapping[str, Any], **arguments: Any) -> Any:
    """Builds one part of a run from its saved settings, which are only data.

    The class must be the `_target_` of a choice in conf/. Its arguments are plain values, or functions and classes that
    conf/ names.

    Raises:
        BadInput: no choice names the class, or it refuses a value.
    """
    own = dict(saved)
    target = own.pop("_target_", None)
    if target not in [load_yaml(settings.CONF / part / f"{name}.yaml").get("_target_") for name in choices(part)]:
        raise BadInput(f"{part} is not built by a class that conf/{part}/ names")
    chosen = {name: named(f"{part}/{name}", own[name]) for name in settings.groups(part) if name in own}
    try:
        return get_object(str(target))(**own | chosen | arguments)
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise BadInput(f"{str(target).rpartition('.')[2]} cannot be made: {in_one_line(error)}") from error


def named(group: str, name: str) -> Any:
    """The function or class of a choice: `named("model/loss", "huber")` is `src.networks.huber`."""
    if name not in choices(group):
        raise BadInput(f"unknown {group} {name!r}. Choices: {', '.join(choices(group))}.")
    return get_object(load_yaml(settings.CONF / group / f"{name}.yaml")["_target_"])


def as_dict(config: DictConfig) -> dict[str, Any]:
    """Converts a config to nested plain dicts, with interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def changed(config: DictConfig, changes: Mapping[str, Any]) -> DictConfig:
    """A copy of a config with new values; `changes` maps dotted keys to values."""
    return cast(DictConfig, OmegaConf.merge(config, updated({}, changes)))

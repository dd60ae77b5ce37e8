"""Builds objects from a config, and turns configs into plain settings."""

from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from src import settings
from src.errors import BadInput, DataError
from src.files import load_yaml


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


def named(group: str, name: str) -> Any:
    """The function or class of a choice: `named("model/loss", "huber")` is `src.networks.huber`."""
    return get_object(load_yaml(settings.CONF / group / f"{name}.yaml")["_target_"])


def as_dict(config: DictConfig) -> dict[str, Any]:
    """Converts a config to nested plain dicts, with interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def saved_settings(path: Path) -> dict[str, Any]:
    """Reads a saved config as nested plain dicts.

    Raises:
        DataError: the file cannot be read, or is not a config.
    """
    try:
        config = OmegaConf.load(path)
        if not isinstance(config, DictConfig):
            raise TypeError("the file holds a list")
        return as_dict(config)
    except OSError as error:
        raise DataError(f"could not read {path}: {error.strerror}.") from error
    except Exception as error:  # the errors of YAML and OmegaConf have no common base
        raise DataError(f"{path} is damaged ({type(error).__name__}).") from error


def changed(config: DictConfig | Mapping[str, Any], changes: Mapping[str, Any]) -> DictConfig:
    """A copy of a config with new values; `changes` maps dotted keys to values."""
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        *parents, name = key.split(".")
        reduce(lambda inner, parent: inner.setdefault(parent, {}), parents, nested)[name] = value
    return cast(DictConfig, OmegaConf.merge(config, nested))

"""Objects, and plain settings, from a config."""

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
    """The object that a part of a config describes, such as its network (`part="model"`).

    A parameter that is a name out of a group inside the part's, such as `model.loss`, becomes the function or class
    that this choice's file names.

    Raises:
        BadInput: the constructor refuses a parameter.
    """
    own = config[part]
    chosen = {name: named(f"{part}/{name}", own[name]) for name in settings.groups(part) if name in own}
    try:
        return instantiate(own, **chosen, **arguments, _convert_="all")
    except InstantiationException as error:
        name, cause = own["_target_"].rpartition(".")[2], error.__cause__ or error
        raise BadInput(f"{name} cannot be made: {' '.join(str(cause).split())}") from error


def named(group: str, name: str) -> Any:
    """The function or class that a choice such as `model/loss`, `huber` stands for."""
    return get_object(load_yaml(settings.CONF / group / f"{name}.yaml")["_target_"])


def as_dict(config: DictConfig) -> dict[str, Any]:
    """A config as nested plain settings, with its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def saved_settings(path: Path) -> dict[str, Any]:
    """A saved config as nested plain settings.

    Raises:
        DataError: it cannot be read, or is no config.
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
    """A copy of a config with new values for some keys, written with dots."""
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        *parents, name = key.split(".")
        reduce(lambda inner, parent: inner.setdefault(parent, {}), parents, nested)[name] = value
    return cast(DictConfig, OmegaConf.merge(config, nested))

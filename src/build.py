"""Objects, and plain settings, from a config."""

from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.errors import BadInput


def build(config: DictConfig, **arguments: Any) -> Any:
    """The object that a part of a config describes by its `_target_` and parameters.

    Raises:
        BadInput: the constructor refuses a parameter.
    """
    try:
        return instantiate(config, **arguments, _convert_="all")
    except InstantiationException as error:
        name, cause = config["_target_"].rpartition(".")[2], error.__cause__ or error
        raise BadInput(f"{name} cannot be made: {' '.join(str(cause).split())}") from error


def as_dict(config: DictConfig) -> dict[str, Any]:
    """A config as nested plain settings, with its interpolations resolved."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))

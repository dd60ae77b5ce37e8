"""Composes the configs of jobs, and answers what is unknown with the nearest thing that is known."""

import inspect
import re
import warnings
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.checks import check
from src.errors import BadInput, did_you_mean
from src.sweep.placement import jobs_at_once

# Hydra checks our settings of a launcher by those of its plugin, and would rather be told to.
warnings.filterwarnings("ignore", message="(?s).*is validated against ConfigStore schema")
OmegaConf.register_new_resolver("jobs_at_once", jobs_at_once)  # for conf/hydra/launcher/joblib.yaml
PASSED_BY_CODE = {
    *("image_shape", "num_classes", "params", "optimizer", "total_steps"),
    *("logger", "callbacks", "plugins", "default_root_dir"),
}
CONF = str(Path(__file__).resolve().parents[1] / "conf")


class Composer:
    """Composes jobs the way Hydra does, but answers what is unknown with the nearest thing that is known.

    The parts that a job chooses (data=cifar2, model=mlp) are composed once, and the values set in a copy: a large
    sweep is checked in a moment.
    """

    def __init__(self, loader: ConfigLoader, config_name: str, searchpath: list[str]) -> None:
        self.loader = loader
        self.config_name = config_name
        self.searchpath = searchpath
        self.parser = OverridesParser.create(config_loader=loader)
        self.parse = cache(self._parse)
        self.base = cache(self._base)
        self.choices = cache(self._choices)

    def _parse(self, text: str) -> Override:
        try:
            return self.parser.parse_overrides([text])[0]
        except HydraException as error:
            key, equals, value = text.partition("=")
            hint = f"""Quote the value: '{key}="{value}"'.""" if equals else "Write key=value."
            raise BadInput(f"cannot read the override {text!r}. {hint}") from error

    def _choices(self, group: str) -> list[str]:
        """The names to choose from, none for what is no group."""
        return self.loader.get_group_options(group, config_name=self.config_name, overrides=self.searchpath)

    def _base(self, choices: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        """The config of the chosen parts, without and with Hydra's own."""
        try:
            whole = compose(self.config_name, list(choices), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            if unknown := re.match(r"Could not override '(hydra\.(launcher|sweeper)\.[^']*)'", str(error)):
                kinds = ", ".join(f"hydra/{unknown[2]}={choice}" for choice in self.choices(f"hydra/{unknown[2]}"))
                raise BadInput(f"{unknown[1]} is no setting of this {unknown[2]}. Choose another: {kinds}.") from error
            raise BadInput(" ".join(str(error).split())) from error
        config = deepcopy(whole)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return config, whole

    def expand(self, overrides: Sequence[str], *, is_sweep: bool) -> list[list[str]]:
        """The overrides of each job, in Hydra's order."""
        parsed = [self.parse(text) for text in overrides]
        for override in parsed:
            if override.is_sweep_override() and not is_sweep:
                raise BadInput(f"{override.input_line} names several values. Add -m to run them all, one job each.")
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise BadInput(
                    f"{override.input_line} is a range without steps. Try key=0.01,0.1, or hydra/sweeper=optuna."
                )
        jobs: list[list[str]] = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
        if not jobs:
            raise BadInput(f"no job matches {' '.join(overrides)}. Name at least one value for each key.")
        return jobs

    def part_choices(self, overrides: Sequence[str]) -> tuple[str, ...]:
        """Those overrides that choose a part (model=mlp) or set something of Hydra's, and are not values of a part."""
        chosen = []
        for text in overrides:
            override = self.parse(text)
            key = override.key_or_group
            if self.choices(key):
                self.check_choice(override)
            elif not key.startswith("hydra."):
                continue
            chosen.append(text)
        return tuple(chosen)

    def check_choice(self, override: Override) -> None:
        group, choice = override.key_or_group, override.value()
        choices = self.choices(group)
        if override.is_delete():
            raise BadInput(f"~{group} would remove a part that is needed. Choices: {', '.join(choices)}.")
        for name in choice if isinstance(choice, list) else [choice]:
            if name not in choices:
                word = "null" if name is None else name
                raise BadInput(
                    f"unknown {group} '{word}'.{did_you_mean(str(word), choices, prefix=f'{group}=')} "
                    f"Choices: {', '.join(choices)}."
                )

    def job(self, overrides: Sequence[str]) -> DictConfig:
        """The checked config of one job."""
        choices = self.part_choices(overrides)
        config = deepcopy(self.base(choices)[0])
        known = known_keys(config)
        for text in overrides:
            if text in choices:
                continue
            override = self.parse(text)
            if override.key_or_group not in known and not is_parameter(override, config):
                raise BadInput(self.unknown_key(override.key_or_group, known))
            if override.is_delete():
                raise BadInput(f"~{override.key_or_group} would remove a key that is needed. Set it to null instead.")
            OmegaConf.update(config, override.key_or_group, override.value())
        try:
            settings = OmegaConf.to_container(config, resolve=True)
        except OmegaConfBaseException as error:
            raise BadInput(" ".join(str(error).split())) from error
        check(cast(dict[str, Any], settings))
        return config

    def unknown_key(self, key: str, known: list[str]) -> str:
        groups = [group for group in self.loader.list_groups("") if group != "hydra"]
        group = key.partition(".")[0]
        owners = [f"{group}={choice}" for choice in self.choices(group) if self.has_key(f"{group}={choice}", key)]
        if owners:
            return f"{key} belongs to {' or '.join(owners)}, which was not chosen. Try {owners[0]} {key}=..."
        same_name = [full for full in known if full.rpartition(".")[2] == key.rpartition(".")[2]]
        hint = f" Did you mean {same_name[0]}?" if same_name else did_you_mean(key, known + groups)
        siblings = [full for full in known if full.startswith(f"{group}.")] or [*groups, "seed"]
        return f"unknown key {key!r}.{hint} Known here: {', '.join(siblings)}."

    def has_key(self, choice: str, key: str) -> bool:
        return key in known_keys(self.base((choice,))[0])


def known_keys(config: DictConfig, prefix: str = "") -> list[str]:
    """Every key that holds a value, written with dots."""
    keys = []
    for name in map(str, config):
        if name.startswith("_"):  # Hydra's own
            continue
        node = config._get_node(name)
        full = f"{prefix}{name}"
        keys += known_keys(node, f"{full}.") if isinstance(node, DictConfig) and not node._is_none() else [full]
    return keys


def is_parameter(override: Override, config: DictConfig) -> bool:
    """Whether `+part.key=value` adds a parameter that the part's constructor has, if not its YAML file.

    The constructor is imported to see: torch or lightning in most cases. What the code itself passes is not to be set.
    """
    part, _, name = override.key_or_group.rpartition(".")
    target = OmegaConf.select(config, f"{part}._target_") if part and override.is_add() else None
    if target is None or name in PASSED_BY_CODE:
        return False
    parameter = inspect.signature(get_object(target)).parameters.get(name)
    return parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD

"""Composes the configs of jobs as Hydra does, and suggests the nearest known word for an unknown one."""

import inspect
import warnings
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from itertools import product
from math import ceil, isfinite, prod
from pathlib import Path

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import settings
from src.build import as_dict
from src.errors import BadInput, did_you_mean, shortened
from src.rules import check
from src.sweep.launchers import jobs_at_once

MOST_JOBS = 100_000  # of a sweep
PASSED_BY_CODE = {
    *("image_shape", "num_classes", "params", "optimizer", "total_steps", "facts"),
    *("logger", "callbacks", "plugins", "default_root_dir"),
}


def prepare_hydra() -> None:
    """Registers conf/'s resolver, and silences the warning that a launcher is checked against its plugin's schema."""
    warnings.filterwarnings("ignore", message="(?s).*is validated against ConfigStore schema")
    OmegaConf.register_new_resolver("jobs_at_once", jobs_at_once, replace=True)  # for conf/hydra/launcher/joblib.yaml


def wanted_folder(whole: DictConfig, key: str) -> Path:
    """The output folder that Hydra would use for a config; its name has the date and the names of choices."""
    HydraConfig.instance().set_config(whole)  # Hydra needs this to resolve `${hydra:...}`
    return Path(OmegaConf.select(whole, key))


class Composer:
    """Composes jobs the way Hydra does.

    Each combination of choices (data=cifar2, model=mlp) is composed once. Other values are set in a copy of it, so that
    a large sweep is checked quickly.
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
        except (HydraException, ValueError, RecursionError) as error:  # a number may have too many digits
            key, equals, value = shortened(text).partition("=")
            hint = f"""Quote the value: '{key}="{value}"'.""" if equals else "Write key=value."
            raise BadInput(f"cannot read the override {shortened(text)!r}. {hint}") from error

    def _choices(self, group: str) -> list[str]:
        """The names to choose from; empty if there is no such group."""
        return self.loader.get_group_options(group, config_name=self.config_name, overrides=self.searchpath)

    def _base(self, choices: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        """The config of some choices, without and with the `hydra` node."""
        try:
            whole = compose(self.config_name, list(choices), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            self.check_hydra_keys(choices)
            raise BadInput(" ".join(str(error).split())) from error
        config = deepcopy(whole)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return config, whole

    def check_hydra_keys(self, choices: Sequence[str]) -> None:
        """Refuses settings that the chosen launcher or sweeper does not have."""
        values = [text for text in choices if self.parse(text).key_or_group.startswith("hydra.")]
        if not values:
            return
        _, whole = self.base(tuple(text for text in choices if text not in values))
        for override in map(self.parse, values):
            key, kind = override.key_or_group, override.key_or_group.split(".")[1]
            is_added = override.is_add() or override.is_force_add()
            if kind in ("launcher", "sweeper") and not is_added and key not in known_keys(whole.hydra, "hydra."):
                kinds = ", ".join(f"hydra/{kind}={choice}" for choice in self.choices(f"hydra/{kind}"))
                raise BadInput(f"{key} is not a setting of this {kind}. Choose another: {kinds}.")

    def expand(self, overrides: Sequence[str], *, is_sweep: bool) -> list[list[str]]:
        """The overrides of each job, in Hydra's order: the last key changes fastest."""
        parsed = map(self.parse, overrides)
        values = {override.get_key_element(): self.values(override, is_sweep=is_sweep) for override in parsed}
        if (count := prod(map(len, values.values()))) > MOST_JOBS:
            raise BadInput(f"a sweep must have at most {MOST_JOBS:,} jobs, got {count:,}. Name fewer values.")
        jobs = [list(job) for job in product(*values.values())]  # if a key is typed twice, the last one counts
        if not jobs:
            raise BadInput(f"no job matches {' '.join(overrides)}. Name at least one value for each key.")
        return jobs

    def values(self, override: Override, *, is_sweep: bool) -> list[str]:
        """One override for each typed value."""
        if not override.is_sweep_override():
            return [f"{override.get_key_element()}={override.get_value_element_as_str()}"]
        if not is_sweep:
            raise BadInput(f"{override.input_line} names several values. Add -m to run them all, one job each.")
        if not override.is_discrete_sweep():
            raise BadInput(
                f"{override.input_line} is a range without steps. Try key=0.01,0.1, or hydra/sweeper=optuna."
            )
        if (count := num_values(override)) > MOST_JOBS:
            raise BadInput(f"{override.input_line} has {count:,} values, at most {MOST_JOBS:,}. Name fewer values.")
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]

    def part_choices(self, overrides: Sequence[str]) -> tuple[str, ...]:
        """The overrides that choose from a group (model=mlp) or set a key of Hydra's."""
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
        if "/" in group and not group.startswith("hydra/"):
            raise BadInput(f"{group} is chosen by its key. Try {group.replace('/', '.')}={choice}.")
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
            check(as_dict(config))
        except OmegaConfBaseException as error:
            raise BadInput(" ".join(str(error).split())) from error
        return config

    def unknown_key(self, key: str, known: list[str]) -> str:
        groups = [group for group in self.loader.list_groups("") if group != "hydra"]
        group = key.partition(".")[0]
        typed = [f"{group}={choice}" for choice in self.choices(group)]
        owners = [choice for choice in typed if key in known_keys(self.base((choice,))[0])]
        if owners:
            return f"{key} belongs to {' or '.join(owners)}, which was not chosen. Try {owners[0]} {key}=..."
        same_name = [full for full in known if full.rpartition(".")[2] == key.rpartition(".")[2]]
        hint = f" Did you mean {same_name[0]}?" if same_name else did_you_mean(key, known + groups)
        siblings = [full for full in known if full.startswith(f"{group}.")] or [*groups, "seed"]
        return f"unknown key {key!r}.{hint} Known here: {', '.join(siblings)}."


def num_values(override: Override) -> int:
    """Counts the values of a range without creating them; 0 for other overrides.

    Raises:
        BadInput: a bound or the step of a range is missing or not finite, or the step is 0.
    """
    value = override.value()
    if not isinstance(value, RangeSweep):
        return 0
    start, stop, step = value.start or 0, value.stop, value.step
    if stop is None or not step or not all(map(isfinite, (start, stop, step))):
        raise BadInput(f"{override.input_line} is not a range with numbers and a step. Try key=range(1,4).")
    return max(0, ceil((stop - start) / step))


def known_keys(config: DictConfig, prefix: str = "") -> list[str]:
    """Every dotted key that can be set: all but the facts of a data set and Hydra's keys, such as `_target_`."""
    found = settings.flat(OmegaConf.to_container(config, resolve=False), prefix)  # type: ignore[arg-type]
    return [key for key in found if not key.startswith("data.facts.") and not key.rpartition(".")[2].startswith("_")]


def is_parameter(override: Override, config: DictConfig) -> bool:
    """Whether `+part.key=value` adds a parameter that the part's constructor has, but its YAML file does not.

    Parameters that the code itself passes cannot be added. The import of the constructor may also import torch.
    """
    part, _, name = override.key_or_group.rpartition(".")
    target = OmegaConf.select(config, f"{part}._target_") if part and override.is_add() else None
    if target is None or name in PASSED_BY_CODE:
        return False
    parameter = inspect.signature(get_object(target)).parameters.get(name)
    return parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD

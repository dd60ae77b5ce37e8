"""Turns typed overrides into jobs with checked configs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from src import settings
from src.build import as_dict
from src.command.compose import Composer, prepare_hydra
from src.errors import BadInput, must_be
from src.files import in_one_line
from src.settings import NOT_RESULTS, without_hydra
from src.sweep.launchers import check_launcher, check_one_process, threads_of
from src.sweep.search import ends, space_of

# The lowest values of the settings of hydra/sweeper=optuna.
LEAST = {"n_trials": 1, "at_once": 1, "seed": 0, "min_epochs": 1, "reduction_factor": 1}


@dataclass(frozen=True)
class Jobs:
    """The jobs that a command line asks for."""

    configs: list[DictConfig]  # the config of each job, without the `hydra` node
    overrides: list[list[str]]  # the overrides of each job, without Hydra's own
    typed: list[str]  # all overrides but Hydra's own, before lists of values are split (search: without `space`)
    hydra: list[str]  # Hydra's own overrides as typed
    swept: list[str]  # the keys that were given several values
    whole: DictConfig  # the config with the `hydra` node, from the overrides that all jobs share
    is_sweep: bool  # whether this is a sweep; a sweep may have only one job
    # search only: key -> values as typed; `configs` then holds the one config that jobs start from
    space: dict[str, str] = field(default_factory=dict)


def checked_jobs(
    overrides: Sequence[str],
    *,
    multirun: bool,
    config_path: str | None = None,
    config_name: str | None = None,
    config_dir: str | None = None,
) -> Jobs:
    """Composes and checks every job, before the first one starts. The keyword arguments are Hydra's flags.

    Raises:
        BadInput: an override is unknown or invalid.
    """
    prepare_hydra()
    try:
        with initialize_config_dir(config_dir=str(Path(config_path or settings.CONF).resolve()), version_base="1.3"):
            if config_dir:
                overrides = [f"hydra.searchpath=['file://{Path(config_dir).resolve()}']", *overrides]
            return jobs_of(overrides, multirun=multirun, config_name=config_name or "config")
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput(f"{in_one_line(error)}.") from error


def jobs_of(overrides: Sequence[str], *, multirun: bool, config_name: str) -> Jobs:
    """The checked jobs of some overrides, with Hydra ready to compose them."""
    hydra = [text for text in overrides if text not in without_hydra([text])]
    searchpath = [text for text in overrides if text.startswith("hydra.searchpath=")]
    composer = Composer(GlobalHydra.instance().config_loader(), config_name, searchpath)
    constants = [text for text in overrides if not composer.parse(text).is_sweep_override()]
    _, whole = composer.base(composer.part_choices(constants))
    if not isinstance(whole.hydra.verbose, bool | str | ListConfig):
        raise must_be("hydra.verbose", "true, false or names of loggers", whole.hydra.verbose, example="true")
    if not (multirun or whole.hydra.mode == RunMode.MULTIRUN):
        return grid(composer, overrides, whole, hydra, is_sweep=False)
    launcher = as_dict(whole.hydra.launcher)
    check_launcher(whole.hydra.runtime.choices["hydra/launcher"], launcher)
    params = threads_of(launcher) | dict(whole.hydra.sweeper.get("params") or {})
    overrides = [*(f"{key}={value}" for key, value in params.items()), *overrides]
    if whole.hydra.sweeper._target_.endswith(".OptunaSweeper"):
        return search(composer, overrides, whole, hydra)
    return grid(composer, overrides, whole, hydra, is_sweep=True)


def data_in_conf(name: str) -> dict[str, Any]:
    """The settings of a data set in conf/data/, not checked."""
    prepare_hydra()
    of_a_running_job = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(settings.CONF), version_base="1.3"):
            return dict(as_dict(compose("data", [f"data={name}"]))["data"])
    finally:
        Singleton.set_state(of_a_running_job)


def grid(composer: Composer, overrides: Sequence[str], whole: DictConfig, hydra: list[str], *, is_sweep: bool) -> Jobs:
    """The jobs of a grid, one for every combination of the typed values; or the one job of a run."""
    for override in map(composer.parse, overrides):
        if is_sweep and override.key_or_group in NOT_RESULTS and override.is_sweep_override():
            raise BadInput(f"{override.input_line} must be one value: it is the same for all jobs of a sweep.")
    lists = composer.expand(overrides, is_sweep=is_sweep)
    configs, errors = [], []
    for number, job in enumerate(lists):
        try:
            configs.append(composer.job(job))
            if is_sweep:
                check_one_process(as_dict(configs[-1].trainer))
        except BadInput as error:
            errors.append(f"job {number}: {error}" if is_sweep else str(error))
    if errors:
        raise BadInput(errors[0] + f"\n{len(errors)} of {len(lists)} jobs cannot run, so none was started." * is_sweep)
    typed = without_hydra(overrides)
    final = {override.get_key_element(): override.is_sweep_override() for override in map(composer.parse, typed)}
    swept = [key.lstrip("+") for key, several in final.items() if several]
    return Jobs(configs, [without_hydra(job) for job in lists], typed, hydra, swept, whole, is_sweep)


def search(composer: Composer, overrides: Sequence[str], whole: DictConfig, hydra: list[str]) -> Jobs:
    """The base config and space of a search. Checks a job for each choice and for both ends of each interval."""
    parsed = {composer.parse(text).key_or_group: text for text in overrides}
    space = {key: text for key, text in space_of(whole.hydra.runtime.choices.model).items() if key not in parsed}
    space |= {key: text.partition("=")[2] for key, text in parsed.items() if composer.parse(text).is_sweep_override()}
    check_search(space, whole)
    base = [text for key, text in parsed.items() if key not in space]
    for key, text in space.items():
        for end in ends(composer.parse(f"{key}={text}")):
            composer.job([*base, f"{key}={end}"])
    typed, config = without_hydra(base), composer.job(base)
    check_one_process(as_dict(config.trainer))
    if config.retry_failed:
        raise BadInput("retry_failed=true is for grids: a search proposes other jobs. Raise hydra.sweeper.n_trials.")
    return Jobs([config], [typed], typed, hydra, list(space), whole, is_sweep=True, space=space)


def check_search(space: dict[str, str], whole: DictConfig) -> None:
    if not space:
        raise BadInput("nothing is left to search. Name several values, or an interval(low,high).")
    if find_spec("optuna") is None:
        raise BadInput("hydra/sweeper=optuna is an extra. Try pip install -c constraints.txt -e '.[optuna]'.")
    for key, least in LEAST.items():
        value = whole.hydra.sweeper[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            rule = f"hydra.sweeper.{key} must be an integer >= {least}"
            raise BadInput(f"{rule}, got {value!r}. Try hydra.sweeper.{key}={max(1, least)}.")
    if "seed" in space:
        raise BadInput("seed cannot be searched: chance would decide which seed wins. Type one seed.")

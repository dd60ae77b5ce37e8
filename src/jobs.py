"""From the overrides that were typed to the checked configs of the jobs they ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from src.composer import CONF, Composer
from src.errors import BadInput
from src.settings import NOT_RESULTS, without_hydra
from src.sweep.space import ends, space_of

LEAST = {"n_trials": 1, "at_once": 1, "seed": 0, "min_epochs": 1, "reduction_factor": 1}  # of hydra/sweeper=optuna


@dataclass(frozen=True)
class Jobs:
    """What a command line asks for.

    Attributes:
        configs: one for each job, without Hydra's own part.
        overrides: those of each job, without Hydra's own.
        typed: what was typed, without Hydra's own, values of a sweep and all.
        swept: the keys that were given several values.
        whole: the config with Hydra's own part, for the overrides that are the same in all jobs.
        is_sweep: whether they are the jobs of a sweep, be it of one.
        space: of a search: the values of each key as typed; the one job is then what it starts from.
    """

    configs: list[DictConfig]
    overrides: list[list[str]]
    typed: list[str]
    swept: list[str]
    whole: DictConfig
    is_sweep: bool
    space: dict[str, str] = field(default_factory=dict)


def checked_jobs(
    overrides: Sequence[str],
    *,
    multirun: bool,
    config_path: str | None = None,
    config_name: str | None = None,
    config_dir: str | None = None,
) -> Jobs:
    """Composes and checks every job, before the first one starts.

    Args:
        overrides: as typed.
        multirun: whether `-m` was typed.
        config_path: where the configs are, if not in conf/ (Hydra's `--config-path`).
        config_name: the one to start from, if not config.yaml (`--config-name`).
        config_dir: where more of them are (`--config-dir`).

    Raises:
        BadInput: something typed is unknown or cannot be right.
    """
    with initialize_config_dir(config_dir=str(Path(config_path or CONF).resolve()), version_base="1.3"):
        if config_dir:
            overrides = [f"hydra.searchpath=['file://{Path(config_dir).resolve()}']", *overrides]
        searchpath = [text for text in overrides if text.startswith("hydra.searchpath=")]
        composer = Composer(GlobalHydra.instance().config_loader(), config_name or "config", searchpath)
        constants = [text for text in overrides if not composer.parse(text).is_sweep_override()]
        _, whole = composer.base(composer.part_choices(constants))
        is_sweep = multirun or whole.hydra.mode == RunMode.MULTIRUN
        if not is_sweep:
            return planned(composer, overrides, whole, is_sweep=False)
        check_launcher(whole.hydra.runtime.choices["hydra/launcher"], whole.hydra.launcher)
        params = threads_of(whole.hydra.launcher) | dict(whole.hydra.sweeper.get("params") or {})
        overrides = [*(f"{key}={value}" for key, value in params.items()), *overrides]
        if whole.hydra.sweeper._target_.endswith(".OptunaSweeper"):
            return searched(composer, overrides, whole)
        return planned(composer, overrides, whole, is_sweep=True)


def planned(composer: Composer, overrides: Sequence[str], whole: DictConfig, *, is_sweep: bool) -> Jobs:
    """Every combination of what was typed."""
    for override in map(composer.parse, overrides):
        if is_sweep and override.key_or_group in NOT_RESULTS and override.is_sweep_override():
            raise BadInput(f"{override.input_line} must be one value: it is the same for all jobs of a sweep.")
    lists = composer.expand(overrides, is_sweep=is_sweep)
    configs, errors = [], []
    for number, job in enumerate(lists):
        try:
            configs.append(composer.job(job))
        except BadInput as error:
            errors.append(f"job {number}: {error}" if is_sweep else str(error))
    for number, config in enumerate(configs if is_sweep else ()):
        errors += [f"job {number}: {error}" for error in one_process(config)]
    if errors:
        raise BadInput(
            errors[0] + f"\n{len(errors)} of {len(lists)} jobs cannot run, so none was started." * is_sweep,
        )
    typed = without_hydra(overrides)
    final = {override.get_key_element(): override.is_sweep_override() for override in map(composer.parse, typed)}
    swept = [key.lstrip("+") for key, several in final.items() if several]
    return Jobs(configs, [without_hydra(job) for job in lists], typed, swept, whole, is_sweep)


def searched(composer: Composer, overrides: Sequence[str], whole: DictConfig) -> Jobs:
    """What a search starts from, once it is checked that its jobs can run: with both ends of each interval."""
    parsed = {composer.parse(text).key_or_group: text for text in overrides}
    space = space_of(whole.hydra.runtime.choices.model)
    space = {key: text for key, text in space.items() if key not in parsed}
    space |= {key: text.partition("=")[2] for key, text in parsed.items() if composer.parse(text).is_sweep_override()}
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
        raise BadInput("seed cannot be searched: the luckiest would win. Type one seed.")
    base = [text for key, text in parsed.items() if key not in space]
    for key, text in space.items():
        for end in ends(composer.parse(f"{key}={text}")):
            composer.job([*base, f"{key}={end}"])
    typed, config = without_hydra(base), composer.job(base)
    for error in one_process(config):
        raise BadInput(error)
    if config.retry_failed:
        raise BadInput("retry_failed=true is for grids: a search proposes other jobs. Raise hydra.sweeper.n_trials.")
    return Jobs([config], [typed], typed, list(space), whole, is_sweep=True, space=space)


def threads_of(launcher: DictConfig) -> dict[str, int]:
    """The override by which each job of a launcher of several processes gets its share of the CPU.

    It is named, since with another number of threads the last digits of a result differ.
    """
    if launcher._target_.endswith(".BasicLauncher"):
        return {}
    return {"threads": launcher.get("cpus_per_task") or OmegaConf.select(launcher, "ray.remote.num_cpus") or 1}


def one_process(config: DictConfig) -> list[str]:
    """What is wrong with a job of a sweep that is to be trained by several processes."""
    devices = config.trainer.devices
    several = len(devices) > 1 if isinstance(devices, ListConfig) else devices not in (1, "1")
    if not several and "ddp" not in str(config.trainer.strategy):
        return []
    return ["a job of a sweep is trained by one process, on one device: leave out trainer=ddp and trainer.devices."]


def check_launcher(name: str, settings: DictConfig) -> None:
    """A launcher is a plugin, most of which are extras.

    Raises:
        BadInput: it is not installed, or cannot start anything.
    """
    target = settings._target_
    plugin = ".".join(target.split(".")[:2])  # hydra_plugins.hydra_joblib_launcher
    if target.startswith("hydra_plugins.") and not (find_spec("hydra_plugins") and find_spec(plugin)):
        extra = name.partition("_")[0]
        raise BadInput(f"hydra/launcher={name} is an extra. Try pip install -c constraints.txt -e '.[{extra}]'.")
    if target.endswith(".SlurmLauncher") and not which("srun"):
        raise BadInput(f"hydra/launcher={name} needs Slurm, and here is no srun. Try hydra/launcher=submitit_local.")
    if settings.get("n_jobs") == 0:
        raise BadInput("hydra.launcher.n_jobs must not be 0. Try hydra.launcher.n_jobs=2, or -1 for one a core.")

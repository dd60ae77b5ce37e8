"""Rules for a job's settings. They are checked before any data is loaded, and need torch only to count GPUs."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

from src.datasets.data_rules import check_data
from src.datasets.facts import described
from src.errors import BadInput, did_you_mean, must_be
from src.settings import choices, groups, is_integer
from src.steps.devices import check_devices, check_shares

LARGEST_SEED = 2**32 - 1
LARGEST_FLOAT32 = 3.4028234e38
MOST_THREADS = 1024  # torch crashes with very many
MOST_WEIGHTS = 250_000_000  # of a network: 1 GB, and three times as much with Adam


@dataclass(frozen=True)
class Rule:
    """A rule for the value of a key."""

    text: str  # completes "must be ..."
    holds: Callable[[Any], bool]  # whether a value satisfies the rule
    example: str  # a valid value to suggest


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_FLOAT32


def is_path(value: Any) -> bool:
    return isinstance(value, str | int) and value not in ("", True, False)


def is_source(value: Any) -> bool:
    """Whether a value is a path, or an http(s) address to download from."""
    scheme, mark, _ = str(value).partition("://")
    return is_path(value) and (not mark or scheme in ("http", "https"))


def integer(low: int, high: int | None = None, *, example: int, or_null: bool = False) -> Rule:
    limits = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    return Rule(
        limits + " or null" * or_null,
        lambda value: (or_null and value is None) or (is_integer(value) and low <= value <= (high or value)),
        str(example),
    )


def number(text: str, holds: Callable[[float], bool], *, example: str) -> Rule:
    return Rule(text, lambda value: is_number(value) and holds(value), example)


def one_of(*choices: str, or_null: bool = False) -> Rule:
    text = f"one of {', '.join(choices)}{', null' * or_null}"
    return Rule(text, lambda value: value in choices or (or_null and value is None), choices[0])


def is_list_of(values: Any, low: int) -> bool:
    """Whether a value is a list of one or more integers that are not below `low`."""
    return isinstance(values, list) and bool(values) and all(is_integer(value) and value >= low for value in values)


def numbers(text: str, holds: Callable[[float], bool], *, example: str) -> Rule:
    return Rule(
        text,
        lambda values: isinstance(values, list) and all(is_number(value) and holds(value) for value in values),
        example,
    )


IS_TRUE_OR_FALSE = Rule("true or false", lambda value: isinstance(value, bool), "true")
SWITCHES = (
    *("retry_failed", "force_resume", "cuda_graph", "graph", "fetch", "stats", "figure", "model.batch_norm"),
    *("data.drop_last", "data.normalize", "data.augment.flip"),
)
LARGEST_COUNT = 1_000_000_000  # of images, epochs and steps


def auto_or(high: int) -> Rule:
    return Rule(
        f"auto or an integer from 1 to {high}",
        lambda value: value == "auto" or (is_integer(value) and 1 <= value <= high),
        "1",
    )


SIZES = {
    "channels": integer(1, 4, example=3),
    "size": integer(1, 1024, example=28),
    "train_per_class": integer(1, LARGEST_COUNT, example=200),
    "test_per_class": integer(1, LARGEST_COUNT, example=50),
}
LIMIT = Rule(
    "null, an integer >= 1 (batches) or a number > 0 and <= 1 (fraction of the batches)",
    lambda limit: limit is None or (is_integer(limit) and limit >= 1) or (is_number(limit) and 0 < limit <= 1),
    "5",
)

OR_NULL = Rule("true, false or null", lambda value: value is None or isinstance(value, bool), "null")
COUNT_OR_NULL = integer(1, LARGEST_COUNT, example=1, or_null=True)
# Every parameter of lightning.pytorch.Trainer that can be typed.
TRAINER: dict[str, Rule] = {
    "max_epochs": integer(1, 1_000_000, example=10),
    **dict.fromkeys(("min_epochs", "min_steps", "check_val_every_n_epoch"), COUNT_OR_NULL),
    "max_steps": integer(-1, LARGEST_COUNT, example=-1),
    "max_time": Rule(
        "null or a time as DD:HH:MM:SS",
        lambda time: time is None or (isinstance(time, str) and bool(re.fullmatch(r"\d\d(:\d\d){3}", time))),
        "'00:01:30:00'",
    ),
    **{f"limit_{split}_batches": LIMIT for split in ("train", "val", "test", "predict")},
    "overfit_batches": number("a number >= 0", lambda share: share >= 0, example="0"),
    "fast_dev_run": Rule("true, false or an integer >= 0", lambda run: isinstance(run, int) and run >= 0, "true"),
    "val_check_interval": LIMIT,
    **dict.fromkeys(("log_every_n_steps", "num_sanity_val_steps"), integer(0, LARGEST_COUNT, example=0, or_null=True)),
    **dict.fromkeys(("accumulate_grad_batches", "num_nodes"), integer(1, LARGEST_COUNT, example=1)),
    "reload_dataloaders_every_n_epochs": integer(0, LARGEST_COUNT, example=0),
    "gradient_clip_val": Rule(
        "null or a finite number >= 0",
        lambda limit: limit is None or (is_number(limit) and limit >= 0),
        "1.0",
    ),
    "gradient_clip_algorithm": one_of("norm", "value", or_null=True),
    "deterministic": Rule(
        "true, false, null or warn",
        lambda value: value in (None, "warn") or isinstance(value, bool),
        "true",
    ),
    **dict.fromkeys(("benchmark", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), OR_NULL),
    **dict.fromkeys(("inference_mode", "use_distributed_sampler", "detect_anomaly", "barebones"), IS_TRUE_OR_FALSE),
    **dict.fromkeys(("sync_batchnorm", "enable_autolog_hparams"), IS_TRUE_OR_FALSE),
    "profiler": one_of("simple", "advanced", "pytorch", or_null=True),
    "model_registry": Rule("null", lambda name: name is None, "null"),
    "precision": one_of("32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"),
    "strategy": one_of("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false"),
    "devices": Rule(
        "an integer >= 1, auto, or a list of device numbers",
        lambda devices: devices == "auto" or is_list_of(devices, 0) or (is_integer(devices) and devices >= 1),
        "1",
    ),
    "accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps"),
}
RULES: dict[str, Rule] = {
    "resume": Rule("never, auto, must or the folder of a run or sweep", is_path, "auto"),
    **dict.fromkeys(SWITCHES, IS_TRUE_OR_FALSE),
    **dict.fromkeys(("seed", "data.seed", "data.split_seed"), integer(0, LARGEST_SEED, example=0)),
    "threads": auto_or(MOST_THREADS),
    "steps_per_execution": auto_or(LARGEST_COUNT),
    "pruner": Rule("null (hydra/sweeper=optuna sets it)", lambda pruner: pruner is None, "null"),
    "matmul_precision": one_of("highest", "high", "medium"),
    "figures": Rule("true, false or all", lambda value: value == "all" or isinstance(value, bool), "true"),
    "data.root": Rule("a folder", is_path, "data"),
    "data.source": one_of("auto", "synthetic"),
    "data.sources": Rule(
        "a list of one or more folders, files and http(s) addresses",
        lambda sources: isinstance(sources, list) and bool(sources) and all(map(is_source, sources)),
        "[data]",
    ),
    "data.cache": Rule("a folder or null", lambda cache: cache is None or is_path(cache), "data/cache"),
    "data.validation": one_of("train", "test"),
    "data.resize": integer(1, 1024, example=32, or_null=True),
    "data.mean": numbers("a list of finite numbers, one per channel", lambda mean: True, example="[0.5]"),
    "data.std": numbers("a list of finite numbers > 0, one per channel", lambda std: std > 0, example="[0.25]"),
    "data.num_classes": integer(2, 1000, example=10),
    **{f"{parent}.{name}": rule for parent in ("data", "data.facts") for name, rule in SIZES.items()},
    "model.hidden_sizes": Rule(
        "a list of one or more integers >= 1",
        lambda sizes: is_list_of(sizes, 1),
        "[256,128]",
    ),
    "model.dropout": number("a number >= 0 and < 1", lambda fraction: 0 <= fraction < 1, example="0.5"),
    "optimizer.lr": number("a finite number > 0", lambda lr: lr > 0, example="0.1"),
    "optimizer.momentum": number("a number >= 0 and < 1", lambda momentum: 0 <= momentum < 1, example="0.9"),
    "optimizer.weight_decay": number("a finite number >= 0", lambda decay: decay >= 0, example="0.0001"),
    "scheduler.warmup_fraction": number("a number > 0 and < 1", lambda fraction: 0 < fraction < 1, example="0.3"),
    **{f"trainer.{name}": rule for name, rule in TRAINER.items()},
}


def check(settings: Mapping[str, Any]) -> None:
    """Checks one job's settings, as nested plain dicts.

    Raises:
        BadInput: a setting breaks a rule. The message has the key, the rule, the value and what to type instead.
    """
    for key, rule in RULES.items():
        *parents, name = key.split(".")
        section = reduce(lambda inner, parent: inner.get(parent) or {}, parents, settings)
        if name in section and not rule.holds(section[name]):
            raise must_be(key, rule.text, section[name], example=rule.example)
    check_names(settings)
    num_images = check_data(settings["data"])
    check_size(settings)
    if "trainer" in settings:
        check_shares(settings, num_images=num_images)
        check_devices(settings["trainer"])


def check_names(settings: Mapping[str, Any]) -> None:
    """Checks settings that name a choice of an inner group, such as `model.loss`."""
    for part in set(groups()) & settings.keys():
        for name in set(groups(part)) & settings[part].keys():
            known, value = choices(f"{part}/{name}"), settings[part][name]
            if value not in known:
                hint = did_you_mean(str(value), known, prefix=f"{part}.{name}=")
                raise BadInput(f"unknown {part}.{name} {value!r}.{hint} Choices: {', '.join(known)}.")


def check_size(settings: Mapping[str, Any]) -> None:
    """Refuses hidden layers with more than `MOST_WEIGHTS` weights, before they are created."""
    if sizes := settings.get("model", {}).get("hidden_sizes"):
        size = settings["data"]["resize"] or described(settings["data"]).size
        widths = [described(settings["data"]).channels * size**2, *sizes]
        num_weights = sum(left * right for left, right in pairwise(widths))
        if num_weights > MOST_WEIGHTS:
            rule = f"sizes with at most {MOST_WEIGHTS:,} weights between them (these have {num_weights:,})"
            raise must_be("model.hidden_sizes", rule, sizes, example="[256,128]")

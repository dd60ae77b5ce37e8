"""Rules for a job's settings. They are checked before any data is loaded, and need torch only to count GPUs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from src.datasets.facts import DataSet, described
from src.errors import BadInput, did_you_mean
from src.settings import choices, groups

LARGEST_SEED = 2**32 - 1
LARGEST_FLOAT32 = 3.4028234e38


@dataclass(frozen=True)
class Rule:
    """A rule for the value of a key."""

    text: str  # completes "must be ..."
    holds: Callable[[Any], bool]  # whether a value satisfies the rule
    example: str  # a valid value to suggest


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
        lambda value: (or_null and value is None) or (is_integer(value) and low <= value and value <= (high or value)),
        str(example),
    )


def number(text: str, holds: Callable[[float], bool], *, example: str) -> Rule:
    return Rule(text, lambda value: is_number(value) and holds(value), example)


def one_of(*choices: str) -> Rule:
    return Rule("one of " + ", ".join(choices), lambda value: value in choices, choices[0])


def numbers(text: str, holds: Callable[[float], bool], *, example: str) -> Rule:
    return Rule(
        text,
        lambda values: isinstance(values, list) and all(is_number(value) and holds(value) for value in values),
        example,
    )


IS_TRUE_OR_FALSE = Rule("true or false", lambda value: isinstance(value, bool), "true")
SWITCHES = (
    *("retry_failed", "cuda_graph", "graph", "fetch", "stats", "figure", "model.batch_norm"),
    *("data.drop_last", "data.normalize", "data.augment.flip"),
)
AUTO_OR_INTEGER = Rule(
    "auto or an integer >= 1", lambda value: value == "auto" or (is_integer(value) and value >= 1), "1"
)

SIZES = {
    "channels": integer(1, 4, example=3),
    "size": integer(1, 1024, example=28),
    "train_per_class": integer(1, example=200),
    "test_per_class": integer(1, example=50),
}
LIMIT = Rule(
    "null, an integer >= 1 (batches) or a number > 0 and <= 1 (fraction of the batches)",
    lambda limit: limit is None or (is_integer(limit) and limit >= 1) or (is_number(limit) and 0 < limit <= 1),
    "5",
)

RULES: dict[str, Rule] = {
    "resume": Rule("never, auto, must or the folder of a run or sweep", is_path, "auto"),
    **dict.fromkeys(SWITCHES, IS_TRUE_OR_FALSE),
    **dict.fromkeys(("seed", "data.seed", "data.split_seed"), integer(0, LARGEST_SEED, example=0)),
    **dict.fromkeys(("threads", "steps_per_execution"), AUTO_OR_INTEGER),
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
        lambda sizes: isinstance(sizes, list) and bool(sizes) and all(is_integer(size) and size >= 1 for size in sizes),
        "[256,128]",
    ),
    "model.dropout": number("a number >= 0 and < 1", lambda fraction: 0 <= fraction < 1, example="0.5"),
    "optimizer.lr": number("a finite number > 0", lambda lr: lr > 0, example="0.1"),
    "optimizer.momentum": number("a number >= 0 and < 1", lambda momentum: 0 <= momentum < 1, example="0.9"),
    "optimizer.weight_decay": number("a finite number >= 0", lambda decay: decay >= 0, example="0.0001"),
    "scheduler.warmup_fraction": number("a number > 0 and < 1", lambda fraction: 0 < fraction < 1, example="0.3"),
    "trainer.max_epochs": integer(1, example=10),
    **{f"trainer.limit_{split}_batches": LIMIT for split in ("train", "val", "test")},
    "trainer.devices": Rule(
        "an integer >= 1, auto, or a list of device numbers",
        lambda devices: devices == "auto" or isinstance(devices, list) or (is_integer(devices) and devices >= 1),
        "1",
    ),
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
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
            raise broken(key, rule.text, section[name], example=rule.example)
    check_names(settings)
    num_images = check_data(settings["data"])
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


def broken(key: str, rule: str, value: Any, *, example: str) -> BadInput:
    return BadInput(f"{key} must be {rule}, got {value!r}. Try {key}={example}.")


def check_data(data: Mapping[str, Any]) -> int:
    """Checks the settings that depend on the data set's facts; returns the number of images to train on."""
    data_set = described(data)
    num_classes = check_classes(data.get("classes"), data_set) if "classes" in data else len(data_set.class_names)
    for key in ("mean", "std"):
        if len(data[key]) != data_set.channels:
            rule = f"a list of {data_set.channels} numbers, one per channel of {data_set.name}"
            raise broken(f"data.{key}", rule, data[key], example=str([0.5] * data_set.channels).replace(" ", ""))
    side = data["resize"] or data_set.size
    if not is_integer(shift := data["augment"]["shift"]) or not 0 <= shift < side:
        rule = f"an integer from 0 to {side - 1} (images are {side} pixels wide)"
        raise broken("data.augment.shift", rule, shift, example="2")
    return check_counts(data, num_images=num_classes * data_set.train_per_class)


def check_classes(classes: Any, data_set: DataSet) -> int:
    """Checks data.classes; returns the number of classes."""
    if classes is None:
        return len(data_set.class_names)
    known = ", ".join(data_set.class_names)
    if not isinstance(classes, list) or len(classes) < 2 or len({str(name) for name in classes}) < len(classes):
        example = f"[{','.join(data_set.class_names[:2])}]"
        raise broken(
            "data.classes", f"a list of two or more different classes out of {known}", classes, example=example
        )
    for name in classes:
        if name not in data_set.class_names:
            hint = did_you_mean(str(name), data_set.class_names)
            raise BadInput(f"unknown class {name!r} in data.classes.{hint} Choices: {known}.")
    return len(classes)


def check_counts(data: Mapping[str, Any], *, num_images: int) -> int:
    """Checks that splits and batches fit into the training set; returns the number of images to train on."""
    if not is_integer(data["val_size"]) or not 1 <= data["val_size"] < num_images:
        raise BadInput(
            f"data.val_size must be between 1 and {num_images - 1} (the training set has {num_images} images), "
            f"got {data['val_size']!r}. Try data.val_size={num_images // 10}."
        )
    if data["validation"] == "train":
        num_images -= data["val_size"]
    train_size = data["train_size"]
    if train_size is not None:
        if not is_integer(train_size) or not 1 <= train_size <= num_images:
            rule = f"null or an integer from 1 to {num_images} (the training images left)"
            raise broken("data.train_size", rule, train_size, example="null")
        num_images = train_size
    batch_size = data["batch_size"]
    if batch_size != "full" and not (is_integer(batch_size) and 1 <= batch_size <= num_images):
        rule = f"an integer from 1 to {num_images} (the size of the training set) or full"
        raise broken("data.batch_size", rule, batch_size, example=str(min(64, num_images)))
    return num_images


def check_shares(settings: Mapping[str, Any], *, num_images: int) -> None:
    """Checks that processes share every batch equally, and that batch normalization never gets a single image."""
    devices, batch_size = settings["trainer"]["devices"], settings["data"]["batch_size"]
    num_processes = devices if is_integer(devices) else len(devices) if isinstance(devices, list) else 1
    if batch_size == "full":
        batch_size = num_images
    elif batch_size % num_processes:
        rule = f"a multiple of the {num_processes} processes of trainer.devices, which share every batch"
        raise broken(
            "data.batch_size", rule, batch_size, example=str(num_processes * max(1, batch_size // num_processes))
        )
    last = batch_size if settings["data"]["drop_last"] else num_images % batch_size or batch_size
    if settings["model"].get("batch_norm") and 1 in (batch_size // num_processes, last // num_processes):
        raise BadInput(
            f"data.batch_size={settings['data']['batch_size']} leaves one of the {num_images} images alone in a "
            "batch, which model.batch_norm cannot normalize. Try another data.batch_size."
        )


def check_devices(trainer: Mapping[str, Any]) -> None:
    """Checks that the GPUs exist if the settings ask for GPUs; imports torch only then."""
    accelerator, devices = trainer["accelerator"], trainer["devices"]
    several = is_integer(devices) and devices > 1
    if accelerator not in ("gpu", "cuda") and not (accelerator == "auto" and several):
        return
    import torch

    num_gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if accelerator != "auto" and num_gpus == 0:
        raise BadInput(
            f"trainer.accelerator={accelerator} needs a GPU, but torch finds none. Try trainer.accelerator=cpu."
        )
    if several and 0 < num_gpus < devices:
        raise BadInput(
            f"trainer.devices must be an integer from 1 to {num_gpus} (the GPUs torch finds), got {devices}. "
            f"Try trainer.devices={num_gpus} or trainer.accelerator=cpu."
        )

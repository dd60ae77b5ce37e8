import inspect
import re

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning import Trainer
from omegaconf import OmegaConf

from src import settings
from src.build import as_dict
from src.command.compose import PASSED_BY_CODE, known_keys
from src.errors import BadInput
from src.rules import RULES, TRAINER, check, check_devices
from src.settings import choices, groups
from tests.conftest import composed
from tests.data_files import facts

FREE_KEYS = {  # checked together with other keys
    *("data.classes", "data.batch_size", "data.val_size", "data.train_size", "data.augment.shift"),
}
PARTS = [f"{group}={name}" for group in ("data", "model", "optimizer", "scheduler") for name in choices(group)]
TWO_PROCESSES = "trainer.devices=2 trainer.accelerator=cpu"
SEED = "an integer from 0 to 4294967295"
LIMIT = "null, an integer >= 1 (batches) or a number > 0 and <= 1 (fraction of the batches)"
SOURCES = "a list of one or more folders, files and http(s) addresses"
BATCH_SIZE = "an integer from 1 to {} (the size of the training set) or full"
VAL_SIZE = "between 1 and 59999 (the training set has 60000 images)"
SHARED = "a multiple of the 2 processes of trainer.devices, which share every batch"
CIFAR10 = ", ".join(facts("cifar10")["class_names"])
CLASSES = f"a list of two or more different classes out of {CIFAR10}"


def checked(words: str) -> None:
    check(as_dict(composed(*words.split())))


def error(words: str) -> str:
    with pytest.raises(BadInput) as caught:
        checked(words)
    return str(caught.value)


ALLOWED = [
    *("data.batch_size=55000", "data.batch_size=1", "data.batch_size=full"),
    *("data.validation=test data.batch_size=60000", "data=cifar2 data.batch_size=9000"),
    *("data=cifar2 data.classes=[cat,dog,frog] data.batch_size=14000", f"{TWO_PROCESSES} data.batch_size=64"),
    *("data.augment.shift=27", "data.resize=32 data.augment.shift=31", "data=cifar2 data.augment.shift=31"),
    "model=mlp model.batch_norm=true data.batch_size=54999 data.drop_last=true",  # drops the last batch, of one image
    *("data.sources=['https://site/x.tar.gz',data]", "data.sources=[/mnt/images]", "data.sources=['http://site/x/']"),
]


@pytest.mark.parametrize("words", [*PARTS, *ALLOWED])
def test_default_values_and_values_at_their_limits_are_allowed(words: str) -> None:
    checked(words)


def test_every_key_has_a_rule_or_is_listed_as_free() -> None:
    keys = {key for part in PARTS for key in known_keys(composed(part))} - {"debug"}
    with initialize_config_dir(config_dir=str(settings.CONF), version_base="1.3"):
        keys |= set(known_keys(compose("data")))
    names = {f"{part}.{name}" for part in groups() for name in groups(part)}
    keys |= {f"trainer.{name}" for name in TRAINER}
    assert keys == {key for key in RULES if not key.startswith("data.facts.")} | names | FREE_KEYS


def test_every_parameter_of_the_trainer_has_a_rule() -> None:
    parameters = inspect.signature(Trainer.__init__).parameters.keys() - {"self"} - PASSED_BY_CODE
    assert parameters == TRAINER.keys()


@pytest.mark.parametrize(
    ("words", "values", "rule", "example"),
    [
        ("seed", ["-1", "1.5", "4294967296", "true", "null", "abc"], SEED, "0"),
        ("threads", ["0", "-1", "1.5", "true", "null", "all"], "auto or an integer from 1 to 1024", "1"),
        (
            "steps_per_execution",
            ["0", "-1", "2.5", "true", "null", "epoch"],
            "auto or an integer from 1 to 1000000000",
            "1",
        ),
        ("matmul_precision", ["tf32", "true", "null"], "one of highest, high, medium", "highest"),
        ("cuda_graph", ["1", "null", "auto"], "true or false", "true"),
        ("resume", ["null", "true", "''"], "never, auto, must or the folder of a run or sweep", "auto"),
        ("retry_failed", ["1", "null"], "true or false", "true"),
        ("pruner", ["1", "{_target_:os.system}"], "null (hydra/sweeper=optuna sets it)", "null"),
        ("optimizer.lr", ["0", "-1", "nan", "inf", "1e39"], "a finite number > 0", "0.1"),
        ("optimizer.lr", ["9" * 40, "abc", "true", "null"], "a finite number > 0", "0.1"),
        ("optimizer.weight_decay", ["-0.1", "inf"], "a finite number >= 0", "0.0001"),
        ("optimizer.momentum", ["1", "-0.5"], "a number >= 0 and < 1", "0.9"),
        ("scheduler=one_cycle scheduler.warmup_fraction", ["1"], "a number > 0 and < 1", "0.3"),
        ("trainer.max_epochs", ["0", "2.5", "-1", "null", "9" * 24], "an integer from 1 to 1000000", "10"),
        ("trainer.accelerator", ["cqu"], "one of auto, cpu, gpu, cuda, mps", "auto"),
        ("trainer.limit_val_batches", ["0", "-1", "2.5"], LIMIT, "5"),
        ("trainer.devices", ["0", "-1", "some", "1.5"], "an integer >= 1, auto, or a list of device numbers", "1"),
        ("data.root", ["null", "''", "true", "[a]"], "a folder", "data"),
        ("data.source", ["real"], "one of auto, synthetic", "auto"),
        ("data.sources", ["[]", "data", "[data,null]", "['ftp://site/x']", "[[data]]", "['']"], SOURCES, "[data]"),
        ("data.cache", ["''", "true", "[a]"], "a folder or null", "data/cache"),
        ("data.drop_last", ["1", "yes please"], "true or false", "true"),
        ("data.augment.flip", ["1", "null"], "true or false", "true"),
        ("data.validation", ["val"], "one of train, test", "train"),
        ("data.split_seed", ["-1"], SEED, "0"),
        ("data.resize", ["0", "2000", "28.5"], "an integer from 1 to 1024 or null", "32"),
        ("data.normalize", ["2", "maybe"], "true or false", "true"),
        ("data.mean", ["0.5", "[a]"], "a list of finite numbers, one per channel", "[0.5]"),
        ("data.std", ["[0]", "[-1]"], "a list of finite numbers > 0, one per channel", "[0.25]"),
        ("data=cifar2 data.std", ["[0.5]"], "a list of 3 numbers, one per channel of CIFAR-10", "[0.5,0.5,0.5]"),
        ("model=mlp model.hidden_sizes", ["[]", "[0]", "[8,-1]"], "a list of one or more integers >= 1", "[256,128]"),
        ("model=mlp model.hidden_sizes", ["[1.5]", "8"], "a list of one or more integers >= 1", "[256,128]"),
        ("model=mlp model.hidden_sizes", ["[true]", "null"], "a list of one or more integers >= 1", "[256,128]"),
        ("model=mlp model.dropout", ["1", "-0.1"], "a number >= 0 and < 1", "0.5"),
        ("model=mlp model.batch_norm", ["1"], "true or false", "true"),
        ("data.batch_size", ["0", "-4", "32.5", "true", "half", "55001", "null"], BATCH_SIZE.format(55000), "64"),
        ("data.drop_last=true data.batch_size", ["60000"], BATCH_SIZE.format(55000), "64"),
        ("data=cifar2 data.batch_size", ["9001"], BATCH_SIZE.format(9000), "64"),
        ("data.train_size=100 data.batch_size", ["101"], BATCH_SIZE.format(100), "64"),
        (f"{TWO_PROCESSES} data.batch_size", ["65"], SHARED, "64"),
        ("trainer.log_every_n_steps", ["auto", "-1"], "an integer from 0 to 1000000000 or null", "0"),
        ("trainer.accumulate_grad_batches", ["0", "null", "{a:1}"], "an integer from 1 to 1000000000", "1"),
        ("trainer.detect_anomaly", ["1", "null"], "true or false", "true"),
        ("trainer.profiler", ["true", "5"], "one of simple, advanced, pytorch, null", "simple"),
        ("trainer.val_check_interval", ["1e24", "0", "-1"], LIMIT, "5"),
        ("trainer.gradient_clip_val", ["-1", "norm"], "null or a finite number >= 0", "1.0"),
        ("trainer.max_time", ["5", "1:00"], "null or a time as DD:HH:MM:SS", "'00:01:30:00'"),
        ("trainer.devices", ["[]", "0", "[a]"], "an integer >= 1, auto, or a list of device numbers", "1"),
        ("data.train_size", ["55001"], "null or an integer from 1 to 55000 (the training images left)", "null"),
        ("data.val_size", ["0", "60000", "1.5", "null"], VAL_SIZE, "6000"),
        ("data.validation=test data.val_size", ["abc"], VAL_SIZE, "6000"),  # must be a number even if it is not used
        ("data=cifar2 data.classes", ["[]", "[bird]", "[bird,bird]", "bird"], CLASSES, "[airplane,automobile]"),
        ("data.augment.shift", ["28", "-1"], "an integer from 0 to 27 (images are 28 pixels wide)", "2"),
        ("data.augment.shift", ["1.5", "null", "true"], "an integer from 0 to 27 (images are 28 pixels wide)", "2"),
    ],
)
def test_a_value_out_of_range_is_answered_with_its_rule(words: str, values: list[str], rule: str, example: str) -> None:
    *others, key = words.split()
    for value in values:
        config = composed(*others, f"++{key}={value}")
        with pytest.raises(BadInput) as caught:
            check(as_dict(config))
        parsed = OmegaConf.select(config, key)
        parsed = OmegaConf.to_container(parsed) if OmegaConf.is_list(parsed) else parsed
        assert str(caught.value) == f"{key} must be {rule}, got {parsed!r}. Try {key}={example}."


@pytest.mark.parametrize(
    "words",
    [
        *("data.batch_size=1", "data.batch_size=54999", "data.batch_size=full data.train_size=1"),
        f"data.batch_size=2 {TWO_PROCESSES}",
    ],
)
def test_batch_norm_needs_at_least_two_images_per_batch(words: str) -> None:
    checked(f"model=mlp {words}")
    text = r"data\.batch_size=\w+ leaves one of the \d+ images alone in a batch, which model\.batch_norm cannot"
    assert re.match(text, error(f"model=mlp model.batch_norm=true {words}"))


def test_an_unknown_name_is_answered_with_the_nearest_known_one() -> None:
    hint, known = "Did you mean model.activation=relu?", ", ".join(choices("model/activation"))
    assert error("model=mlp model.activation=rely") == f"unknown model.activation 'rely'. {hint} Choices: {known}."
    assert error("model.loss=null").startswith("unknown model.loss None. Choices: ")
    text = f"unknown class 'brid' in data.classes. Did you mean bird? Choices: {CIFAR10}."
    assert error("data=cifar2 data.classes=[airplane,brid]") == text


def test_the_requested_gpus_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    none = "trainer.accelerator=gpu needs a GPU, but torch finds none. Try trainer.accelerator=cpu."
    assert error("trainer=gpu") == none
    with pytest.raises(BadInput, match=f"^{re.escape(none)}$"):
        check_devices({"accelerator": "gpu", "devices": 1})
    check_devices({"accelerator": "auto", "devices": 2})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_devices({"accelerator": "gpu", "devices": 1})
    one = "trainer.devices must be an integer from 1 to 1 (the GPUs torch finds), got 2. "
    with pytest.raises(BadInput, match=f"^{re.escape(one)}Try trainer.devices=1 or trainer.accelerator=cpu.$"):
        check_devices({"accelerator": "auto", "devices": 2})


def test_more_processes_than_cores_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for accelerator in ("cpu", "auto"):
        text = r"^trainer\.devices must be an integer from 1 to 2 \(CPU cores\), got 16\. Try trainer\.devices=1\.$"
        with pytest.raises(BadInput, match=text):
            check_devices({"accelerator": accelerator, "devices": 16})


def test_what_needs_more_memory_than_a_machine_has_is_refused_before_it_is_made() -> None:
    weights = "sizes with at most 250,000,000 weights between them (these have 1,000,784,000,000)"
    words = "model=mlp model.hidden_sizes=[1000000,1000000]"
    assert error(words).startswith(f"model.hidden_sizes must be {weights}, got [1000000, 1000000]. Try")
    images = "the images would need {} of memory, more than {}. Try smaller or fewer images."
    assert error("data=synthetic data.train_per_class=1000000000") == images.format("7,301.6 GiB", "1")
    assert error("data.resize=1000") == images.format("65.2 GiB", "16")

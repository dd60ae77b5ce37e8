import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src import settings
from src.build import as_dict
from src.command.compose import known_keys
from src.errors import BadInput
from src.rules import RULES, check, check_devices
from src.settings import choices, groups
from tests.conftest import Compose

FREE_KEYS = {  # judged by Hydra, Lightning or the file system, or together with other keys
    "data.classes",
    "data.batch_size",
    "data.val_size",
    "data.train_size",
    "data.augment.shift",
    "trainer.strategy",
    "trainer.precision",
    "trainer.gradient_clip_val",
    "trainer.deterministic",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.num_sanity_val_steps",
    "trainer.log_every_n_steps",
}
PARTS = [f"{group}={name}" for group in ("data", "model", "optimizer", "scheduler") for name in choices(group)]


def checked(config: Compose, *overrides: str) -> None:
    check(as_dict(config(*overrides)))


@pytest.mark.parametrize("part", PARTS)
def test_the_defaults_of_every_part_keep_the_rules(config: Compose, part: str) -> None:
    checked(config, part)


def test_every_key_has_a_rule_or_is_known_to_be_free(config: Compose) -> None:
    keys = {key for part in PARTS for key in known_keys(config(part))} - {"debug"}
    with initialize_config_dir(config_dir=str(settings.CONF), version_base="1.3"):
        keys |= set(known_keys(compose("data")))
    names = {f"{part}.{name}" for part in groups() for name in groups(part)}
    assert keys == {key for key in RULES if not key.startswith("data.facts.")} | names | FREE_KEYS


@pytest.mark.parametrize(
    ("key", "values", "rule", "example"),
    [
        ("seed", ["-1", "1.5", "4294967296", "true", "null", "abc"], "an integer from 0 to 4294967295", "0"),
        ("threads", ["0", "-1", "1.5", "true", "null", "all"], "auto or an integer >= 1", "1"),
        ("steps_per_execution", ["0", "-1", "2.5", "true", "null", "epoch"], "auto or an integer >= 1", "1"),
        ("matmul_precision", ["tf32", "true", "null"], "one of highest, high, medium", "highest"),
        ("cuda_graph", ["1", "null", "auto"], "true or false", "true"),
        ("resume", ["null", "true", "''"], "never, auto, must or the folder of a run or sweep", "auto"),
        ("retry_failed", ["1", "null"], "true or false", "true"),
        ("pruner", ["1", "{_target_:os.system}"], "null (hydra/sweeper=optuna sets it)", "null"),
        (
            "optimizer.lr",
            ["0", "-1", "nan", "inf", "1e39", "9" * 400, "abc", "true", "null"],
            "a finite number > 0",
            "0.1",
        ),
        ("optimizer.weight_decay", ["-0.1", "inf"], "a finite number >= 0", "0.0001"),
        ("optimizer.momentum", ["1", "-0.5"], "a number >= 0 and < 1", "0.9"),
        ("trainer.max_epochs", ["0", "2.5", "-1", "null"], "an integer >= 1", "10"),
        ("trainer.accelerator", ["cqu"], "one of auto, cpu, gpu, cuda, mps, tpu", "auto"),
        (
            "trainer.limit_val_batches",
            ["0", "-1", "2.5"],
            "null, an integer >= 1 (batches) or a number > 0 and <= 1 (a share of them)",
            "5",
        ),
        ("trainer.devices", ["0", "-1", "some", "1.5"], "an integer >= 1, auto, or a list of device numbers", "1"),
        ("data.root", ["null", "''", "true", "[a]"], "a folder", "data"),
        ("data.source", ["real"], "one of auto, synthetic", "auto"),
        (
            "data.sources",
            ["[]", "data", "[data,null]", "['ftp://site/x.tar.gz']", "[[data]]", "['']"],
            "a list of one or more folders, files and http(s) addresses",
            "[data]",
        ),
        ("data.cache", ["''", "true", "[a]"], "a folder or null", "data/cache"),
        ("data.drop_last", ["1", "yes please"], "true or false", "true"),
        ("data.augment.flip", ["1", "null"], "true or false", "true"),
        ("data.validation", ["val"], "one of train, test", "train"),
        ("data.split_seed", ["-1"], "an integer from 0 to 4294967295", "0"),
        ("data.resize", ["0", "2000", "28.5"], "an integer from 1 to 1024 or null", "32"),
        ("data.normalize", ["2", "maybe"], "true or false", "true"),
        ("data.mean", ["0.5", "[a]"], "a list of finite numbers, one a channel", "[0.5]"),
        ("data.std", ["[0]", "[-1]"], "a list of finite numbers > 0, one a channel", "[0.25]"),
    ],
)
def test_a_value_out_of_range_is_told_with_its_rule(
    config: Compose, key: str, values: list[str], rule: str, example: str
) -> None:
    for value in values:
        with pytest.raises(BadInput) as caught:
            checked(config, f"{key}={value}")
        parsed = OmegaConf.select(config(f"{key}={value}"), key)
        parsed = OmegaConf.to_container(parsed) if OmegaConf.is_list(parsed) else parsed
        assert str(caught.value) == f"{key} must be {rule}, got {parsed!r}. Try {key}={example}."


@pytest.mark.parametrize("sizes", ["[]", "[0]", "[8,-1]", "[1.5]", "8", "[true]", "null"])
def test_hidden_sizes_are_positive_integers(config: Compose, sizes: str) -> None:
    with pytest.raises(
        BadInput, match=r"^model\.hidden_sizes must be a list of one or more integers >= 1, got .*\. Try "
    ):
        checked(config, "model=mlp", f"model.hidden_sizes={sizes}")


@pytest.mark.parametrize("override", ["model.dropout=1", "model.dropout=-0.1", "model.batch_norm=1"])
def test_the_other_settings_of_an_mlp_have_their_rules(config: Compose, override: str) -> None:
    with pytest.raises(BadInput, match=rf"^{override.partition('=')[0]} must be "):
        checked(config, "model=mlp", override)


def test_the_warm_up_is_a_fraction(config: Compose) -> None:
    with pytest.raises(BadInput, match=r"^scheduler\.warmup_fraction must be a number > 0 and < 1, got 1\. Try "):
        checked(config, "scheduler=one_cycle", "scheduler.warmup_fraction=1")


@pytest.mark.parametrize("size", ["0", "-4", "32.5", "true", "half", "55001", "null"])
def test_a_batch_has_at_least_one_image_and_at_most_all(config: Compose, size: str) -> None:
    with pytest.raises(
        BadInput,
        match=r"^data\.batch_size must be an integer from 1 to 55000 \(the size of the training set\) or full, got .*"
        r"\. Try data\.batch_size=64\.$",
    ):
        checked(config, f"data.batch_size={size}")


@pytest.mark.parametrize("overrides", [["data.batch_size=55000"], ["data.batch_size=1"], ["data.batch_size=full"]])
def test_a_batch_may_be_as_large_as_the_training_set(config: Compose, overrides: list[str]) -> None:
    checked(config, *overrides)


def test_the_size_of_the_training_set_follows_from_classes_and_validation(config: Compose) -> None:
    checked(config, "data.validation=test", "data.batch_size=60000")
    checked(config, "data=cifar2", "data.batch_size=9000")
    checked(config, "data=cifar2", "data.classes=[cat,dog,frog]", "data.batch_size=14000")
    for overrides in (["data=cifar2", "data.batch_size=9001"], ["data.train_size=100", "data.batch_size=101"]):
        with pytest.raises(BadInput, match=r"^data\.batch_size must be an integer from 1 to (9000|100) \("):
            checked(config, *overrides)


@pytest.mark.parametrize("size", ["0", "60000", "1.5", "null"])
def test_validation_leaves_images_to_train_on(config: Compose, size: str) -> None:
    with pytest.raises(
        BadInput,
        match=r"^data\.val_size must be between 1 and 59999 \(the training set has 60000 images\), got .*\. "
        r"Try data\.val_size=6000\.$",
    ):
        checked(config, f"data.val_size={size}")


def test_val_size_is_a_number_even_where_it_is_not_used(config: Compose) -> None:
    with pytest.raises(BadInput, match=r"^data\.val_size must be between 1 and 59999"):
        checked(config, "data.validation=test", "data.val_size=abc")


def test_a_batch_divides_by_the_processes_that_share_it(config: Compose) -> None:
    checked(config, "trainer.devices=2", "trainer.accelerator=cpu", "data.batch_size=64")
    with pytest.raises(
        BadInput,
        match=r"^data\.batch_size must be a multiple of the 2 processes of trainer\.devices, which share every batch, "
        r"got 65\. Try data\.batch_size=64\.$",
    ):
        checked(config, "trainer.devices=2", "trainer.accelerator=cpu", "data.batch_size=65")


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.batch_size=1"],
        ["data.batch_size=54999"],
        ["data.batch_size=full", "data.train_size=1"],
        ["data.batch_size=2", "trainer.devices=2", "trainer.accelerator=cpu"],
    ],
)
def test_batch_norm_needs_two_images_a_batch(config: Compose, overrides: list[str]) -> None:
    checked(config, "model=mlp", *overrides)
    with pytest.raises(
        BadInput,
        match=r"^data\.batch_size=\w+ leaves a batch with one of the \d+ images, which model\.batch_norm cannot",
    ):
        checked(config, "model=mlp", "model.batch_norm=true", *overrides)


def test_train_size_is_at_most_what_validation_leaves(config: Compose) -> None:
    with pytest.raises(
        BadInput, match=r"^data\.train_size must be null or an integer from 1 to 55000 \(the training images"
    ):
        checked(config, "data.train_size=55001")


@pytest.mark.parametrize("classes", ["[]", "[bird]", "[bird,bird]", "bird"])
def test_at_least_two_different_classes_are_chosen(config: Compose, classes: str) -> None:
    with pytest.raises(
        BadInput,
        match=r"^data\.classes must be a list of two or more different classes out of airplane, .*, got .*\. Try ",
    ):
        checked(config, "data=cifar2", f"data.classes={classes}")


def test_an_unknown_class_is_met_with_the_nearest_known_one(config: Compose) -> None:
    with pytest.raises(
        BadInput, match=r"^unknown class 'brid' in data\.classes\. Did you mean bird\? Choices: airplane, automobile, "
    ):
        checked(config, "data=cifar2", "data.classes=[airplane,brid]")


def test_there_is_a_mean_and_a_std_for_every_channel(config: Compose) -> None:
    with pytest.raises(
        BadInput,
        match=r"^data\.std must be a list of 3 numbers, one a channel of CIFAR-10, got \[0\.5\]\. "
        r"Try data\.std=\[0\.5,0\.5,0\.5\]\.$",
    ):
        checked(config, "data=cifar2", "data.std=[0.5]")


def test_a_name_out_of_a_group_inside_a_part_must_be_a_file_there(config: Compose) -> None:
    known = ", ".join(choices("model/activation"))
    with pytest.raises(BadInput) as caught:
        checked(config, "model=mlp", "model.activation=rely")
    hint = "Did you mean model.activation=relu?"
    assert str(caught.value) == f"unknown model.activation 'rely'. {hint} Choices: {known}."
    with pytest.raises(BadInput, match=r"^unknown model\.loss None\. Choices: "):
        checked(config, "model.loss=null")


def test_a_gpu_must_be_there_when_one_is_asked_for(config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        BadInput, match=r"^trainer\.accelerator=gpu needs a GPU, but torch finds none\. Try trainer\.accelerator=cpu\.$"
    ):
        check_devices({"accelerator": "gpu", "devices": 1})
    check_devices({"accelerator": "auto", "devices": 2})
    with pytest.raises(BadInput, match=r"^trainer\.accelerator=gpu needs a GPU"):
        checked(config, "trainer=gpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_devices({"accelerator": "gpu", "devices": 1})
    with pytest.raises(
        BadInput,
        match=r"^trainer\.devices must be an integer from 1 to 1 \(the GPUs torch finds\), got 2\. "
        r"Try trainer\.devices=1 or trainer\.accelerator=cpu\.$",
    ):
        check_devices({"accelerator": "auto", "devices": 2})


def test_images_are_shifted_by_less_than_their_side(config: Compose) -> None:
    checked(config, "data.augment.shift=27")
    checked(config, "data.resize=32", "data.augment.shift=31")
    checked(config, "data=cifar2", "data.augment.shift=31")
    for shift in ("28", "-1", "1.5", "null", "true"):
        with pytest.raises(
            BadInput,
            match=r"^data\.augment\.shift must be an integer from 0 to 27 \(images are 28 pixels wide\), got ",
        ):
            checked(config, f"data.augment.shift={shift}")


def test_dropping_the_last_batch_spares_batch_norm_a_batch_of_one(config: Compose) -> None:
    checked(config, "model=mlp", "model.batch_norm=true", "data.batch_size=54999", "data.drop_last=true")


@pytest.mark.parametrize("places", ["['https://site/x.tar.gz',data]", "[/mnt/images]", "['http://site/fashion/']"])
def test_sources_may_be_addresses_and_places(config: Compose, places: str) -> None:
    checked(config, f"data.sources={places}")


def test_a_batch_larger_than_the_training_set_is_refused_with_drop_last_too(config: Compose) -> None:
    with pytest.raises(BadInput, match=r"^data\.batch_size must be an integer from 1 to 55000 .* got 60000\."):
        checked(config, "data.batch_size=60000", "data.drop_last=true")

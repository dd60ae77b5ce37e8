from typing import Any

import pytest
from omegaconf import OmegaConf
from torch.nn import functional

from src.build import as_dict, build, build_saved, changed
from src.errors import BadInput
from src.networks import huber
from tests.conftest import Compose


def test_a_value_that_a_constructor_rejects_is_bad_input() -> None:
    config = OmegaConf.create({"model": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": "many"}})
    with pytest.raises(BadInput, match=r"^Linear cannot be made: .*(str|int)"):
        build(config, "model")


def test_the_name_of_a_loss_becomes_its_function(config: Compose) -> None:
    network = build(config("model=mlp"), "model", image_shape=(1, 2, 2), num_classes=3)
    assert network._loss is functional.cross_entropy


def test_changed_returns_a_copy_with_updated_interpolations() -> None:
    config = OmegaConf.create({"data": {"root": "here", "sources": ["${data.root}"]}, "seed": 1})
    found = as_dict(changed(config, {"data.root": "there", "trainer.devices": [2]}))
    assert found == {"data": {"root": "there", "sources": ["there"]}, "seed": 1, "trainer": {"devices": [2]}}
    assert as_dict(config)["data"] == {"root": "here", "sources": ["here"]}


def test_a_part_is_built_from_saved_settings_only_by_a_class_of_conf() -> None:
    saved: dict[str, Any] = {"_target_": "src.networks.SoftmaxRegression", "loss": "huber"}
    shape = {"image_shape": (1, 2, 2), "num_classes": 3}
    assert build_saved("model", saved, **shape)._loss is huber
    for target in ("os.system", "src.networks.OneLayer", "src.run.provenance.git", ["src.networks.MLP"], None):
        with pytest.raises(BadInput, match="model is not built by a class that conf/model/ names"):
            build_saved("model", saved | {"_target_": target}, **shape)
    for loss in ("../../data/cifar10", "os.system", ["huber"], {"_target_": "os.system"}):
        with pytest.raises(BadInput, match="unknown model/loss"):
            build_saved("model", saved | {"loss": loss}, **shape)
    with pytest.raises(BadInput, match=r"SoftmaxRegression cannot be made: .*heads"):
        build_saved("model", saved | {"heads": 8}, **shape)

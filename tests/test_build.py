from pathlib import Path

import pytest
from omegaconf import OmegaConf
from torch.nn import functional

from src.build import as_dict, build, changed, saved_settings
from src.errors import BadInput, DataError
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


def test_a_config_file_that_holds_a_list_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(DataError, match=r"config.yaml is damaged \(TypeError\)\.$"):
        saved_settings(tmp_path / "config.yaml")

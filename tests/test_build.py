from pathlib import Path

import pytest
from omegaconf import OmegaConf
from torch.nn import functional

from src.build import as_dict, build, changed, saved_settings
from src.errors import BadInput, DataError
from tests.conftest import Compose


def test_a_parameter_that_a_constructor_refuses_is_bad_input() -> None:
    config = OmegaConf.create({"model": {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": "many"}})
    with pytest.raises(BadInput, match=r"^Linear cannot be made: .*(str|int)"):
        build(config, "model")


def test_a_name_out_of_a_group_inside_the_parts_becomes_what_its_file_names(config: Compose) -> None:
    network = build(config("model=mlp"), "model", image_shape=(1, 2, 2), num_classes=3)
    assert network._loss is functional.cross_entropy


def test_a_changed_config_is_a_copy_in_which_others_follow() -> None:
    config = OmegaConf.create({"data": {"root": "here", "sources": ["${data.root}"]}, "seed": 1})
    found = as_dict(changed(config, {"data.root": "there", "trainer.devices": [2]}))
    assert found == {"data": {"root": "there", "sources": ["there"]}, "seed": 1, "trainer": {"devices": [2]}}
    assert as_dict(config)["data"] == {"root": "here", "sources": ["here"]}


def test_a_file_with_a_list_is_no_config(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(DataError, match=r"config.yaml is damaged \(TypeError\)\.$"):
        saved_settings(tmp_path / "config.yaml")

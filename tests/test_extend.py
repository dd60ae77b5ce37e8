"""A new choice needs only its own files. Each one is added, trained, evaluated and used to predict."""

import hashlib
from pathlib import Path

import numpy
import pytest
import yaml
from PIL import Image

import src
from src import eval, predict
from tests.conftest import composed
from tests.data_files import idx_files
from tests.runs import SMALL, checked, trained

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
NETWORK = """
from math import prod

from torch import nn

from src.networks import Classifier


class Narrow(Classifier):
    def __init__(self, *, image_shape, num_classes, width, loss):
        super().__init__(loss)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(prod(image_shape), width), nn.Linear(width, num_classes))

    def forward(self, images):
        return self.layers(images)
"""
LOSS = """
def margin(scores, labels):
    right = scores.gather(1, labels[:, None])
    return (1 + scores - right).clamp(min=0).mean()
"""
SCHEDULER = """
from torch.optim.lr_scheduler import StepLR


def halved(optimizer, *, total_steps, times):
    return StepLR(optimizer, step_size=max(1, total_steps // (times + 1)), gamma=0.5)
"""
NARROW = "_target_: src.narrow.Narrow\nwidth: 4\nloss: cross_entropy\n"
RMSPROP = "_target_: torch.optim.RMSprop\n_partial_: true\nlr: 0.01\n"
HALVED = "_target_: src.halved.halved\n_partial_: true\ntimes: 2\n"
FILES = {
    "model=narrow": {"conf/model/narrow.yaml": NARROW, "src/narrow.py": NETWORK},
    "model.loss=margin": {"conf/model/loss/margin.yaml": "_target_: src.margin.margin\n", "src/margin.py": LOSS},
    "optimizer=rmsprop": {"conf/optimizer/rmsprop.yaml": RMSPROP},
    "scheduler=halved": {"conf/scheduler/halved.yaml": HALVED, "src/halved.py": SCHEDULER},
}


@pytest.fixture
def house(own_conf: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a copy of conf/, and with a src/ whose modules are imported as if they were in the real src/."""
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "conf").symlink_to(own_conf)
    (tmp_path / "house" / "src").mkdir()
    monkeypatch.setattr(src, "__path__", [*src.__path__, str(tmp_path / "house" / "src")])
    return tmp_path / "house"


def check(*words: str) -> None:
    """Checks every rule, then trains, evaluates and predicts."""
    assert checked(*words).configs
    trained(composed(*words, "trainer.max_epochs=1"), Path("outputs/runs/day/run"))
    assert eval.main(["run=latest", "figures=false"]) == 0
    Image.fromarray(numpy.zeros((28, 28), numpy.uint8)).save("photo.png")
    assert predict.main(["run=latest", "images=photo.png", "figures=false"]) == 0


@pytest.mark.parametrize("choice", FILES)
def test_a_new_choice_needs_only_its_own_files(choice: str, house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in FILES[choice].items():
        assert not (house / name).exists()
        (house / name).write_text(content)
    check(*SMALL, choice)
    assert "(exactly as training reported)" in capsys.readouterr().out


def test_a_new_data_set_in_a_known_format_needs_one_yaml_file(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((house / "conf/data/fashion_mnist.yaml").read_text())
    files = idx_files(train=40, test=20, num_classes=2)
    Path("data/Digits").mkdir(parents=True)
    for name, content in files.items():
        Path("data/Digits", name).write_bytes(content)
    facts = {"name": "Digits", "class_names": ["zero", "one"], "channels": 1, "size": 28, "folder": "Digits"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    counts = {"train_per_class": 20, "test_per_class": 10}
    own = {"_target_": "src.datasets.datamodules.FromIDX", "facts": facts | counts | {"digests": digests}}
    sizes = {"sources": ["${data.root}"], "val_size": 8, "batch_size": 4}
    (house / "conf/data/digits.yaml").write_text(yaml.safe_dump(config | own | sizes))
    check("data=digits")
    out = capsys.readouterr().out
    assert "(exactly as training reported)" in out and "data/Digits" in out and "zero" in out

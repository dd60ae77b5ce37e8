"""The folder that contains the files of Fashion-MNIST."""

from pathlib import Path

import pytest


@pytest.fixture
def raw(fashion_root: Path) -> Path:
    return fashion_root / "FashionMNIST" / "raw"

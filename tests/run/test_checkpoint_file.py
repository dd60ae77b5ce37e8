"""A checkpoint is read as data, whatever it holds."""

import io
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.errors import DataError
from src.run.checkpoint_file import WholeFiles, load

WAY_OUT = "Use another."


@pytest.fixture
def path(run_once: Path, tmp_path: Path) -> Path:
    """A copy of a real checkpoint."""
    found = tmp_path / "last.ckpt"
    found.write_bytes((run_once / "checkpoints/last.ckpt").read_bytes())
    return found


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(path, way_out=WAY_OUT)
    assert str(caught.value).endswith(WAY_OUT) and len(str(caught.value)) < 600
    return str(caught.value)


def content(path: Path) -> dict[str, Any]:
    return dict(torch.load(path, weights_only=True))


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(torch.equal(left, right) if isinstance(left, Tensor) else left == right)


def test_a_checkpoint_is_loaded_as_it_was_saved(path: Path) -> None:
    found = load(path, way_out="")
    assert same(found, content(path)) and found["epoch"] == 1
    assert same(WholeFiles().load_checkpoint(path), found)


def test_every_flipped_bit_is_refused_or_changes_nothing(path: Path) -> None:
    expected, original, draw, refused = content(path), path.read_bytes(), random.Random(0), 0
    for _ in range(200):
        damaged = bytearray(original)
        damaged[draw.randrange(len(original))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            assert same(load(path, way_out=WAY_OUT), expected)
        except DataError:
            refused += 1
    assert refused > 100


def test_a_zeroed_page_and_every_cut_are_refused(path: Path) -> None:
    original = path.read_bytes()
    for start in range(0, len(original) - 4096, 4096):
        path.write_bytes(original[:start] + bytes(4096) + original[start + 4096 :])
        assert "is damaged or not a checkpoint" in refusal(path)
    for size in (0, 1, len(original) // 2, len(original) - 1):
        path.write_bytes(original[:size])
        assert "is damaged or not a checkpoint" in refusal(path)


@pytest.mark.parametrize("value", [None, 5, "text", [], [1], {}, {"epoch": 1}, torch.zeros(3)])
def test_other_content_is_refused(value: Any, path: Path) -> None:
    torch.save(value, path)
    refusal(path)


def wrong() -> dict[str, Any]:
    """Wrong values of the keys of a checkpoint."""
    nested: Any = 1
    for _ in range(100):
        nested = [nested]
    return {
        "epoch": "1",
        "global_step": -1,
        "pytorch-lightning_version": None,
        "state_dict": {"network.output.weight": 5},
        "loops": [1],
        "callbacks": {"KeepBest": 5},
        "optimizer_states": {"state": {}},
        "lr_schedulers": [5],
        "history": {"rows": [{"epoch": "1"}], "train_seconds": 1.0, "train_images": 1},
        "history ": {"rows": 5, "train_seconds": 1.0, "train_images": 1},
        "code": {},
        "settings": 5,
        "deep": nested,
        "long": "x" * 20_000,
        "sparse": torch.zeros(2, 2).to_sparse(),
        "meta": torch.zeros(2, device="meta"),
        "expanded": torch.zeros(1).expand(1_000_000),
        "parameter": nn.Parameter(torch.zeros(2)),
        "complex": torch.zeros(2, dtype=torch.complex64),
        "many": list(range(1_100_000)),
        "bytes": b"123",
    }


@pytest.mark.parametrize("key", wrong())
def test_a_value_of_another_kind_is_refused(key: str, path: Path) -> None:
    torch.save(content(path) | {key.strip(): wrong()[key]}, path)
    refusal(path)


@pytest.mark.parametrize("key", ["epoch", "state_dict", "loops", "callbacks", "optimizer_states", "history", "code"])
def test_a_missing_key_is_named(key: str, path: Path) -> None:
    torch.save({name: value for name, value in content(path).items() if name != key}, path)
    assert f"{key}: Field required" in refusal(path)


class Canary:
    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


def test_nothing_in_a_checkpoint_is_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content(path) | {"callbacks": {"x": Canary()}}, path)
    assert "is damaged or not a checkpoint" in refusal(path)
    assert not Path("canary").exists()


def test_a_packed_checkpoint_that_would_need_more_memory_is_refused(path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(64 << 20))
    path.write_bytes(packed.getvalue())
    assert "it is compressed or too large" in refusal(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_pipes_links_and_sparse_files_are_refused_at_once(path: Path, tmp_path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    assert "is not a regular file" in refusal(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "is a link" in refusal(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(100 << 30)
    assert "is damaged or not a checkpoint" in refusal(path)
    path.unlink()
    assert refusal(path) == f"{path} is missing. {WAY_OUT}"

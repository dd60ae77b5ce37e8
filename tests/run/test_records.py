"""The files of a run are read as data, whatever they hold."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.errors import DataError
from src.run.records import read_result, saved_choices, saved_settings, typed_overrides, write_settings
from tests.sweeps import Sweep


def written(folder: Path, name: str, content: Any) -> Path:
    (folder / ".hydra").mkdir(exist_ok=True)
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_result_is_read_with_its_known_keys(tmp_path: Path) -> None:
    written(tmp_path, "metrics.json", Sweep.RESULT | {"another": "key"})
    assert read_result(tmp_path) == Sweep.RESULT
    assert read_result(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        *[({}, "lacks status"), ({"status": "failed"}, "lacks reason")],
        ({"status": "completed"}, "lacks best_epoch, epochs, test/acc, test/loss, train_seconds, val/acc, val/loss"),
        *[(Sweep.RESULT | {"val/acc": "0.7"}, "(val/acc: "), (Sweep.RESULT | {"best_epoch": 1.5}, "(best_epoch: ")],
        *[(Sweep.RESULT | {"val/acc": True}, "(val/acc: "), (Sweep.RESULT | {"reason": "x" * 10_001}, "(reason: ")],
        *[([], "damaged"), (5, "damaged"), ("{", "damaged"), ("[" * 100_000, "damaged"), ('{"a": NaN}', "damaged")],
        *[('{"status": "running"}', "(status: "), ('{"seed": ' + "9" * 5000 + "}", "damaged")],
    ],
)
def test_a_result_of_another_kind_is_a_failed_run(content: Any, reason: str, tmp_path: Path) -> None:
    result = read_result(written(tmp_path, "metrics.json", content))
    assert result["status"] == "failed" and reason in result["reason"] and len(result["reason"]) < 500


def test_control_characters_in_a_result_are_shown_as_escapes(tmp_path: Path) -> None:
    written(tmp_path, "metrics.json", {"status": "failed", "reason": "\x1b[31mred\x07"})
    assert read_result(tmp_path)["reason"] == r"\x1b[31mred\x07"


def test_settings_are_written_and_read_as_plain_data(tmp_path: Path) -> None:
    settings = {"seed": 1, "data": {"root": "é", "mean": [0.5, 1e-5], "cache": None, "on": "yes", "x": "1e5"}}
    write_settings(tmp_path, settings)
    assert saved_settings(tmp_path) == settings


@pytest.mark.parametrize(
    "content",
    [
        *["a: [", "- 1\n", "5", "a: !!python/name:os.system\n", "a: &x [1]\nb: *x\n", "a: 2001-01-01\n", "1: 2\n"],
        *["[" * 500, "a: " + "9" * 5000, "\xff\xfe", "a: [" + "1," * 30_000 + "1]", "a: {" + "b: {" * 30 + "}" * 31],
    ],
)
def test_settings_of_another_kind_are_damaged(content: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.yaml is damaged"):
        saved_settings(written(tmp_path, ".hydra/config.yaml", content))


def test_an_interpolation_is_text(tmp_path: Path) -> None:
    written(tmp_path, ".hydra/config.yaml", "a: ${oc.env:HOME}\n")
    assert saved_settings(tmp_path) == {"a": "${oc.env:HOME}"}


@pytest.mark.parametrize("content", ["overrides: 5", "[5]", "5", "[[a]]", "- ["])
def test_overrides_of_another_kind_are_none(content: str, tmp_path: Path) -> None:
    assert typed_overrides(written(tmp_path, ".hydra/overrides.yaml", content)) == []
    assert typed_overrides(written(tmp_path, ".hydra/overrides.yaml", "- a=1\n")) == ["a=1"]


def test_choices_of_another_kind_are_none(tmp_path: Path) -> None:
    for content in ("hydra: 5", "[]", "hydra: {runtime: {choices: [a]}}", "hydra: ["):
        assert saved_choices(written(tmp_path, ".hydra/hydra.yaml", content)) == {}
    content = yaml.safe_dump({"hydra": {"runtime": {"choices": {"model": "mlp", "data": 5}}}})
    assert saved_choices(written(tmp_path, ".hydra/hydra.yaml", content)) == {"model": "mlp"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["metrics.json", ".hydra/config.yaml", ".hydra/overrides.yaml", ".hydra/hydra.yaml"])
def test_pipes_devices_links_and_large_files_are_refused_at_once(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, "other", "a: 1") / name
    readers = {"metrics.json": read_result, ".hydra/config.yaml": saved_settings}
    read = readers.get(name, typed_overrides if "overrides" in name else saved_choices)

    def pipe() -> None:
        os.mkfifo(path)

    def link() -> None:
        path.symlink_to(tmp_path / "other")

    def device() -> None:
        path.symlink_to("/dev/zero")

    def sparse() -> None:
        with path.open("wb") as file:
            file.truncate(10 << 30)

    for make in (pipe, link, device, sparse):
        make()
        if name == ".hydra/config.yaml":
            with pytest.raises(DataError, match=r"is not a regular file|is a link|has more than"):
                read(tmp_path)
        else:
            assert not read(tmp_path) or "metrics.json" in read(tmp_path)["reason"]  # type: ignore[index, call-overload]
        path.unlink()

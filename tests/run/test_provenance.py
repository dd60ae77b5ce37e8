from pathlib import Path
from typing import Any

import pytest

from src.errors import BadInput, DataError
from src.run import provenance as module
from src.run.provenance import add_start, check_same_code, code, git, mixed, provenance, starts
from src.run.records import read_result
from src.run.result import RunFacts, record
from tests.conftest import Patch


def test_provenance_names_versions_and_the_commit_of_this_checkout(monkeypatch: Patch) -> None:
    answers = {"rev-parse": "abc123", "status": " M src/task.py"}
    monkeypatch.setattr(module, "git", lambda *arguments: answers[arguments[0]])
    found = provenance()
    assert (found["git_commit"], found["git_dirty"]) == ("abc123", True)
    assert {"python", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core"} <= set(found["versions"])


def test_without_git_there_is_no_commit(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (provenance()["git_commit"], provenance()["git_dirty"]) == (None, None)
    assert git("status") is None


def test_the_code_has_a_digest_of_every_file_that_results_depend_on() -> None:
    assert {"networks.py", "task.py", "datasets/loader.py", "steps/gradients.py"} <= code()["files"].keys()
    assert not {"results.py", "sweep/plan.py"} & code()["files"].keys()


def changed(monkeypatch: Patch, part: str, name: str, value: str) -> None:
    monkeypatch.setitem(code()[part], name, value)


def test_a_run_is_continued_only_by_the_same_code(tmp_path: Path, monkeypatch: Patch) -> None:
    add_start(tmp_path)
    check_same_code(tmp_path, force=False)
    assert mixed(tmp_path) == {}
    changed(monkeypatch, "files", "networks.py", "0" * 16)
    changed(monkeypatch, "versions", "torch", "3.0")
    with pytest.raises(BadInput) as caught:
        check_same_code(tmp_path, force=False)
    assert "was made by other code (torch 2." in str(caught.value) and "now 3.0, src/networks.py)" in str(caught.value)
    check_same_code(tmp_path, force=True)
    add_start(tmp_path)
    assert len(starts(tmp_path)) == 2 and len(mixed(tmp_path)["continued_from_commits"]) == 1


def test_a_result_records_the_commit_at_its_start_and_those_before(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(module, "git", lambda *arguments: "before")

    def work() -> Any:
        monkeypatch.setattr(module, "git", lambda *arguments: "after")
        raise DataError("gone")

    record(work, RunFacts(tmp_path, 0, []))
    assert read_result(tmp_path)["git_commit"] == "before" and "continued_from_commits" not in read_result(tmp_path)
    changed(monkeypatch, "versions", "torch", "3.0")
    record(work, RunFacts(tmp_path, 0, []))
    assert read_result(tmp_path)["continued_from_commits"] == ["before"]


def test_a_damaged_file_of_starts_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    for content in ("5", "[5]", "[{}]", "{"):
        (tmp_path / ".hydra/starts.json").write_text(content)
        with pytest.raises(DataError, match=r"starts\.json is damaged"):
            check_same_code(tmp_path, force=False)

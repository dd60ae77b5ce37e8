import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.errors import BadInput, DataError
from src.files import read_json, write_json
from src.sweep.plan import Plan, differences, folder_name, joined, new_job, new_plan, read_plan, unfinished, write_plan
from tests.sweeps import Sweep


def plan(*overrides: str, **swept: list[float]) -> Plan:
    """A plan that sweeps values of `optimizer.<name>`; all other settings have their defaults."""
    defaults = {"optimizer.lr": 0.1, "optimizer.momentum": 0, "seed": 0, "data.batch_size": 64, "data._target_": "A"}
    typed = dict(text.split("=") for text in overrides)
    jobs: list[tuple[list[str], dict[str, object]]] = [(list(overrides), defaults | typed)]
    for name, values in swept.items():
        key = f"optimizer.{name}"
        jobs = [([*own, f"{key}={value}"], settings | {key: value}) for own, settings in jobs for value in values]
    words = [*overrides, *(f"optimizer.{name}={','.join(map(str, values))}" for name, values in swept.items())]
    return new_plan(overrides=words, swept=[f"optimizer.{name}" for name in swept], jobs=jobs)


@pytest.mark.parametrize(
    ("overrides", "swept", "name"),
    [
        (["optimizer.lr=0.1", "data.batch_size=64"], [], "007_data.batch_size=64,optimizer.lr=0.1"),
        (["model.hidden_sizes=[64, 32]"], [], "007_model.hidden_sizes=64,32"),
        (["data.root=/tmp/../x y;z"], [], "007_data.root=-tmp-..-xyz"),
        *[(["seed=1", "resume=auto", "retry_failed=true"], [], "007_seed=1"), ([], [], "007_")],
        (["a=1", "+b=2", "c=3"], ["c", "b"], "007_+b=2,c=3,a=1"),
    ],
)
def test_a_job_folder_is_named_by_its_overrides_swept_ones_first_in_safe_characters(
    overrides: list[str], swept: list[str], name: str
) -> None:
    assert folder_name(7, overrides, swept) == name


def test_a_long_folder_name_is_shortened_and_stays_unique() -> None:
    names = {folder_name(7, [f"model.loss={'x' * 300}{ending}"]) for ending in "ab"}
    assert len(names) == 2 and {len(name) for name in names} == {120}


def test_a_duplicate_job_is_planned_once() -> None:
    found = plan(lr=[0.1, 1.0, 0.1])
    assert [job.folder for job in found.jobs] == ["000_optimizer.lr=0.1", "001_optimizer.lr=1.0"]


def test_resume_does_not_change_the_identity_of_a_job() -> None:
    again = plan("resume=auto", lr=[0.1, 1.0])
    assert [job.settings for job in again.jobs] == [job.settings for job in plan(lr=[0.1, 1.0]).jobs]
    assert again.overrides == ["optimizer.lr=0.1,1.0"]


def test_own_overrides_are_those_that_distinguish_a_job_from_the_others() -> None:
    found = plan("seed=3", lr=[0.1, 1.0])
    assert found.own_overrides(found.jobs[1]) == ["optimizer.lr=1.0"]


def test_a_changed_grid_keeps_the_folders_of_its_jobs_and_adds_new_ones(tmp_path: Path) -> None:
    old = plan(lr=[0.1, 1.0])
    whole = joined(old, plan(lr=[1.0, 10.0]), tmp_path)
    assert [job.folder for job in whole.jobs] == ["001_optimizer.lr=1.0", "002_optimizer.lr=10.0"]
    write_plan(old, tmp_path, launched=old.jobs)
    write_plan(whole, tmp_path, launched=whole.jobs[1:])
    stored = read_plan(tmp_path)
    assert stored is not None and stored.launched_jobs() == whole.jobs[1:]
    assert [job.folder[:3] for job in stored.jobs] == ["000", "001", "002"]
    assert [job.settings["optimizer.lr"] for job in stored.jobs] == [0.1, 1.0, 10.0]


def test_sweeping_another_key_keeps_the_jobs_that_had_its_default(tmp_path: Path) -> None:
    whole = joined(plan(lr=[0.1, 1.0]), plan(lr=[0.1, 1.0], momentum=[0, 0.9]), tmp_path)
    assert [job.folder[:3] for job in whole.jobs] == ["000", "002", "001", "003"]
    assert whole.swept == ["optimizer.lr", "optimizer.momentum"]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        *[(plan(lr=[0.1, 1.0]), {}), (plan(lr=[5.0, 6.0]), {})],
        (plan("data.batch_size=256", lr=[0.1, 1.0]), {"data.batch_size": (64, "256")}),
        (plan("extra=1", lr=[0.1, 1.0]), {"extra": (None, "1")}),
        (plan("seed=4", "data.batch_size=8", lr=[1.0]), {"seed": (0, "4"), "data.batch_size": (64, "8")}),
    ],
)
def test_a_setting_that_is_not_swept_must_stay_the_same(new: Plan, expected: dict[str, object]) -> None:
    assert differences(plan(lr=[0.1, 1.0]), new) == expected
    assert differences(new, plan(lr=[0.1, 1.0])) == {key: pair[::-1] for key, pair in expected.items()}  # type: ignore


def test_settings_of_a_swept_part_may_change_but_typed_ones_may_not() -> None:
    def over_data(target: str, size: int, *typed: str) -> Plan:
        jobs = [([f"data={name}", *typed], {"data._target_": name, "data.size": size}) for name in ("A", target)]
        return new_plan(overrides=["data=A,B", *typed], swept=["data"], jobs=jobs)

    assert differences(over_data("B", 28), over_data("C", 32)) == {}
    assert differences(over_data("B", 28), over_data("B", 32, "data.size=32")) == {"data.size": (28, 32)}


def test_a_setting_that_depends_on_others_must_not_become_a_typed_one(tmp_path: Path) -> None:
    def over_optimizers(*typed: str) -> Plan:
        rates = {"sgd": 0.1, "adam": 0.001} | ({"sgd": 0.5, "adam": 0.5} if typed else {})
        jobs = [([f"optimizer={name}", *typed], {"optimizer.lr": lr}) for name, lr in rates.items()]
        return new_plan(overrides=["optimizer=sgd,adam", *typed], swept=["optimizer"], jobs=jobs)

    old, new = over_optimizers(), over_optimizers("optimizer.lr=0.5")
    assert differences(old, new) == {"optimizer.lr": ("not typed", "0.5")}
    assert differences(new, old) == {"optimizer.lr": ("0.5", "not typed")}
    assert differences(new, new) == {}
    with pytest.raises(BadInput, match=r"optimizer.lr was not typed in .* Leave it out, or "):
        joined(old, new, tmp_path)


def test_another_class_for_a_part_is_reported(tmp_path: Path) -> None:
    old, new = (
        new_plan(overrides=["lr=1,2"], swept=["lr"], jobs=[(["lr=1"], {"optimizer._target_": kind, "lr": 1})])
        for kind in ("SGD", "Adam")
    )
    with pytest.raises(BadInput, match=r"optimizer._target_ was SGD in .* Type the same optimizer, or leave resume"):
        joined(old, new, tmp_path)


def test_the_pruner_of_a_search_is_not_a_setting_of_a_job() -> None:
    job = new_job(0, ["lr=1"], {"lr": 1, "pruner._target_": "x", "pruner.trial": 3, "resume": "auto"})
    assert job.settings == {"lr": 1}


def test_a_resume_that_would_mix_results_is_refused_with_the_difference(tmp_path: Path) -> None:
    way_out = r"Type seed=0, or leave resume out to start a new one\.$"
    with pytest.raises(BadInput, match=rf"^resume would mix results: seed was 0 in .*, and is 4 now\. {way_out}"):
        joined(plan(lr=[0.1]), plan("seed=4", lr=[0.1]), tmp_path)
    with pytest.raises(BadInput, match=r"is 4 now \(2 settings differ: seed, data.batch_size\)"):
        joined(plan(lr=[0.1]), plan("seed=4", "data.batch_size=8", lr=[0.1]), tmp_path)


def test_failed_jobs_are_run_again_only_with_retry_failed(tmp_path: Path) -> None:
    whole = plan(lr=[1, 2, 3, 4])
    for job, status in zip(whole.jobs, ("completed", "failed", "interrupted"), strict=False):
        (tmp_path / job.folder).mkdir()
        write_json(tmp_path / job.folder / "metrics.json", Sweep.RESULT | {"status": status, "reason": "why"})
    assert unfinished(whole, tmp_path, retry_failed=False) == whole.jobs[2:]
    assert unfinished(whole, tmp_path, retry_failed=True) == whole.jobs[1:]


def test_a_folder_without_a_plan_has_none(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None


def test_a_job_of_an_earlier_command_keeps_its_folder_but_is_run_as_typed_now(tmp_path: Path) -> None:
    old, new = plan(lr=[1, 2]), plan(lr=[1, 2])
    forged = replace(old, jobs=[replace(job, overrides=["seed=7", "hydra.run.dir=/x"]) for job in old.jobs])
    found = joined(forged, new, tmp_path)
    assert [job.folder for job in found.jobs] == [job.folder for job in old.jobs]
    assert [job.overrides for job in found.jobs] == [job.overrides for job in new.jobs]


@pytest.mark.parametrize("folder", ["../x", "/x", "x", "", "000_a/b", "000_a\n", "000_" + "x" * 300, 5, None])
def test_a_plan_names_only_folders_of_its_own_form(folder: Any, tmp_path: Path) -> None:
    write_plan(plan(lr=[1, 2]), tmp_path, launched=[])
    content = read_json(tmp_path / "sweep.json")
    content["jobs"][0]["folder"] = folder
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"sweep\.json is damaged"):
        read_plan(tmp_path)

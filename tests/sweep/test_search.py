"""Searches: most with a fake launcher, one with real jobs."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from math import log10
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from src.errors import BadInput
from src.files import write_json
from src.settings import choices
from src.sweep.plan import Plan, read_plan, write_plan
from src.sweep.search import JOURNAL, OptunaSweeper, as_typed, distributions, ends, space_of
from src.sweep.study import open_study
from tests.conftest import composed
from tests.runs import SMALL, checked, command, refusal
from tests.sweeps import Sweep

optuna = pytest.importorskip("optuna")
Outcome = Callable[[int, dict[str, str]], dict[str, Any] | None]


class Launcher:
    """Writes the `outcome` of each job by its number and overrides; None stands for a killed process."""

    def __init__(self, folder: Path, outcome: Outcome) -> None:
        self.folder, self.outcome = folder, outcome
        self.batches: list[list[dict[str, str]]] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        self.batches.append([dict(text.split("=", 1) for text in overrides) for overrides in job_overrides])
        for words in self.batches[-1]:
            name = words["hydra.sweep.subdir"].strip("'")
            result = self.outcome(int(name[:3]), words)
            if result is None:
                raise KeyboardInterrupt
            (self.folder / name).mkdir(exist_ok=True)
            write_json(self.folder / name / "metrics.json", Sweep.RESULT | result)
        return []


def job_config(config: Any, overrides: list[str]) -> DictConfig:
    """The config of a job, as Hydra's config loader returns it to a sweeper."""
    cfg = composed(*overrides)
    with open_dict(cfg):
        cfg.hydra = {}
    return cfg


def search(folder: Path, outcome: Outcome, **settings: int) -> Launcher:
    space = {"optimizer.lr": "tag(log,interval(0.001,10))", "data.batch_size": "choice(64,256)"}
    if read_plan(folder) is None:
        new = Plan(["seed=0"], list(space), [], space, 20, {"trainer.max_epochs": 5, "seed": 0})
        write_plan(new, folder, launched=[])
    parameters: Any = {"n_trials": 20, "at_once": 1, "seed": 0, "min_epochs": 1, "reduction_factor": 3} | settings
    sweeper = OptunaSweeper(**parameters)
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    sweeper.launcher = Launcher(folder, outcome)  # type: ignore[assignment]
    sweeper.hydra_context = Mock()
    sweeper.hydra_context.config_loader.load_sweep_config = job_config
    sweeper.sweep([])
    return sweeper.launcher  # type: ignore[return-value]


def good_at(best: float) -> Outcome:
    """Outcomes whose accuracy falls with the distance of the learning rate from the best one, in powers of ten."""
    return lambda number, words: {"val/acc": 1 - abs(log10(float(words["optimizer.lr"]) / best)) / 4, "epochs": 10}


def test_a_search_approaches_the_best_value_and_each_trial_is_a_job_of_the_sweep(tmp_path: Path) -> None:
    launcher = search(tmp_path, good_at(0.1), n_trials=20)
    plan = read_plan(tmp_path)
    assert plan is not None and len(plan.jobs) == 20 == len({job.folder for job in plan.jobs})
    assert [job.folder[:3] for job in plan.jobs] == [f"{number:03d}" for number in range(20)]
    assert all(job.settings["seed"] == 0 and 0.001 <= job.settings["optimizer.lr"] <= 10 for job in plan.jobs)
    distances = [1 - good_at(0.1)(0, words)["val/acc"] for (words,) in launcher.batches]  # type: ignore[index]
    assert min(distances[10:]) < 0.5 * min(distances[:10])  # Optuna has learned from the first ten
    assert (tmp_path / "results.csv").read_text().count("completed") == 20


def test_several_trials_at_once_are_one_launch(tmp_path: Path) -> None:
    batches = search(tmp_path, good_at(0.1), n_trials=7, at_once=3).batches
    assert [len(batch) for batch in batches] == [3, 3, 1]


def test_a_killed_search_continues_with_the_job_that_it_had_begun(tmp_path: Path) -> None:
    def killed(number: int, words: dict[str, str]) -> dict[str, Any] | None:
        return None if number == 3 else good_at(0.1)(number, words)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, killed, n_trials=6)
    plan = read_plan(tmp_path)
    assert plan is not None and len(plan.jobs) == 4
    launcher = search(tmp_path, good_at(0.1), n_trials=6)
    (again,) = launcher.batches[0]
    assert again["hydra.sweep.subdir"] == f"'{plan.jobs[3].folder}'"
    assert len(launcher.batches) == 3
    assert search(tmp_path, good_at(0.1), n_trials=6).batches == []
    assert len(search(tmp_path, good_at(0.1), n_trials=8).batches) == 2


def test_failed_and_pruned_jobs_are_reported_to_the_study(tmp_path: Path) -> None:
    outcomes: list[dict[str, Any]] = [{"status": "failed", "reason": "diverged"}, {"epochs": 2}, {"epochs": 10}]
    search(tmp_path, lambda number, words: outcomes[number], n_trials=3)
    study = open_study(tmp_path / JOURNAL, seed=0, min_epochs=1, reduction_factor=3)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "PRUNED", "COMPLETE"]
    assert study.best_value == Sweep.RESULT["val/acc"]


def test_a_job_gets_the_pruner_of_its_trial(tmp_path: Path) -> None:
    launcher = search(tmp_path, good_at(0.1), n_trials=2, min_epochs=2)
    (words,) = launcher.batches[1]
    expected = f"journal:'{tmp_path / JOURNAL}',trial:1,min_epochs:2,reduction_factor:3}}"
    assert words["pruner"] == f"{{_target_:src.sweep.study.Pruner,{expected}"


def test_a_real_search_stops_jobs_that_fall_behind_and_can_be_resumed(tmp_path: Path) -> None:
    words = [*SMALL, "model=mlp", "model.hidden_sizes=[8]", "trainer.max_epochs=9", "data.batch_size=16"]
    words += ["optimizer.lr=tag(log,interval(0.00001,1))", "model.dropout=0", "hydra.sweep.dir=search"]
    sweep = partial(command, "-m", "hydra/sweeper=optuna", *words, cwd=tmp_path)
    done = sweep("hydra.sweeper.n_trials=8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 jobs completed in search" in done.stdout and "[8/8] optimizer.lr=" in done.stdout
    epochs = {json.loads(path.read_text())["epochs"] for path in tmp_path.glob("search/*/metrics.json")}
    assert epochs <= {1, 3, 9} and len(epochs) > 1
    more = sweep("hydra.sweeper.n_trials=10", "resume=auto")
    assert more.returncode == 0 and more.stdout.count("(before)") == 8 and "10 of 10 jobs" in more.stdout
    changed = sweep("seed=1", "resume=auto")
    assert changed.returncode == 2 and "resume would mix results: seed was 0" in changed.stderr


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("seed=1,2", "seed cannot be searched: chance would decide which seed wins. Type one seed."),
        ("retry_failed=true", "retry_failed=true is for grids: a search proposes other jobs. Raise hydra."),
    ],
)
def test_overrides_that_a_search_cannot_use_are_refused(word: str, text: str) -> None:
    assert refusal("-m", "hydra/sweeper=optuna", word).startswith(text)


@pytest.mark.parametrize("model", choices("model"))
def test_every_network_has_a_search_space_whose_ends_are_valid(model: str) -> None:
    space = space_of(model)
    assert "optimizer.lr" in space and "data.batch_size" in space
    jobs = checked("-m", f"model={model}", "hydra/sweeper=optuna")
    assert (jobs.space, jobs.swept, jobs.overrides) == (space, list(space), [[f"model={model}"]])


def test_every_search_space_belongs_to_a_network() -> None:
    assert choices("hydra/space") == choices("model")
    assert space_of("mlp")["model.dropout"] == "interval(0,0.5)" and space_of("none") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("interval(0,0.5)", ["0.0", "0.5"]), ("tag(log,interval(0.01,1))", ["0.01", "1.0"])],
        *[("choice([128],[256,128])", ["[128]", "[256,128]"]), ("64,256", ["64", "256"])],
        *[("int(interval(1,5))", ["1", "5"]), ("range(1,4)", ["1", "2", "3"])],
    ],
)
def test_the_ends_of_a_space_are_the_extreme_values_or_all_choices(text: str, expected: list[str]) -> None:
    assert ends(OverridesParser.create().parse_override(f"key={text}")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "key=3 leaves nothing to search. Name several values, or an interval(low,high)."),
        ("interval(1,0)", "key=interval(1,0) must be an interval(low,high), the lower first."),
        ("tag(log,interval(0,1))", "key=tag(log,interval(0,1)) must be above 0 if it is logarithmic."),
    ],
)
def test_an_invalid_space_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        ends(OverridesParser.create().parse_override(f"key={text}"))
    assert str(error.value) == message


def test_a_space_is_read_as_optunas_distributions() -> None:
    kinds = optuna.distributions
    space = {"a": "tag(log,interval(0.01,1))", "b": "int(interval(1,5))", "c": "choice([8],16)", "d": "x,y"}
    assert distributions(space) == {
        **{"a": kinds.FloatDistribution(0.01, 1, log=True), "b": kinds.IntDistribution(1, 5)},
        **{"c": kinds.CategoricalDistribution(["[8]", "16"]), "d": kinds.CategoricalDistribution(["x", "y"])},
    }


def test_proposals_become_readable_overrides() -> None:
    assert as_typed({"lr": 0.0123456, "size": 64, "model": "mlp"}) == ["lr=0.01235", "size=64", "model=mlp"]

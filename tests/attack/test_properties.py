"""Random words and random files: only the errors of this project come out."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.command.argv import parse
from src.command.command_line import refuse_flags
from src.command.compose import known_keys
from src.command.jobs import checked_jobs
from src.command.key_values import own_and_others, parsed
from src.errors import LabError
from src.finished.reopen import opened
from src.rules import TRAINER
from src.run.history import read_rows
from src.run.provenance import starts
from src.run.records import read_result, saved_choices, saved_settings, typed_overrides
from src.settings import choices, groups
from src.sweep.leaderboard import as_csv, leaderboard, table
from src.sweep.plan import read_plan
from src.tables import as_text
from tests.conftest import composed

FEW, MANY = 100, 2000  # examples in `make test` and in `make test-all`
KEYS = [
    *(key for model in ("mlp", "softmax") for key in known_keys(composed(f"model={model}"))),
    *(f"+trainer.{name}" for name in TRAINER),
    *(
        *groups(),
        "hydra.run.dir",
        "hydra.sweep.dir",
        "hydra.verbose",
        "hydra.mode",
        "hydra.job.name",
        "hydra.searchpath",
    ),
    *("hydra/launcher", "hydra/sweeper", "hydra.launcher.n_jobs", "hydra.sweeper.n_trials", "x", "", "+new", "~seed"),
]
VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
    st.sampled_from([choice for group in groups() for choice in choices(group)]),
    st.sampled_from(
        [
            *("null", "true", "[]", "{}", "[1,2]", "{a:1}", "1,2", "range(3)", "range(1,3,0)", "shuffle(1,2),3", "???"),
            *("interval(0,1)", "choice(a,b)", "range(0,1e9)", "${seed}", "${oc.env:HOME}", "${", "'", '"', "[", "a=b"),
            *("9" * 5000, "glob(*)", "sort(3,1)", "tag(a,1,2)", "int(1.5)", "-1", "1e400", "\\", "*", "a/b", "../x"),
        ]
    ),
)
WORDS = st.lists(st.builds("{}={}".format, st.sampled_from(KEYS), VALUES) | st.text(max_size=12), max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.text(max_size=8) | st.sampled_from(
    [
        *("status", "reason", "overrides", "jobs", "folder", "settings", "space", "launched", "swept", "num_trials"),
        *("data", "model", "trainer", "threads", "_target_", "val/acc", "test/acc", "epochs", "best_epoch", "hydra"),
    ]
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=30
)


def examples(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a property-based test with few examples, and with many in the long suite."""
    allowed = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

    def run(count: int, **fixtures: Any) -> None:
        settings(max_examples=count, deadline=None, suppress_health_check=allowed, database=None)(test)(**fixtures)

    return run


COUNTS = pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.long)])


@COUNTS
def test_random_words_are_jobs_or_bad_input(count: int, in_an_empty_folder: Path) -> None:
    @given(words=WORDS, multirun=st.booleans())
    def check(words: list[str], multirun: bool) -> None:
        with suppress(LabError):
            typed = parse([word for word in words if not word.startswith("-")])
            refuse_flags(typed)
            checked_jobs(typed.overrides, multirun=multirun)
        with suppress(LabError):
            parsed(own_and_others(words, {"run": "", "split": "test"})[1])

    examples(check)(count)
    assert not list(Path().iterdir())


@COUNTS
def test_random_files_of_a_run_are_data_or_damaged(count: int, run: Path) -> None:
    original = yaml.safe_load((run / ".hydra/config.yaml").read_text())

    @given(tree=TREES, name=st.sampled_from(["metrics.json", "sweep.json", ".hydra/starts.json", "metrics.csv"]))
    def check_json(tree: Any, name: str) -> None:
        before = (run / name).read_text() if (run / name).exists() else None
        (run / name).write_text(json.dumps(tree) if name != "metrics.csv" else str(tree), errors="replace")
        read_everything(run)
        (run / name).unlink()
        if before is not None:
            (run / name).write_text(before)

    @given(tree=TREES, name=st.sampled_from(["config", "overrides", "hydra"]), whole=st.booleans())
    def check_yaml(tree: Any, name: str, whole: bool) -> None:
        path = run / ".hydra" / f"{name}.yaml"
        before = path.read_text() if path.exists() else None
        changed = original | tree if isinstance(tree, dict) and not whole and name == "config" else tree
        path.write_text(yaml.safe_dump(changed), errors="replace")
        read_everything(run)
        path.unlink()
        if before is not None:
            path.write_text(before)

    examples(check_json)(count)
    examples(check_yaml)(count)


def read_everything(run: Path) -> None:
    readers: list[Callable[[Path], Any]] = [saved_settings, starts, read_plan, read_rows, opened]
    for read in readers:
        with suppress(LabError):
            read(run)
    assert isinstance(read_result(run), dict) and isinstance(typed_overrides(run), list)
    assert isinstance(saved_choices(run), dict)
    board = leaderboard([run])
    assert as_csv(board, run, ranked=True)
    assert as_text(table(board, run)).replace("\n", "").isprintable()

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from src.sweep.space import SPACES

from src.errors import BadInput
from src.sweep.search import as_typed, distributions, ends, space_of

MODELS = [path.stem for path in (SPACES.parents[1] / "model").glob("*.yaml")]


@pytest.mark.parametrize("model", MODELS)
def test_every_network_has_a_space_of_which_every_end_can_be_run(model: str) -> None:
    from src.command.jobs import checked_jobs

    pytest.importorskip("optuna")
    space = space_of(model)
    assert "optimizer.lr" in space and "data.batch_size" in space
    jobs = checked_jobs([f"model={model}", "hydra/sweeper=optuna"], multirun=True)
    assert jobs.space == space and jobs.swept == list(space)
    assert jobs.overrides == [[f"model={model}"]]


def test_the_spaces_are_those_of_the_networks() -> None:
    assert {path.stem for path in SPACES.glob("*.yaml")} == set(MODELS) >= {"mlp", "softmax"}
    assert OmegaConf.load(Path(SPACES) / "mlp.yaml")["model.dropout"] == "interval(0,0.5)"
    assert space_of("none") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0,0.5)", ["0.0", "0.5"]),
        ("tag(log,interval(0.01,1))", ["0.01", "1.0"]),
        ("choice([128],[256,128])", ["[128]", "[256,128]"]),
        ("64,256", ["64", "256"]),
        ("int(interval(1,5))", ["1", "5"]),
        ("range(1,4)", ["1", "2", "3"]),
    ],
)
def test_the_ends_of_a_space_are_what_a_job_can_get(text: str, expected: list[str]) -> None:
    assert ends(OverridesParser.create().parse_override(f"key={text}")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "key=3 leaves nothing to search. Name several values, or an interval(low,high)."),
        ("interval(1,0)", "key=interval(1,0) must be an interval(low,high), the lower first."),
        ("tag(log,interval(0,1))", "key=tag(log,interval(0,1)) must be above 0, where it is to be logarithmic."),
    ],
)
def test_a_space_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput) as error:
        ends(OverridesParser.create().parse_override(f"key={text}"))
    assert str(error.value) == message


def test_a_space_is_read_as_optunas_distributions() -> None:
    optuna = pytest.importorskip("optuna")
    found = distributions(
        {"a": "tag(log,interval(0.01,1))", "b": "int(interval(1,5))", "c": "choice([8],16)", "d": "x,y"}
    )
    assert found == {
        "a": optuna.distributions.FloatDistribution(0.01, 1, log=True),
        "b": optuna.distributions.IntDistribution(1, 5),
        "c": optuna.distributions.CategoricalDistribution(["[8]", "16"]),
        "d": optuna.distributions.CategoricalDistribution(["x", "y"]),
    }


def test_proposals_are_typed_readably() -> None:
    assert as_typed({"lr": 0.0123456, "size": 64, "model": "mlp"}) == ["lr=0.01235", "size=64", "model=mlp"]

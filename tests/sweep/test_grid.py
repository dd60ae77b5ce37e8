from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from src.sweep.grid import Grid, advice, beyond, grid_of, grid_text, is_geometric
from src.sweep.grid_figure import bounds, draw, draw_curves, draw_heatmaps, places
from src.sweep.leaderboard import leaderboard
from tests.sweeps import Sweep

LR, SIZE = "optimizer.lr=0.01,0.1,1", "data.batch_size=64,256"
Accuracies = list[Any]  # one per job: an accuracy, the reason of a failure, or None if it has not ended


def swept(folder: Path, *overrides: str, left: Accuracies) -> Sweep:
    return Sweep(folder, *overrides).left(*({"val/acc": one} if isinstance(one, float) else one for one in left))


def grid(folder: Path, *overrides: str, left: Accuracies) -> Grid:
    found = grid_of(leaderboard([swept(folder, *overrides, left=left).folder]))
    assert found is not None
    return found


def test_two_keys_make_a_table_with_the_best_marked(tmp_path: Path) -> None:
    found = grid(tmp_path, LR, SIZE, left=[0.7, 0.6, 0.8, 0.9, "diverged", None])
    assert grid_text(found).splitlines() == [
        "val acc, optimizer.lr down  data.batch_size=64  data.batch_size=256",
        "0.01                        0.7000              0.6000",
        "0.1                         0.8000              0.9000*",
        "1                           failed              unfinished",
    ]


def test_one_key_makes_bars_from_the_lowest_value_to_the_highest(tmp_path: Path) -> None:
    found = grid(tmp_path, "optimizer.lr=10,0.1,1,100", left=[0.7, 0.8, 0.9, "diverged"])
    assert grid_text(found).splitlines() == [
        "optimizer.lr  val acc",
        f"0.1           0.8000   {'#' * 15}",
        f"1             0.9000*  {'#' * 30}",
        "10            0.7000   #",
        "100           failed",
    ]


def test_other_keys_make_panels_and_seeds_are_averaged(tmp_path: Path) -> None:
    accuracies = [0.1, 0.3, 0.4, 0.4, 0.5, 0.5, 0.6, 0.8]
    found = grid(tmp_path, "model=softmax,mlp", "optimizer.lr=0.1,1", "seed=1,2", left=accuracies)
    assert list(found.panels) == ["model=mlp", "model=softmax"]
    assert found.cell(found.panels["model=softmax"]["0.1",]) == "0.2000"
    assert found.cell(found.panels["model=mlp"]["1",]) == "0.7000*"


def test_a_failed_seed_does_not_hide_the_others(tmp_path: Path) -> None:
    found = grid(tmp_path, "optimizer.lr=0.1,1", "seed=1,2", left=["gone", 0.5, 0.6, 0.6])
    assert found.cell(found.panels[""]["0.1",]) == "0.5000"


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        *[(["seed=1,2"], [0.5] * 2), (["model=softmax,mlp"], [0.5] * 2), (["data.batch_size=64,full"], [0.5] * 2)],
        (["optimizer.lr=0.1,1", SIZE, "optimizer.momentum=0,0.9"], [0.5] * 8),
        ([LR], ["a", "b", "c"]),
    ],
)
def test_grids_need_one_or_two_numeric_keys_and_results(overrides: list[str], left: Accuracies, tmp_path: Path) -> None:
    swept(tmp_path, *overrides, left=left)
    assert grid_of(leaderboard([tmp_path])) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        *[([0.01, 0.1, 1], True), ([0.01, 0.03, 0.1, 0.3], True), ([16, 32, 64], True), ([64, 256], True)],
        *[([1, 2, 3, 4], False), ([0.1, 0.2], False), ([0, 0.1, 10], False), ([-1, 1], False)],
    ],
)
def test_geometric_values_are_recognized(values: list[float], expected: bool) -> None:
    assert is_geometric(values) is expected


@pytest.mark.parametrize(
    ("values", "best", "key", "expected"),
    [
        *[("0.01 0.1 1", "1", "optimizer.lr", "10 100"), ("0.01 0.1 1", "0.01", "optimizer.lr", "0.001 0.0001")],
        *[("0.01 0.1 1", "0.1", "optimizer.lr", ""), ("0.001 1", "1", "optimizer.lr", "10 100")],
        *[("0 0.3 0.6", "0.6", "model.dropout", "0.9"), ("0 0.3 0.6", "0", "model.dropout", "")],  # 1.2 is invalid
        *[("64 256", "64", "data.batch_size", "16 4"), ("1 2 4", "1", "data.batch_size", "")],
        ("64 4096", "64", "data.batch_size", "6 1"),  # by a factor of at most ten
        *[("1 10", "1", "optimizer.lr", "0.1 0.01"), ("100 250 400", "100", "data.train_size", "")],  # stay above 0
        *[("-1 0 1", "-1", "data.shift", "-2 -3"), ("5 10 15", "15", "trainer.max_epochs", "20 25")],
    ],
)
def test_values_beyond_the_edge_continue_the_spacing(values: str, best: str, key: str, expected: str) -> None:
    assert beyond(values.split(), best, key=key) == expected.split()


def test_a_best_value_on_the_edge_is_reported_with_the_next_command(tmp_path: Path) -> None:
    overrides = ["model=softmax,mlp", "data.root=a b", "optimizer.lr=0.1,1", "seed=1,2"]
    plan = swept(tmp_path, *overrides, left=[*[0.1] * 6, 0.8, 0.8]).plan
    assert advice(leaderboard([tmp_path]), plan) == [
        "The best optimizer.lr, 1, is the highest of the grid.",
        "  next         python -m src.train -m model=mlp 'data.root=a b' optimizer.lr=1,10,100 seed=1,2",
    ]
    *_, line = advice(leaderboard([tmp_path]), plan, ["hydra/launcher=joblib"])
    assert line.startswith("  next         python -m src.train -m hydra/launcher=joblib model=mlp ")


def test_failed_values_do_not_count_for_the_next_command(tmp_path: Path) -> None:
    plan = swept(tmp_path, "lr=0.01,0.1,1e30", left=[0.9, 0.1, "diverged"]).plan
    assert advice(leaderboard([tmp_path]), plan)[1].endswith(" lr=0.0001,0.001,0.01")


@pytest.mark.parametrize(("override", "left"), [(LR, [0.1, 0.9, 0.1]), ("lr=0.1,1e30", [0.9, "diverged"])])
def test_no_advice_if_the_best_value_is_inside_or_the_only_one(override: str, left: Accuracies, tmp_path: Path) -> None:
    plan = swept(tmp_path, override, left=left).plan
    assert advice(leaderboard([tmp_path]), plan) == []


def test_the_next_command_has_the_keys_that_an_earlier_one_swept(tmp_path: Path) -> None:
    plan = swept(tmp_path, "a=x,y", "lr=1,10", left=[0.1, 0.2, 0.3, 0.4]).plan
    later = replace(plan, overrides=["lr=1,10"])
    assert advice(leaderboard([tmp_path]), later)[1].endswith(" lr=10,100,1000 a=y")


def test_the_edges_of_three_keys_are_reported_too_but_a_search_has_none(tmp_path: Path) -> None:
    three_keys = [LR, "data.batch_size=64,128,256", "+optimizer.dampening=0,0.1,0.2"]
    plan = swept(tmp_path, *three_keys, left=[*[0.1] * 26, 0.9]).plan
    *said, line = advice(leaderboard([tmp_path]), plan)
    words = "optimizer.lr=1,10,100 data.batch_size=256,512,1024 +optimizer.dampening=0.2,0.3,0.4"
    assert len(said) == 3 and line == f"  next         python -m src.train -m {words}"
    assert advice(leaderboard([tmp_path]), replace(plan, space={"optimizer.lr": "0.1,1"})) == []


def test_the_picture_of_two_keys_is_a_heatmap_with_each_accuracy_written(tmp_path: Path) -> None:
    figure, accuracies = Figure(), [*[0.5] * 5, "diverged", *[0.6] * 5, 0.9]
    draw_heatmaps(grid(tmp_path, "model=softmax,mlp", LR, SIZE, left=accuracies), figure)
    *panels, colours = figure.axes
    assert {axes.get_title() for axes in panels} == {"model=softmax", "model=mlp"}
    assert colours.get_ylabel() == "validation accuracy (* best)"
    for axes in panels:
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("data.batch_size", "optimizer.lr")
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert [label.get_text() for label in axes.get_yticklabels()] == ["0.01", "0.1", "1"]
        assert axes.collections[0].get_clim() == (0.5, 0.9)  # one scale for all panels
    texts = {axes.get_title(): [text.get_text() for text in axes.texts] for axes in panels}
    assert sorted(texts["model=softmax"]) == ["0.5000"] * 5 + ["failed"]
    assert sorted(texts["model=mlp"]) == ["0.6000"] * 5 + ["0.9000*"]


def test_the_picture_of_one_key_is_a_curve_with_its_deviation(tmp_path: Path) -> None:
    figure, accuracies = Figure(), [0.4, 0.6, 0.8, 0.8, 0.7, 0.7, "a", "b"]
    draw_curves(grid(tmp_path, "optimizer.lr=0.01,0.1,1,10", "seed=1,2", left=accuracies), figure)
    (axes,) = figure.axes
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "optimizer.lr", "validation accuracy")
    curve = axes.lines[0]
    assert list(curve.get_xdata()) == [0.01, 0.1, 1] and list(curve.get_ydata()) == pytest.approx([0.5, 0.8, 0.7])
    assert [text.get_text() for text in axes.get_legend().get_texts()][-1] == "no result"
    assert any(list(line.get_xdata()) == [10, 10] for line in axes.lines)  # marks the value without a result


def test_linear_values_have_a_linear_axis_and_cells_meet_halfway(tmp_path: Path) -> None:
    assert bounds([1.0, 2.0, 3.0]) == [0.5, 1.5, 2.5, 3.5]
    assert bounds([0.01, 1.0, 100.0]) == pytest.approx([0.001, 0.1, 10, 1000])
    figure = Figure()
    draw_curves(grid(tmp_path, "trainer.max_epochs=1,2,3", left=[0.1, 0.2, 0.3]), figure)
    assert figure.axes[0].get_xscale() == "linear"


def test_cells_are_evenly_spaced_if_values_are_extremely_far_apart(tmp_path: Path) -> None:
    assert places(["0.01", "0.1", "1", "1e30"]) == [0.0, 1.0, 2.0, 3.0]
    assert places(["0.01", "0.1", "1", "100"]) == [0.01, 0.1, 1.0, 100.0]
    figure = Figure()
    draw_heatmaps(grid(tmp_path, "lr=0.01,0.1,1,1e30", "size=64,512", left=[*[0.5] * 7, 0.6]), figure)
    assert figure.axes[0].get_yscale() == "linear" and figure.axes[0].get_xscale() == "log"
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0.01", "0.1", "1", "1e30"]


def test_drawing_leaves_no_partial_picture(tmp_path: Path) -> None:
    draw(grid(tmp_path, LR, SIZE, left=[0.5] * 6), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG") and not list(tmp_path.glob("*.part"))

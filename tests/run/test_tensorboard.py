"""A real sweep, read through the HTTP interface of a real TensorBoard: event files do not show what it drops."""

import itertools
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.runs import SMALL, command

GRID = [*SMALL[:-1], "trainer.max_epochs=3", "model=softmax,mlp", "optimizer.lr=0.1,0.01"]
CURVES = ("train/loss", "train/acc", "val/loss", "val/acc")


class TensorBoard:
    """A client of a TensorBoard server on this machine."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/data/"

    def get(self, path: str, body: Any = None, **query: Any) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        address, headers = f"{self.address}{path}?{urlencode(query)}", {"Content-Type": "application/json"}
        request = urllib.request.Request(address, data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def json(self, path: str, body: Any = None, **query: Any) -> Any:
        return json.loads(self.get(path, body, **query))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorboard")
    done = command("-m", *GRID, "hydra.sweep.dir=outputs/grid", cwd=folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "\n  figures      outputs/grid/" in done.stdout
    return folder / "outputs" / "grid"


@pytest.fixture(autouse=True)
def no_network() -> None:
    """Allows the network, because these tests connect only to this machine."""


@pytest.fixture(scope="module")
def board(sweep: Path) -> Iterator[TensorBoard]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-m", "tensorboard.main", "--logdir", str(sweep.parent), "--host", "127.0.0.1"]
    server = subprocess.Popen([*line, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found, runs, deadline = TensorBoard(port), [], time.monotonic() + 60
        while len(runs) != 4:
            assert time.monotonic() < deadline
            time.sleep(0.2)
            with suppress(urllib.error.URLError, ConnectionError):
                runs = found.json("plugin/scalars/tags")
        yield found
    finally:
        server.terminate()
        server.wait(timeout=30)


def results(sweep: Path) -> dict[str, dict[str, Any]]:
    return {f"grid/{path.parent.name}": json.loads(path.read_text()) for path in sweep.glob("*/metrics.json")}


def test_runs_are_named_by_their_overrides_and_have_one_event_file_each(sweep: Path, board: TensorBoard) -> None:
    runs = set(board.json("plugin/scalars/tags"))
    assert runs == set(results(sweep))
    for model, lr in itertools.product(("softmax", "mlp"), ("0.1", "0.01")):
        assert sum(f"model={model}" in run and f"optimizer.lr={lr}," in run for run in runs) == 1
    assert all(len(list(job.glob("events.*"))) == 1 for job in sweep.iterdir() if job.is_dir() and "=" in job.name)


def test_every_curve_is_complete_and_has_the_epoch_as_its_step(sweep: Path, board: TensorBoard) -> None:
    for run, tags in board.json("plugin/scalars/tags").items():
        assert set(tags) == {*CURVES, "lr", "test/loss", "test/acc", "hp/val_acc", "hp/test_acc"}
        for tag in CURVES:
            assert [point[1] for point in board.json("plugin/scalars/scalars", run=run, tag=tag)] == [1, 2, 3]
        best = max(point[2] for point in board.json("plugin/scalars/scalars", run=run, tag="val/acc"))
        assert best == pytest.approx(results(sweep)[run]["val/acc"])


def test_training_and_validation_are_in_one_chart(board: TensorBoard) -> None:
    (category,) = board.json("plugin/custom_scalars/layout")["category"]
    assert {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]} == {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["train/acc", "val/acc"],
    }


def test_the_hparams_tab_has_one_row_per_run_with_its_settings_and_results(sweep: Path, board: TensorBoard) -> None:
    experiment = board.json("plugin/hparams/experiment", {"experimentName": ""})
    columns = {info["name"] for info in experiment["hparamInfos"]}
    assert columns >= {"model", "data", "loss", "optimizer", "lr", "batch_size", "weight_decay", "seed", "hidden_sizes"}
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["hp/val_acc", "hp/test_acc"]
    statuses = ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_FAILURE", "STATUS_RUNNING"]
    shown = [{"metric": info["name"], "includeInResult": True} for info in experiment["metricInfos"]]
    shown += [{"hparam": name, "includeInResult": True} for name in columns]
    wanted = {"experimentName": "", "startIndex": 0, "sliceSize": 100, "allowedStatuses": statuses, "colParams": shown}
    groups = board.json("plugin/hparams/session_groups", wanted)["sessionGroups"]
    assert len(groups) == 4
    for group in groups:
        (session,) = group["sessions"]
        result, hparams = results(sweep)[session["name"]], group["hparams"]
        typed = dict(text.split("=") for text in result["overrides"])
        assert session["status"] == "STATUS_SUCCESS"
        assert hparams["model"] == typed["model"] and hparams["lr"] == float(typed["optimizer.lr"])
        same = ("data", "loss", "optimizer", "batch_size", "weight_decay", "seed")
        assert [hparams[name] for name in same] == ["synthetic", "cross_entropy", "sgd", 64, 0, 0]
        assert hparams["hidden_sizes"] == ("256" if typed["model"] == "mlp" else "")
        found = {metric["name"]["tag"]: metric["value"] for metric in session["metricValues"]}
        assert found == pytest.approx({"hp/val_acc": result["val/acc"], "hp/test_acc": result["test/acc"]})


def test_only_the_best_job_has_pictures(sweep: Path, board: TensorBoard) -> None:
    tags = board.json("plugin/images/tags")
    best = max(results(sweep), key=lambda run: results(sweep)[run]["val/acc"])
    assert list(tags) == [best]
    drawn = sorted((sweep.parent / best / "figures").glob("*.png"))
    assert set(tags[best]) == {f"figures/{path.stem}" for path in drawn} and len(drawn) == 6
    for path in drawn:
        (image,) = board.json("plugin/images/images", run=best, tag=f"figures/{path.stem}", sample=0)
        shown = board.get(f"plugin/images/individualImage?{image['query']}&x=")
        assert image["step"] == 3 and shown == path.read_bytes()


def test_graph_true_adds_the_graph_of_the_network(tmp_path: Path) -> None:
    done = command(*SMALL, "trainer.max_epochs=1", "graph=true", "hydra.run.dir=one", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert EventAccumulator(str(tmp_path / "one")).Reload().Tags()["graph"] is True

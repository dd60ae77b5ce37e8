"""`python -m src.eval`: evaluation equals the reported result, for every network and data set."""

import json
from pathlib import Path

import pytest

from src.eval import main
from src.settings import choices
from tests.conftest import Captured, composed
from tests.runs import trained

FOLDER = Path("outputs/runs/day/run")
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def run(*overrides: str) -> Path:
    trained(composed(*overrides, "trainer.max_epochs=2"), FOLDER)
    return FOLDER


@pytest.mark.parametrize("data", choices("data"))
@pytest.mark.parametrize("model", choices("model"))
def test_evaluation_equals_the_reported_result_to_the_last_digit(
    model: str, data: str, tiny_data: dict[str, list[str]], capsys: Captured
) -> None:
    folder = run(f"data={data}", f"model={model}", *tiny_data[data], "seed=3")
    before = json.loads((folder / "metrics.json").read_text())
    for split in ("test", "val"):
        assert main(["run=latest", f"split={split}", "figures=false"]) == 0
        assert "(exactly as training reported)" in capsys.readouterr().out
        found = json.loads((folder / "evaluation" / split / "result.json").read_text())
        assert (found["loss"], found["acc"]) == (before[f"{split}/loss"], before[f"{split}/acc"])
        matrix = found["confusion_matrix"]
        assert sum(map(sum, matrix)) == found["images"]
        right = sum(matrix[label][label] for label in range(len(matrix)))
        assert right / found["images"] == pytest.approx(found["acc"])
        assert [each["images"] for each in found["classes"]] == list(map(sum, matrix))
        assert found["data_source"] == before["data_source"]


def test_every_measure_is_printed_and_the_pictures_of_the_split_are_drawn(capsys: Captured) -> None:
    folder = run("data=synthetic", "data.num_classes=3")
    assert main(["run=outputs/runs/day/run", "split=val"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("outputs/runs/day/run: best.ckpt, epoch ")
    assert lines[1].startswith("val loss ") and "   calibration error " in lines[1]
    assert "class    precision  recall  f1      images" in lines
    assert "true \\ predicted  class 0  class 1  class 2" in lines
    saved, figures = (f"{folder}/evaluation/val/{name}" for name in ("result.json", "figures"))
    assert lines[-2:] == [f"  saved        {saved}", f"  figures      {figures}"]
    assert (folder / "evaluation" / "val" / "figures" / "mistakes.png").exists()
    assert not (folder / "figures").exists()


def test_with_changed_data_settings_the_reported_result_is_shown_too(capsys: Captured) -> None:
    run("data=synthetic")
    assert main(["run=latest", "data.normalize=true", "figures=false"]) == 0
    assert "(training reported loss " in capsys.readouterr().out


def test_a_result_that_cannot_be_saved_is_still_printed(capsys: Captured) -> None:
    folder = run("data=synthetic")
    (folder / "evaluation").touch()
    assert main(["run=latest"]) == 74
    out, err = capsys.readouterr()
    assert "(exactly as training reported)" in out
    assert err.startswith(f"error: could not write {folder}/evaluation/test/result.json: ")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "run is missing: which one? Try python -m src.eval run=latest"),
        (["run=latest", "split=train"], 2, "split must be one of test, val, got 'train'. Try split=test."),
        (["run=latest", "fgures=false"], 2, "unknown word 'fgures=false'. Did you mean figures?"),
        (["run=latest"], 3, "run=latest: there is no completed run in outputs/. Train one: python -m src.train"),
        (["run=here"], 2, "run must be latest, best or the folder of a run or sweep, but here is not a folder."),
    ],
)
def test_bad_input_prints_one_line_to_stderr(words: list[str], code: int, text: str, capsys: Captured) -> None:
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {text}") and err.count("\n") == 1


def test_help_shows_an_example_command(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    assert "python -m src.eval run=latest" in capsys.readouterr().out

"""`python -m src.predict`: the same labels as in evaluation, and one row per file."""

import csv
import json
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from src.errors import BadInput
from src.finished.measure import evaluated
from src.finished.reopen import opened
from src.predict import files_of, main
from tests.conftest import Captured, composed
from tests.runs import trained

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def run(*overrides: str) -> Path:
    folder = Path("outputs/runs/day/run")
    trained(composed(*overrides, "trainer.max_epochs=2"), folder)
    return folder


@pytest.mark.parametrize("resize", ["null", "24"])
@pytest.mark.parametrize(("data", "model"), [("fashion_mnist", "softmax"), ("cifar2", "mlp"), ("cifar10", "linear")])
def test_the_test_images_as_files_get_the_same_labels_as_in_evaluation(
    data: str, model: str, resize: str, tiny_data: dict[str, list[str]], capsys: Captured
) -> None:
    words = [f"data={data}", f"model={model}", *tiny_data[data], f"data.resize={resize}", "data.normalize=true"]
    evaluation, parts = evaluated(opened(run(*words)), "test")
    pixels = parts.data.read().test.pixels  # before they are resized
    Path("originals").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(f"originals/{number:03d}.png")
    capsys.readouterr()
    assert main(["run=latest", "images=originals/*.png", "figures=false", "--format", "json", "top=2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = [evaluation.class_names[label] for label in evaluation.predicted]
    assert [row["label"] for row in rows] == names and len(rows) == len(pixels)
    found = torch.tensor([row["probability"] for row in rows])
    assert torch.allclose(found, evaluation.probabilities.amax(dim=1), atol=1e-6)
    assert all(len(row["runners_up"]) == 1 and row["runners_up"][0]["label"] != row["label"] for row in rows)


@pytest.fixture
def photos() -> Path:
    """Trains a run; returns a folder with two images and a file that is not an image."""
    run("data=synthetic", "data.num_classes=3")
    folder = Path("photos")
    folder.mkdir()
    for name in ("a.png", "b.jpg"):
        Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (40, 40), dtype=numpy.uint8)).save(folder / name)
    (folder / "c.png").write_text("no image")
    return folder


def test_a_file_that_is_not_an_image_gets_a_row_and_the_others_are_labelled(photos: Path, capsys: Captured) -> None:
    assert main(["run=latest", "images=photos/*"]) == 0
    head, first, second, third, figure = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "label", "probability", "then", "note"]
    assert first.startswith("photos/a.png  class ") and second.startswith("photos/b.jpg  class ")
    assert third.split(maxsplit=1)[1].startswith("not used: is not an image of a known format")
    path = Path(figure.removeprefix("  figure       "))
    assert path.parent == Path("outputs/runs/day/run/predictions")
    with Image.open(path) as drawn:
        assert drawn.size[0] > 100


def test_csv_has_one_row_per_file_and_nothing_else_on_stdout(photos: Path, capsys: Captured) -> None:
    assert main(["run=latest", "images=photos", "--format=csv", "top=5"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["file"] for row in rows] == ["photos/a.png", "photos/b.jpg", "photos/c.png"]
    assert sum(float(rows[0][key]) for key in ("probability", "probability_2", "probability_3")) == pytest.approx(1)
    assert rows[2]["label"] == rows[2]["probability_2"] == "" and rows[2]["error"].startswith("is not an image")
    assert err.startswith("  figure       ")


def test_an_inverted_negative_is_predicted_like_its_original(photos: Path, capsys: Captured) -> None:
    Image.fromarray(255 - numpy.asarray(Image.open(photos / "a.png"))).save("negative.png")
    rows = []
    for words in (["images=photos/a.png"], ["images=negative.png", "invert=true"], ["images=negative.png"]):
        assert main(["run=latest", "figures=false", "--format=json", *words]) == 0
        rows.append(json.loads(capsys.readouterr().out)[0]["probability"])
    assert rows[0] == pytest.approx(rows[1], abs=1e-3) and rows[0] != pytest.approx(rows[2], abs=1e-3)


def test_the_exit_code_is_3_if_no_image_can_be_used(photos: Path, capsys: Captured) -> None:
    assert main(["run=latest", "images=photos/c.png,photos/d.png"]) == 3
    out = capsys.readouterr().out
    assert "does not exist" in out and "figure" not in out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["images=x.png"], "run is missing. Try python -m src.predict run=latest images='photos/*.png'"),
        (["run=latest"], "images is missing. Try python -m src.predict run=latest images='photos/*.png'"),
        (["run=latest", "images=x.png", "top=0"], "top must be an integer >= 1, got '0'. Try top=3."),
        (["run=latest", "images=x.png", "top=00"], "top must be an integer >= 1, got '00'. Try top=3."),
        (["run=latest", "images=x.png", "--format=xml"], "--format must be one of table, json, csv, got 'xml'."),
        (["run=latest", "images=x.png", "invert=1"], "invert must be one of true, false, got '1'. Try invert=true."),
        (["run=latest", "images=none/*.png"], "images=none/*.png matches no file in "),
    ],
)
def test_bad_input_prints_one_line_to_stderr(words: list[str], text: str, capsys: Captured) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {text}") and err.count("\n") == 1


def test_images_may_be_a_pattern_a_folder_or_a_list(in_an_empty_folder: Path) -> None:
    inner, folder = Path("deep/er"), in_an_empty_folder / "deep" / "er"
    folder.mkdir(parents=True)
    for name in ("b.png", "a.png", "c,d.jpg"):
        (folder / name).touch()
    assert files_of("deep/er/*.png") == [inner / "a.png", inner / "b.png"]
    assert files_of("deep/**/*.jpg") == files_of("deep/er/c,d.jpg") == [inner / "c,d.jpg"]
    assert files_of("deep/er") == sorted(inner.iterdir())
    assert files_of(f"[{folder}/a.png, deep/er/b*]") == [folder / "a.png", inner / "b.png"]
    assert len(files_of(",".join(["deep/er/a.png"] * 500))) == 500  # longer than a path can be
    Path("empty").mkdir()
    with pytest.raises(BadInput, match="matches no file"):
        files_of("empty")


def test_a_network_for_two_channels_cannot_predict_image_files(capsys: Captured) -> None:
    run("data=synthetic", "data.channels=2", "data.mean=[0,0]", "data.std=[1,1]")
    Path("a.png").touch()
    assert main(["run=latest", "images=a.png"]) == 2
    expected = "error: the run was trained on images of 2 channels, which image files do not have.\n"
    assert capsys.readouterr().err == expected


def test_help_shows_an_example_command(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    assert "python -m src.predict run=latest images='photos/*.png'" in capsys.readouterr().out

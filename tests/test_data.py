"""`python -m src.data`, called as a function and as a process."""

import os
from pathlib import Path
from typing import Any

import pytest

from src.data import main
from src.datasets import sources
from src.datasets.image_folder import decode
from tests.data_files import data_set
from tests.runs import command

Captured = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def look(root: Path, *words: str) -> int:
    return main([f"data.root={root}", f"data.sources=[{root}]", "data.val_size=9", "data.batch_size=2", *words])


def test_each_data_set_is_shown_with_its_source_and_its_verification(fashion_root: Path, capsys: Captured) -> None:
    assert look(fashion_root) == 0
    to_download = "  source    none on this machine; to download it: python -m src.data data="
    assert capsys.readouterr().out.splitlines() == [
        f"cifar10: {', '.join(data_set('cifar10').class_names)}",
        f"{to_download}cifar10 fetch=true",
        "cifar2: airplane, bird",
        f"{to_download}cifar2 fetch=true",
        f"fashion_mnist: {', '.join(data_set('fashion_mnist').class_names)}",
        f"  source    {fashion_root}/FashionMNIST/raw",
        "  verified  yes: 80 images, the official bytes (sha256)",
        "  decoded   not yet: at first use",
    ]
    assert not list(Path().iterdir())  # showing writes nothing


def test_an_image_folder_is_shown_as_not_verified(cifar_images: Path, capsys: Captured) -> None:
    assert look(cifar_images, "data=cifar2") == 0
    out = capsys.readouterr().out
    assert f"  source    {cifar_images}/cifar10 (image folder, fingerprint " in out
    assert "  verified  no: an image folder need not hold the official bytes; 24 images, none is missing\n" in out


def test_fetching_decodes_into_the_cache(fashion_root: Path, capsys: Captured) -> None:
    assert look(fashion_root, "data=fashion_mnist", "fetch=true") == 0
    assert "  decoded   in data/cache, 0.1 MB\n" in capsys.readouterr().out
    names = {path.name for path in Path("data/cache").glob("*.npz")}
    assert names == {"fashion-mnist_test.npz", "fashion-mnist_train.npz"}


def test_official_files_are_verified_again_even_if_they_are_cached(fashion_root: Path, capsys: Captured) -> None:
    look(fashion_root, "data=fashion_mnist", "fetch=true")
    path = fashion_root / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte"
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # damage on disk does not change the time
    assert look(fashion_root, "data=fashion_mnist") == 3
    assert capsys.readouterr().err.startswith(f"error: {path} is damaged")


def test_an_image_folder_is_not_decoded_twice(cifar_images: Path, capsys: Captured, monkeypatch: Any) -> None:
    look(cifar_images, "data=cifar2", "fetch=true")
    sources.read.cache_clear()
    monkeypatch.setattr("src.datasets.image_folder.decode", lambda *arguments: pytest.fail("decoded again"))
    assert look(cifar_images, "data=cifar2") == 0
    assert "24 images, none is missing" in capsys.readouterr().out


def test_a_damaged_data_set_is_an_error_and_the_others_are_still_shown(fashion_root: Path, capsys: Captured) -> None:
    path = fashion_root / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(b"")
    assert look(fashion_root, "data=fashion_mnist,cifar2") == 3
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {path} is damaged: its sha256 is ")
    assert out.splitlines()[-2] == "cifar2: airplane, bird"


def test_a_missing_file_is_reported_in_one_line(cifar_unpacked: Path, capsys: Captured) -> None:
    path = cifar_unpacked / data_set("cifar10").folder / "test_batch"
    path.unlink()
    assert look(cifar_unpacked, "data=cifar10") == 3
    assert capsys.readouterr().err == f"error: {path} is missing. Unpack cifar-10-python.tar.gz there again.\n"


def test_a_figure_that_cannot_be_written_is_reported(capsys: Captured) -> None:
    Path("outputs").touch()
    assert main(["data=synthetic", "figure=true"]) == 74
    assert capsys.readouterr().err.startswith("error: could not write outputs/data/synthetic.png: ")


def test_25_classes_and_two_channels_are_drawn(capsys: Captured) -> None:
    sizes = ["data.num_classes=25", "data.channels=2", "data.mean=[0,0]", "data.std=[1,1]", "data.train_per_class=2"]
    assert main(["data=synthetic", "figure=true", "data.val_size=5", "data.batch_size=8", *sizes]) == 0
    assert Path("outputs/data/synthetic.png").stat().st_size > 1000


def test_a_failed_download_reports_what_was_tried_and_what_to_do(tmp_path: Path, capsys: Captured) -> None:
    assert main([f"data.root={tmp_path}", "data=cifar2", "fetch=true"]) == 3
    err = capsys.readouterr().err
    not_found = f"CIFAR-10 was not found: {tmp_path} has no cifar-10-batches-py/, cifar-10-python.tar.gz"
    assert err.startswith(f"error: {not_found}") and err.count("\n") == 1
    tried = ("skypilot", "brainchip", "zenodo", "cs.toronto.edu")
    for part in (*tried, "no test may use the network", "data.sources", "data.source=synthetic"):
        assert part in err


def test_the_statistics_of_all_classes_are_compared_with_the_config(cifar_images: Path, capsys: Captured) -> None:
    # The pixels of the tiny set are evenly distributed: mean 0.5, standard deviation 0.29.
    settings = ["data.mean=[0.5,0.5,0.5]", "data.std=[0.29,0.29,0.29]"]
    assert look(cifar_images, "data=cifar2", "stats=true", *settings) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  statistics of 20 training images, by channel" in lines
    rows = [line[4:22].strip() for line in lines if " std 0." in line]
    assert rows == ["airplane, bird", "all 10 classes", "data.mean, data.st"]
    text = "    data.mean and data.std {} the statistics of {}: the largest difference is "
    assert lines[-1].startswith(text.format("match", "all 10 classes") + "0.00")
    assert look(cifar_images, "data=cifar10", "stats=true") == 0
    assert text.format("do not match", "these images") in capsys.readouterr().out


def test_statistics_are_not_compared_if_a_class_is_missing(cifar_images: Path, capsys: Captured) -> None:
    for path in (cifar_images / "cifar10" / "train" / "frog").iterdir():
        path.unlink()
    assert look(cifar_images, "data=cifar2", "stats=true") == 3
    out, err = capsys.readouterr()
    assert "    airplane, bird " in out
    assert err.startswith("error: data.mean and data.std are the statistics of all 10 classes, but ")
    assert "/frog has 0 " in err


def test_a_figure_shows_some_images_of_each_class(cifar_images: Path, capsys: Captured, monkeypatch: Any) -> None:
    drawn = []

    class Drawn:
        def savefig(self, path: Path, dpi: int) -> None:
            path.write_bytes(b"a picture")

    def class_grid(examples: Any, class_names: Any, *, title: str) -> Drawn:
        drawn.append((examples, class_names, title))
        return Drawn()

    monkeypatch.setattr("src.datasets.figure.class_grid", class_grid)
    monkeypatch.setattr("src.data.IMAGES_OF_A_CLASS", 6)
    for seed in (0, 0, 1):
        assert look(cifar_images, "data=cifar2", "figure=true", f"seed={seed}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "  figure    outputs/data/cifar2.png"
    assert Path("outputs/data/cifar2.png").read_bytes() == b"a picture"
    (examples, class_names, title), (same, _, _), (others, _, _) = drawn
    assert (class_names, title) == (("airplane", "bird"), "cifar2: training images by label")
    assert [images.shape for images in examples] == [(6, 3, 32, 32)] * 2
    for name, images in zip(class_names, examples, strict=True):
        paths = [str(path) for path in (cifar_images / "cifar10" / "train" / name).iterdir()]
        expected = {decode(path, data_set("cifar10")).numpy().tobytes() for path in paths}
        assert {image.numpy().tobytes() for image in images} <= expected
    everything = {image.numpy().tobytes() for images in examples for image in images}
    assert len(everything) == 12
    assert all(left.equal(right) for left, right in zip(examples, same, strict=True))
    assert not examples[0].equal(others[0])


def test_generated_images_need_no_files(capsys: Captured) -> None:
    assert main(["data=synthetic", "stats=true"]) == 0
    assert "  source    generated, needs no files\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("stat=true", "unknown word 'stat=true'. Did you mean stats? Known here: data, fetch, stats, figure, seed,"),
        ("model=mlp", "unknown word 'model=mlp'. Known here: data, fetch, "),
        ("data.rot=x", "unknown key 'data.rot'. Did you mean data.root?"),
        ("stats=ture", "stats must be true or false, got 'ture'. Try stats=true."),
        ("data=cifar3", "unknown data 'cifar3'. Did you mean data=cifar2?"),
        ("-m", "unknown word '-m'. Known here: data, fetch, "),
    ],
)
def test_a_mistyped_word_is_answered_with_a_hint(word: str, answer: str, capsys: Captured) -> None:
    assert main([word]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {answer}")


def test_help_is_one_screen(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "python -m src.data data=cifar2 fetch=true" in out and out.count("\n") < 20


def test_the_command_runs_as_a_process(tmp_path: Path) -> None:
    done = command("data=synthetic", cwd=tmp_path, module="src.data")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("synthetic: class 0, class 1")

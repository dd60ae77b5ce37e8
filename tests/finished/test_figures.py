import matplotlib
import numpy
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from src.finished import figures
from src.finished.figures import MARK, confusion_matrix, image_grid, learning_curves, shift_curves, weight_grid


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_an_image_grid_shows_every_image_under_its_title_and_frames_some() -> None:
    pixels = torch.randint(256, (11, 3, 8, 6), dtype=torch.uint8)
    titles = [f"title {number}" for number in range(11)]
    figure = image_grid(pixels, titles, title="all", framed=[number == 4 for number in range(11)])
    axes = figure.axes[0]
    assert figure.get_suptitle() == "all" and texts(figure) == titles
    for image, expected in zip(axes.get_images(), pixels, strict=True):
        assert torch.allclose(torch.as_tensor(image.get_array()), expected.permute(1, 2, 0) / 255)
    (frame,) = axes.patches
    left, _, _, top = axes.get_images()[4].get_extent()
    assert frame.get_bbox().bounds == pytest.approx((left, top, 6, 8))
    assert [text.get_color() == MARK for text in axes.texts] == [number == 4 for number in range(11)]
    assert len({tuple(image.get_extent()) for image in axes.get_images()}) == 11  # no image hides another


def test_grey_images_are_shown_as_rgb_and_large_ones_reduced() -> None:
    figure = image_grid(torch.full((1, 1, 300, 300), 51, dtype=torch.uint8), ["a"], title="")
    shown = figure.axes[0].get_images()[0].get_array()
    assert shown.shape == (60, 60, 3) and numpy.allclose(shown, 0.2)


def test_a_long_title_over_few_images_is_not_cut_off() -> None:
    title = "Weight of each pixel for the score of a class; each of red, green, blue from -0.174 to 0.174"
    figure = image_grid(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), ["airplane", "bird"], title=title)
    FigureCanvasAgg(figure).draw()
    (shown,) = [text for text in figure.texts if text.get_text() == title]
    box = shown.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_a_grid_without_images_says_none() -> None:
    figure = image_grid(torch.empty(0, 1, 8, 8, dtype=torch.uint8), [], title="The most confident of 0")
    assert texts(figure) == ["none"]


def test_weights_share_one_scale_with_zero_in_the_middle() -> None:
    weights = torch.stack([torch.full((1, 4, 4), 0.5), torch.zeros(1, 4, 4), torch.full((1, 4, 4), -0.25)])
    figure = weight_grid(weights, ["a", "b", "c"], title="weights")
    most, zero, less = (image.get_array()[0, 0] for image in figure.axes[0].get_images())
    colours = matplotlib.colormaps[figures.DIVERGING]
    assert numpy.allclose(most, colours(1.0)[:3]) and numpy.allclose(less, colours(0.25)[:3], atol=0.01)
    assert numpy.allclose(zero, colours(0.5)[:3], atol=0.01)
    assert texts(figure) == ["a", "b", "c"]
    assert figure.axes[1].get_ylabel() == "weight" and figure.axes[1].get_ylim() == pytest.approx((-0.5, 0.5))


def test_weights_of_rgb_images_are_drawn_in_colour_and_zero_is_grey() -> None:
    weights = torch.zeros(2, 3, 4, 4)
    weights[1, 0] = 0.5
    figure = weight_grid(weights, ["a", "b"], title="weights")
    zero, red = (image.get_array()[0, 0] for image in figure.axes[0].get_images())
    assert zero.tolist() == [0.5, 0.5, 0.5] and red.tolist() == [1, 0.5, 0.5]
    assert figure.get_suptitle() == "weights; each of red, green, blue from -0.5 to 0.5"


def test_the_confusion_matrix_shows_counts_coloured_by_the_share_of_the_true_class() -> None:
    counts = torch.tensor([[1500, 500], [0, 10]])
    figure = confusion_matrix(counts, ["airplane", "bird"])
    axes = figure.axes[0]
    assert texts(figure) == ["1,500", "500", "0", "10"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    (image,) = axes.get_images()
    assert numpy.allclose(image.get_array(), [[0.75, 0.25], [0, 1]]) and image.get_clim() == (0, 1)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["airplane", "bird"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert axes.get_title() == "Confusion matrix: 1,510 of 2,010 images right"
    assert figure.axes[1].get_ylabel() == "share of the true class"


def test_a_confusion_matrix_of_many_classes_has_no_numbers() -> None:
    assert texts(confusion_matrix(torch.eye(50, dtype=torch.int64), [*map(str, range(50))])) == []


def test_learning_curves_show_both_splits_and_mark_the_best_epoch() -> None:
    rows = [
        {"epoch": 1, "train/loss": 2.0, "train/acc": 0.2, "val/loss": 1.5, "val/acc": 0.3},
        {"epoch": 2, "train/loss": 1.0, "train/acc": 0.4},
        {"epoch": 3, "train/loss": 0.5, "train/acc": 0.6, "val/loss": 1.0, "val/acc": 0.5},
    ]
    figure = learning_curves(rows, best_epoch=3)
    for axes, name, label in zip(figure.axes, ("loss", "acc"), ("loss", "accuracy"), strict=True):
        train, val, best = axes.lines
        assert list(train.get_xdata()) == [1, 2, 3] and list(val.get_xdata()) == [1, 3]
        assert list(train.get_ydata()) == [row[f"train/{name}"] for row in rows]
        assert list(val.get_ydata()) == [rows[0][f"val/{name}"], rows[2][f"val/{name}"]]
        assert list(best.get_xdata()) == [3, 3]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", label)
        assert legend(axes) == ["training", "validation", "best epoch, 3"]


def test_shift_curves_have_the_same_axis_for_every_run() -> None:
    curves = {"right": [0.6, 0.9, 0.7], "down": [0.5, 0.9, 0.4]}
    (axes,) = shift_curves([-1, 0, 1], curves, num_images=2000, num_classes=2).axes
    right, down, guessing = axes.lines
    assert list(right.get_xdata()) == [-1, 0, 1] and list(right.get_ydata()) == [0.6, 0.9, 0.7]
    assert list(down.get_ydata()) == [0.5, 0.9, 0.4] and list(guessing.get_ydata()) == [0.5, 0.5]
    assert axes.get_ylim() == (0, 1)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("shift, pixels", "accuracy")
    assert legend(axes) == ["right (negative: left)", "down (negative: up)", "guessing"]

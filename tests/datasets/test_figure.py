import torch

from src.datasets.figure import class_grid


def test_each_class_has_a_row_of_its_images_with_label_and_name() -> None:
    examples = [torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8) for _ in range(2)]
    figure = class_grid(examples, ["airplane", "bird"], title="what is shown")
    assert figure.get_suptitle() == "what is shown"
    axes = figure.axes
    assert len(axes) == 8
    assert [axes[number].get_ylabel() for number in (0, 4)] == ["0  airplane", "1  bird"]
    for number, each in enumerate(axes):
        (image,) = each.get_images()
        shown = torch.from_numpy(image.get_array().data)
        assert torch.equal(shown, examples[number // 4][number % 4].permute(1, 2, 0))
        assert not each.get_xticks().size and not each.get_yticks().size


def test_grey_images_are_drawn_from_black_to_white() -> None:
    figure = class_grid([torch.full((1, 1, 8, 8), 100, dtype=torch.uint8)] * 2, ["a", "b"], title="grey")
    (image,) = figure.axes[0].get_images()
    assert image.get_array().shape == (8, 8)
    assert (image.get_clim(), image.get_cmap().name) == ((0, 255), "gray")


def test_images_with_two_channels_are_drawn_as_the_mean_of_the_channels() -> None:
    image = torch.stack([torch.full((8, 8), level, dtype=torch.uint8) for level in (100, 200)])
    figure = class_grid([image[None]] * 2, ["a", "b"], title="two channels")
    (shown,) = figure.axes[0].get_images()
    assert (shown.get_array() == 150).all()

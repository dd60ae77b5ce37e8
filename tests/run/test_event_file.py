from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from src.run.event_file import PATTERN, append_pictures


def test_pictures_are_added_to_the_existing_event_file(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    writer.add_scalar("val/acc", 0.5, 1)
    writer.close()
    Image.new("RGB", (30, 20), "red").save(tmp_path / "mistakes.png")
    append_pictures([tmp_path / "mistakes.png"], tmp_path, epoch=7)
    assert len(list(tmp_path.glob(PATTERN))) == 1
    events = EventAccumulator(str(tmp_path)).Reload()
    (image,) = events.Images("figures/mistakes")
    assert (image.step, image.width, image.height) == (7, 30, 20)
    assert image.encoded_image_string == (tmp_path / "mistakes.png").read_bytes()
    assert events.Scalars("val/acc")[0].value == 0.5


def test_without_an_event_file_nothing_is_added(tmp_path: Path) -> None:
    append_pictures([], tmp_path, epoch=1)
    assert list(tmp_path.iterdir()) == []

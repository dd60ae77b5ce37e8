"""Shows where each data set is on this machine, and whether it is verified and decoded; downloads what is missing.

  data=NAME     only this data set, or several: data=fashion_mnist,cifar2
  fetch=true    download what is missing, verify and decode it
  stats=true    print the mean and standard deviation of the training images next to data.mean and data.std
  figure=true   draw some training images of each class, in outputs/data/
  data.KEY=...  change a setting of the data set, such as data.root or data.classes

python -m src.data data=cifar2 fetch=true stats=true figure=true
"""

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.build import build, changed
from src.command.frame import framed, report_error
from src.command.jobs import checked_jobs
from src.errors import BadInput, DataError, LabError, did_you_mean
from src.files import typeable, writing
from src.settings import choices

if TYPE_CHECKING:
    from src.datasets.datamodules import FromFiles
    from src.datasets.image_data import ImageDataModule

KEYS = ("data", "fetch", "stats", "figure", "seed")
IMAGES_OF_A_CLASS = 10  # in a picture
MOST_CLASSES = 20  # in a picture
CLOSE = 0.005  # largest difference that counts as a match; JPEG copies differ slightly from the originals


def show(words: Sequence[str]) -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    exit_codes = []
    for name, cfg in checked(words).items():
        try:
            show_one(name, cfg)
        except LabError as error:
            exit_codes.append(report_error(error))
    return max(exit_codes, default=0)


def checked(words: Sequence[str]) -> dict[str, DictConfig]:
    """Maps each name in data=... to its config; by default, the names of all data sets that are read from files."""
    for word in words:
        key = word.partition("=")[0]
        if key.partition(".")[0] not in KEYS:
            raise BadInput(f"unknown word {word!r}.{did_you_mean(key, KEYS)} Known here: {', '.join(KEYS)}, data.KEY.")
    typed = [word.removeprefix("data=").split(",") for word in words if word.startswith("data=")]
    others = [word for word in words if not word.startswith("data=")]
    names = typed[-1] if typed else [name for name in choices("data") if "sources" in config_of(name, []).data]
    return {name: config_of(name, others) for name in names}


def config_of(name: str, words: Sequence[str]) -> DictConfig:
    return checked_jobs([f"data={name}", *words], multirun=False, config_name="data").configs[0]


def show_one(name: str, cfg: DictConfig) -> None:
    """Shows one data set. Fetches it first if fetch, stats or figure is set."""
    from src.datasets.datamodules import FromFiles

    data: ImageDataModule = build(cfg, "data")
    print(f"{name}: {', '.join(data.class_names)}", flush=True)
    if cfg.fetch or cfg.stats or cfg.figure:
        data.read()
    if isinstance(data, FromFiles) and not data.generate:
        show_files(name, data)
    else:
        print("  source    generated, needs no files")
    if cfg.stats:
        show_statistics(cfg, data)
    if cfg.figure:
        draw(name, data, seed=cfg.seed)


def show_files(name: str, data: "FromFiles") -> None:
    copy = data.found()
    if copy is None:
        print(f"  source    none on this machine; to download it: python -m src.data data={name} fetch=true")
        return
    kept = data.cached()
    sets = data.read() if kept and not copy.verified_by else copy.read()
    count = len(sets.train) + len(sets.test)
    print(f"  source    {sets.source}")
    print(
        f"  verified  yes: {count:,} images, the official bytes ({copy.verified_by})"
        if copy.verified_by
        else f"  verified  no: an image folder need not hold the official bytes; {count:,} images, none is missing"
    )
    print(f"  decoded   {f'in {kept[0]}, {kept[1] / 1e6:.1f} MB' if kept else 'not yet: at first use'}")


def show_statistics(cfg: DictConfig, data: "ImageDataModule") -> None:
    """Prints channel statistics next to data.mean and data.std, the statistics of all classes."""
    from src.datasets.statistics import channel_statistics

    official = data.read()
    mean, std = channel_statistics(official.train.pixels)
    print(f"  statistics of {len(official.train):,} training images, by channel")
    print_row(", ".join(data.class_names) if len(data.class_names) < 4 else "these classes", mean, std)
    of = "these images"
    if data.class_names != data.data_set.class_names:
        of = f"all {len(data.data_set.class_names)} classes"
        try:
            mean, std = channel_statistics(build(changed(cfg, {"data.classes": None}), "data").read().train.pixels)
        except DataError as error:
            raise DataError(f"data.mean and data.std are the statistics of {of}, but {error}") from error
        print_row(of, mean, std)
    print_row("data.mean, data.std", cfg.data.mean, cfg.data.std)
    pairs = zip([*mean, *std], [*cfg.data.mean, *cfg.data.std], strict=True)
    difference = max(abs(found - expected) for found, expected in pairs)
    verdict = "match" if difference <= CLOSE else "do not match"
    print(f"    data.mean and data.std {verdict} the statistics of {of}: the largest difference is {difference:.4f}")


def print_row(title: str, mean: Sequence[float], std: Sequence[float]) -> None:
    numbers = (" ".join(f"{value:.4f}" for value in values) for values in (mean, std))
    print(f"    {title:<20}  mean {next(numbers)}  std {next(numbers)}")


def draw(name: str, data: "ImageDataModule", *, seed: int) -> None:
    """Draws some training images of each class; the seed chooses them."""
    import torch

    from src.datasets.figure import class_grid

    train = data.read().train
    generator = torch.Generator().manual_seed(seed)
    labels = range(min(data.num_classes, MOST_CLASSES))
    rows_of_classes = [(train.labels == label).nonzero().flatten() for label in labels]
    count = min(IMAGES_OF_A_CLASS, *(len(rows) for rows in rows_of_classes))
    examples = [train.pixels[rows[torch.randperm(len(rows), generator=generator)[:count]]] for rows in rows_of_classes]
    path = Path("outputs", "data", f"{name}.png")
    figure = class_grid(examples, data.class_names[: len(labels)], title=f"{name}: training images by label")
    with writing(path):
        figure.savefig(path, dpi=120)
    print(f"  figure    {typeable(path)}")


main = partial(framed, show, usage=__doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

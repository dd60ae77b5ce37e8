"""Predicts the labels of image files with a finished run.

  run=latest|best|FOLDER  as for python -m src.eval
  data=NAME               for run=best, among the runs of this data set
  images=WHAT             a pattern ('photos/*.png'), a folder, or files with commas between them
  invert=true|false       make dark what is light: for dark drawings on white, where training images are light on black
  top=N                   labels to show of each image, the most probable first (3)
  figures=true|false      draw a picture of the images under their labels (true)
  --format table|json|csv

python -m src.predict run=latest images='photos/*.png'
"""

import argparse
import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.command_line import end_with_reader, stop_on_signals
from src.errors import BadInput, DataError, LabError, as_known
from src.files import typeable
from src.finished import FinishedRun, Rebuilt, find, opened, rebuilt
from src.tables import as_text
from src.words import one_of, own_and_others

if TYPE_CHECKING:
    from torch import Tensor

    from src.data.datamodules import ImageDataModule

DEFAULTS = {"run": "", "data": "", "images": "", "invert": "false", "top": "3", "figures": "true"}
FOLDER = "predictions"  # in the run's
IN_PICTURE = 48  # images
FORMATS = ("table", "json", "csv")


def main(arguments: Sequence[str]) -> int:
    """Does what the words ask for; returns the exit code: 3 where not one image could be used."""
    stop_on_signals()
    end_with_reader()
    parser = argparse.ArgumentParser(
        prog="python -m src.predict", usage=__doc__, formatter_class=argparse.RawTextHelpFormatter, add_help=False
    )
    parser.add_argument("words", nargs="*")
    parser.add_argument("--format", default="table")
    parser.add_argument("-h", "--help", action="store_true")
    options, unknown = parser.parse_known_intermixed_args(arguments)
    if options.help:
        print(__doc__)
        return 0
    try:
        return predict([*options.words, *unknown], one_of("--format", options.format, FORMATS))
    except (LabError, OSError) as error:
        if (known := as_known(error)) is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code


def predict(words: Sequence[str], form: str) -> int:
    own, overrides = own_and_others(words, DEFAULTS)
    for key in ("run", "images"):
        if not own[key]:
            raise BadInput(f"{key} is missing. Try python -m src.predict run=latest images='photos/*.png'")
    if not own["top"].isdecimal() or int(own["top"]) < 1:
        raise BadInput(f"top must be an integer >= 1, got {own['top']!r}. Try top=3.")
    invert, wants_figure = (one_of(key, own[key], ("true", "false")) == "true" for key in ("invert", "figures"))
    files = files_of(own["images"])
    run = opened(find(own["run"], data=own["data"] or None), overrides)
    rows, pixels = predictions(run, files, invert=invert, top=int(own["top"]))
    print({"table": as_table, "json": as_json, "csv": as_csv}[form](rows), end="")
    done = [row for row in rows if "label" in row]
    if wants_figure and done:
        print(f"  figure       {typeable(draw(run, done, pixels))}", file=sys.stdout if form == "table" else sys.stderr)
    return 0 if done else DataError.exit_code


def files_of(images: str) -> list[Path]:
    """The files that were asked for: of a pattern those that match, of a folder all in it, else as they were typed.

    Raises:
        BadInput: there are none.
    """
    images = os.path.expanduser(images)  # noqa: PTH111
    if os.path.isdir(images):  # noqa: PTH112 - which is no error where a list is longer than a name can be
        found = sorted(path for path in Path(images).iterdir() if path.is_file())
    elif os.path.exists(images):  # noqa: PTH110
        found = [Path(images)]
    else:
        parts = images.removeprefix("[").removesuffix("]").split(",") if "," in images else [images]
        # Not Path.glob, which does not take absolute patterns.
        lists = [
            sorted(glob(part, recursive=True)) if has_magic(part) else [part]  # noqa: PTH207
            for part in map(os.path.expanduser, map(str.strip, parts))
        ]
        found = [Path(name) for names in lists for name in names if name and not os.path.isdir(name)]  # noqa: PTH112
    if not found:
        raise BadInput(f"images={images} matches no file in {Path.cwd()}. Try images='photos/*.png'.")
    return found


def predictions(
    run: FinishedRun, files: Sequence[Path], *, invert: bool, top: int
) -> tuple[list[dict[str, Any]], "Tensor"]:
    """A row a file, and the pixels of the first images that could be read, as the network saw them."""
    import torch

    from src.data import photos
    from src.networks import probabilities

    parts = rebuilt(run)
    if (channels := parts.data.data_set.channels) not in photos.MODES:
        raise BadInput(f"the run was trained on images of {channels} channels, which image files do not have.")
    rows: list[dict[str, Any]] = []
    shown: list[Tensor] = []
    batches = in_batches(files, parts.data, rows, shown, invert=invert)
    scores = scored(parts, run, batches)
    chances = probabilities(torch.cat(scores).float()) if scores else torch.empty(0, 1)
    for row, chance in zip((row for row in rows if "error" not in row), chances, strict=True):
        values, labels = chance.topk(min(top, len(chance)))
        ranked = [
            {"label": parts.data.class_names[label], "probability": value}
            for label, value in zip(labels.tolist(), values.tolist(), strict=True)
        ]
        row |= ranked[0] | {"runners_up": ranked[1:]}
    return rows, torch.stack(shown) if shown else torch.empty(0)


def scored(parts: Rebuilt, run: FinishedRun, batches: Iterator["Tensor"]) -> "list[Tensor]":
    """The scores of batches of images, as Lightning predicts them on the run's device."""
    first = next(batches, None)
    if first is None:
        return []

    def all_of_them() -> Iterator["Tensor"]:
        yield first
        yield from batches

    loader: Any = Loader(all_of_them())
    found: Any = parts.trainer.predict(parts.task, loader, ckpt_path=run.checkpoint, weights_only=True)
    return [batch.cpu() for batch in found]


class Loader:
    """Batches that come once, for Lightning, which asks for an iterable."""

    def __init__(self, batches: Iterator["Tensor"]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator["Tensor"]:
        return self.batches


def in_batches(
    files: Sequence[Path], data: "ImageDataModule", rows: list[dict[str, Any]], shown: "list[Tensor]", *, invert: bool
) -> Iterator["Tensor"]:
    """The images of some files as the network wants them, some at a time; adds a row for each file."""
    import torch

    from src.data import photos
    from src.data.loader import EVAL_BATCH_SIZE

    batch: list[Tensor] = []
    for file in files:
        row: dict[str, Any] = {"file": str(file)}
        rows.append(row)
        try:
            photo = photos.read(file, data.data_set, invert=invert)
        except DataError as error:
            row["error"] = str(error)
            continue
        row["notes"] = photo.notes
        batch.append(photo.pixels)
        if len(shown) < IN_PICTURE:
            shown.append(photo.pixels)
        if len(batch) == EVAL_BATCH_SIZE:
            yield data.prepared(torch.stack(batch))
            batch = []
    if batch:
        yield data.prepared(torch.stack(batch))


def draw(run: FinishedRun, rows: Sequence[dict[str, Any]], pixels: "Tensor") -> Path:
    from src import figures

    titles = [f"{row['label']}\n{row['probability'] * 100:.1f} %" for row in rows[: len(pixels)]]
    path = run.folder / FOLDER / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.png"
    path.parent.mkdir(exist_ok=True)
    title = f"{len(pixels)} of {len(rows)} images as the network sees them: predicted label, its probability"
    figures.image_grid(pixels, titles, title=title).savefig(path, dpi=100)
    return path


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [["file", "label", "probability", "then", "note"]]
    for row in rows:
        if "error" in row:
            lines.append([row["file"], "", "", "", f"not used: {row['error']}"])
            continue
        then = ", ".join(f"{other['label']} {other['probability']:.4f}" for other in row["runners_up"])
        lines.append([row["file"], row["label"], f"{row['probability']:.4f}", then, "; ".join(row["notes"])])
    return as_text(lines) + "\n"


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=2) + "\n"


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    others = max((len(row.get("runners_up", ())) for row in rows), default=0)
    head = [f"{name}_{number}" for number in range(2, others + 2) for name in ("label", "probability")]
    writer.writerow(["file", "label", "probability", *head, "notes", "error"])
    for row in rows:
        pairs = [value for other in row.get("runners_up", ()) for value in (other["label"], other["probability"])]
        cells = [row.get("label", ""), row.get("probability", ""), *pairs, *[""] * (2 * others - len(pairs))]
        writer.writerow([row["file"], *cells, "; ".join(row.get("notes", ())), row.get("error", "")])
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

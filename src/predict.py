"""Predicts the labels of image files with a finished run.

  run=latest|best|FOLDER     as for python -m src.eval
  data=NAME                  for run=best: use only runs of this data set
  images=WHAT                a pattern ('photos/*.png'), a folder, or files separated by commas
  invert=true|false          invert the pixels, for dark drawings on white if the training images are light on black
  top=N                      number of labels to show for each image, the most probable first (3)
  figures=true|false         draw a picture of the images under their labels (true)
  --format table|json|csv    output format (table)

python -m src.predict run=latest images='photos/*.png'
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src import tables
from src.command.frame import framed
from src.command.key_values import one_of, own_and_others, parsed
from src.errors import BadInput, DataError
from src.files import typeable, writing
from src.finished.find import find
from src.finished.reopen import FinishedRun, Rebuilt, opened, rebuilt

if TYPE_CHECKING:
    from torch import Tensor

    from src.datasets.image_files import Photo

DEFAULTS = {"run": "", "data": "", "images": "", "invert": "false", "top": "3", "figures": "true"}
FOLDER = "predictions"  # in the run's folder
MAX_IMAGES_IN_PICTURE = 48
Row = dict[str, Any]  # the result for one file: labels and notes, or an error


def predict(arguments: Sequence[str]) -> int:
    """Prints the predictions; returns exit code 3 if no image could be used."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--format", default="table")
    options, unknown = parser.parse_known_intermixed_args(arguments)
    written = {"table": as_table, "json": as_json, "csv": as_csv}
    write = written[one_of("--format", options.format, list(written))]
    own, overrides = own_and_others([*options.words, *unknown], DEFAULTS)
    check_own(own)
    files = files_of(own["images"])
    run = opened(find(own["run"], data=own["data"] or None), parsed(overrides))
    rows, pixels = predictions(run, files, invert=own["invert"] == "true", top=int(own["top"]))
    print(write(rows), end="")
    labelled = [row for row in rows if "label" in row]
    if own["figures"] == "true" and labelled:
        out = sys.stdout if options.format == "table" else sys.stderr
        print(f"  figure       {typeable(draw(run, labelled, pixels))}", file=out)
    return 0 if labelled else DataError.exit_code


def check_own(own: dict[str, str]) -> None:
    for key in ("run", "images"):
        if not own[key]:
            raise BadInput(f"{key} is missing. Try python -m src.predict run=latest images='photos/*.png'")
    if not own["top"].isdecimal() or int(own["top"]) < 1:
        raise BadInput(f"top must be an integer >= 1, got {own['top']!r}. Try top=3.")
    for key in ("invert", "figures"):
        one_of(key, own[key], ("true", "false"))


def files_of(images: str) -> list[Path]:
    """The files that match a pattern, the files in a folder, or the files in a list."""
    images = os.path.expanduser(images)  # noqa: PTH111
    if os.path.isdir(images):  # noqa: PTH112 - no error for a list that is too long for a path
        found = sorted(path for path in Path(images).iterdir() if path.is_file())
    elif os.path.exists(images):  # noqa: PTH110
        found = [Path(images)]
    else:
        parts = images.removeprefix("[").removesuffix("]").split(",") if "," in images else [images]
        # Not Path.glob, which refuses absolute patterns.
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
) -> tuple[list[Row], "Tensor | None"]:
    """A row for each file, and the pixels of the readable images, (count, channels, size, size), uint8."""
    import torch

    from src.datasets.facts import PILLOW_MODES
    from src.networks import probabilities

    parts = rebuilt(run)
    if (channels := parts.data.data_set.channels) not in PILLOW_MODES:
        raise BadInput(f"the run was trained on images of {channels} channels, which image files do not have.")
    found = [(file, read_or_error(file, parts, invert=invert)) for file in files]
    photos = [photo for _, photo in found if not isinstance(photo, DataError)]
    if not photos:
        return [row_of(file, error, []) for file, error in found], None
    pixels = torch.stack([photo.pixels for photo in photos])
    loader = parts.data.batches_of(pixels)
    scores: Any = parts.trainer.predict(parts.task, loader)
    chances = probabilities(torch.cat([batch.cpu() for batch in scores]).float())
    best = iter(ranked(chances, parts.data.class_names, top=top))
    rows = [row_of(file, photo, [] if isinstance(photo, DataError) else next(best)) for file, photo in found]
    return rows, pixels


def read_or_error(file: Path, parts: Rebuilt, *, invert: bool) -> "Photo | DataError":
    from src.datasets import image_files

    try:
        return image_files.read(file, parts.data.data_set, invert=invert)
    except DataError as error:
        return error


def ranked(chances: "Tensor", class_names: Sequence[str], *, top: int) -> list[list[Row]]:
    """The `top` most probable labels of each image, from the probabilities (count, num_classes)."""
    values, labels = chances.topk(min(top, len(class_names)), dim=1)
    return [
        [{"label": class_names[label], "probability": value} for label, value in zip(*pair, strict=True)]
        for pair in zip(labels.tolist(), values.tolist(), strict=True)
    ]


def row_of(file: Path, photo: "Photo | DataError", labels: list[Row]) -> Row:
    if isinstance(photo, DataError):
        return {"file": str(file), "error": str(photo)}
    return {"file": str(file), "notes": photo.notes, **labels[0], "runners_up": labels[1:]}


def draw(run: FinishedRun, rows: Sequence[Row], pixels: "Tensor | None") -> Path:
    from src.finished import figures

    assert pixels is not None, "every row is of an image"
    shown = pixels[:MAX_IMAGES_IN_PICTURE]
    titles = [f"{row['label']}\n{row['probability'] * 100:.1f} %" for row in rows[: len(shown)]]
    path = run.folder / FOLDER / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{os.getpid()}.png"
    title = f"{len(shown)} of {len(rows)} images as the network sees them: predicted label, its probability"
    with writing(path):
        figures.image_grid(shown, titles, title=title).savefig(path, dpi=100)
    return path


def as_table(rows: Sequence[Row]) -> str:
    lines = [["file", "label", "probability", "then", "note"]]
    for row in rows:
        if "error" in row:
            lines.append([row["file"], "", "", "", f"not used: {row['error']}"])
            continue
        then = ", ".join(f"{other['label']} {other['probability']:.4f}" for other in row["runners_up"])
        lines.append([row["file"], row["label"], f"{row['probability']:.4f}", then, "; ".join(row["notes"])])
    return tables.as_text(lines) + "\n"


def as_json(rows: Sequence[Row]) -> str:
    return json.dumps(rows, indent=2) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    others = max((len(row.get("runners_up", ())) for row in rows), default=0)
    head = [f"{name}_{number}" for number in range(2, others + 2) for name in ("label", "probability")]
    lines = [["file", "label", "probability", *head, "notes", "error"]]
    for row in rows:
        pairs = [value for other in row.get("runners_up", ()) for value in (other["label"], other["probability"])]
        cells = [row.get("label", ""), row.get("probability", ""), *pairs, *[""] * (2 * others - len(pairs))]
        lines.append([row["file"], *cells, "; ".join(row.get("notes", ())), row.get("error", "")])
    return tables.as_csv(lines)


main = partial(framed, predict, usage=__doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

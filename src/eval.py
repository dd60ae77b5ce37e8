"""Evaluates a finished run: its own config, its best checkpoint, no training override repeated.

  run=latest|best|FOLDER  the newest completed run in outputs/, that with the best validation accuracy, or a run's or
                          sweep's folder (of a sweep its best job)
  data=NAME               for run=best, among the runs of this data set
  split=test|val          what to evaluate it on (test)
  figures=true|false      draw the pictures of this split, too (true)
  data.KEY=...            a setting of the data changed, such as data.root; also threads, trainer.accelerator

python -m src.eval run=latest
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.command_line import end_with_reader, stop_on_signals
from src.errors import BadInput, CannotWrite, LabError, as_known
from src.files import typeable, write_json
from src.finished import FinishedRun, Rebuilt, evaluated, find, opened
from src.tables import as_text
from src.words import one_of, own_and_others

if TYPE_CHECKING:
    from src.evaluation import Evaluation

DEFAULTS = {"run": "", "data": "", "split": "test", "figures": "true"}
FOLDER = "evaluation"  # in the run's
MOST_CLASSES = 20  # whose confusion matrix is printed


def main(words: Sequence[str]) -> int:
    """Does what the words ask for; returns the exit code."""
    stop_on_signals()
    end_with_reader()
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return 0
    try:
        evaluate(words)
    except (LabError, OSError) as error:
        if (known := as_known(error)) is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code
    return 0


def evaluate(words: Sequence[str]) -> None:
    own, overrides = own_and_others(words, DEFAULTS)
    if not own["run"]:
        raise BadInput("run is missing: which one? Try python -m src.eval run=latest")
    split = one_of("split", own["split"], ("test", "val"))
    wants_figures = one_of("figures", own["figures"], ("true", "false")) == "true"
    run = opened(find(own["run"], data=own["data"] or None), overrides)
    print(f"{typeable(run.folder)}: {run.checkpoint.name}, epoch {run.result['best_epoch']}", flush=True)
    evaluation, parts = evaluated(run, split)
    print(report(evaluation, run, parts), flush=True)
    folder = run.folder / FOLDER / split
    content = evaluation.as_json() | {"data_source": parts.data.source, "settings": overrides}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "result.json", content)
    except OSError as error:
        raise CannotWrite(
            f"could not save this in {folder}: {error.strerror}. Make the run's folder writable."
        ) from error
    print(f"  saved        {typeable(folder / 'result.json')}")
    if wants_figures:
        draw(folder / "figures", evaluation, run, parts)


def draw(folder: Path, evaluation: "Evaluation", run: FinishedRun, parts: Rebuilt) -> None:
    from src.gallery import draw_gallery

    draw_gallery(folder, evaluation, parts.task.network, parts.data.normalize, run_dir=run.folder)
    print(f"  figures      {typeable(folder)}")


def report(evaluation: "Evaluation", run: FinishedRun, parts: Rebuilt) -> str:
    """What is printed: measures of the split, of each class, and how classes are confused."""
    before = {name: run.result[f"{evaluation.name}/{name}"] for name in ("loss", "acc")}
    same = before == {"loss": evaluation.loss, "acc": evaluation.acc}
    trained = f"training reported loss {before['loss']:.6f} acc {before['acc']:.4f}"
    lines = [
        f"{evaluation.name} loss {evaluation.loss:.6f}   acc {evaluation.acc:.4f}   "
        f"calibration error {evaluation.calibration_error:.4f}",
        f"({'exactly as training reported' if same else trained})",
        f"{len(evaluation.scores):,} images, {parts.data.source}",
        "",
        as_text([["class", "precision", "recall", "f1", "images"], *map(class_line, evaluation.by_class)]),
        "",
    ]
    if len(evaluation.class_names) <= MOST_CLASSES:
        matrix = [list(map(str, row)) for row in evaluation.confusion_matrix.tolist()]
        rows = [[name, *row] for name, row in zip(evaluation.class_names, matrix, strict=True)]
        lines += [as_text([["true \\ predicted", *evaluation.class_names], *rows]), ""]
    return "\n".join(lines)


def class_line(measures: dict[str, Any]) -> list[str]:
    shares = [f"{measures[name]:.4f}" for name in ("precision", "recall", "f1")]
    return [measures["name"], *shares, str(measures["images"])]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

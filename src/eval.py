"""Evaluates a finished run with its own config and best checkpoint; training overrides need not be repeated.

  run=latest|best|FOLDER  the newest completed run in outputs/, the one with the best validation accuracy, or the folder
                          of a run, or of a sweep for its best job
  data=NAME               for run=best: use only runs of this data set
  split=test|val          the split to evaluate on (test)
  figures=true|false      also draw the pictures of this split (true)
  data.KEY=...            change a data setting, such as data.root; also threads, matmul_precision, trainer.accelerator

python -m src.eval run=latest
"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from src.command.frame import framed
from src.command.key_values import one_of, own_and_others, parsed
from src.errors import BadInput
from src.files import exclusive, typeable, write_json, writing
from src.finished.find import find
from src.finished.measure import evaluated
from src.finished.reopen import FinishedRun, Rebuilt, opened
from src.metrics import METRICS
from src.run.records import LOCK_FILE
from src.tables import as_text

if TYPE_CHECKING:
    from src.finished.evaluation import Evaluation

DEFAULTS = {"run": "", "data": "", "split": "test", "figures": "true"}
FOLDER = "evaluation"  # in the run's folder
MOST_CLASSES = 20  # in a printed confusion matrix


def evaluate(words: Sequence[str]) -> int:
    own, overrides = own_and_others(words, DEFAULTS)
    if not own["run"]:
        raise BadInput("run is missing: which one? Try python -m src.eval run=latest")
    split = one_of("split", own["split"], ("test", "val"))
    wants_figures = one_of("figures", own["figures"], ("true", "false")) == "true"
    run = opened(find(own["run"], data=own["data"] or None), parsed(overrides))
    print(f"{typeable(run.folder)}: {run.checkpoint.name}, epoch {run.result['best_epoch']}", flush=True)
    evaluation, parts = evaluated(run, split)
    print(report(evaluation, run, parts), flush=True)
    save(evaluation, run, parts, overrides)
    if wants_figures:
        draw(evaluation, run, parts)
    return 0


def report(evaluation: "Evaluation", run: FinishedRun, parts: Rebuilt) -> str:
    """The text to print: metrics of the split and of each class, and the confusion matrix."""
    now = evaluation.reported
    before = {name: run.result[f"{evaluation.name}/{name}"] for name in now}
    lines = [
        f"{evaluation.name} {in_words(now)}   calibration error {evaluation.calibration_error:.4f}",
        "(exactly as training reported)" if now == before else f"(training reported {in_words(before)})",
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


def in_words(reported: dict[str, float]) -> str:
    return "   ".join([f"loss {reported['loss']:.6f}", *(f"{name} {reported[name]:.4f}" for name in METRICS)])


def class_line(measures: dict[str, Any]) -> list[str]:
    shares = [f"{measures[name]:.4f}" for name in ("precision", "recall", "f1")]
    return [measures["name"], *shares, str(measures["images"])]


def save(evaluation: "Evaluation", run: FinishedRun, parts: Rebuilt, overrides: Sequence[str]) -> None:
    path = run.folder / FOLDER / evaluation.name / "result.json"
    content = evaluation.as_json() | {"data_source": parts.data.source, "settings": overrides}
    with writing(path), exclusive(run.folder / LOCK_FILE, f"writing into {run.folder.name}"):
        write_json(path, content)
    print(f"  saved        {typeable(path)}")


def draw(evaluation: "Evaluation", run: FinishedRun, parts: Rebuilt) -> None:
    from src.finished.gallery import draw_gallery

    folder = run.folder / FOLDER / evaluation.name / "figures"
    with writing(folder), exclusive(run.folder / LOCK_FILE, f"writing into {run.folder.name}"):
        draw_gallery(folder, evaluation, parts, run)
    print(f"  figures      {typeable(folder)}")


main = partial(framed, evaluate, usage=__doc__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

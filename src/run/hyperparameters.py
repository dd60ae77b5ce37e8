"""The hyperparameters of a run, by the names of their columns in TensorBoard's HPARAMS tab."""

from collections.abc import Iterable, Mapping
from typing import Any

from src.settings import is_result

# Maps columns to settings. Every run has all columns, because TensorBoard takes them from any one of the runs.
COLUMNS = {
    "model": "model",
    "data": "data",
    "loss": "model.loss",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "lr": "optimizer.lr",
    "batch_size": "data.batch_size",
    "weight_decay": "optimizer.weight_decay",
    "hidden_sizes": "model.hidden_sizes",
    "max_epochs": "trainer.max_epochs",
    "seed": "seed",
}


def hyperparameters(settings: Mapping[str, Any], choices: Mapping[str, str], typed: Iterable[str]) -> dict[str, Any]:
    """The values of a run in the HPARAMS tab: text or numbers, and empty text for a setting that the run does not have.

    `choices` maps each group to its choice; each key in `typed` gets a column too.
    """
    known = {**settings, **choices}
    others = {key: key for key in typed if key in settings and is_result(key) and key not in COLUMNS.values()}
    return {name: shown(known.get(key, "")) for name, key in {**COLUMNS, **others}.items()}


def shown(value: Any) -> str | int | float:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value).lower()

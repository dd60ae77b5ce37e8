"""The hyperparameters of a run, by the names that TensorBoard's HPARAMS tab has for them."""

from collections.abc import Iterable, Mapping
from typing import Any

from src.settings import is_result

# A column of the HPARAMS tab and the setting it shows. The same for every run: TensorBoard takes the columns of all
# runs from any one of them.
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
    """What the HPARAMS tab shows of a run: text and numbers, empty text where a setting is not there.

    Args:
        settings: all of the run, keys written with dots.
        choices: the name of each chosen part.
        typed: keys that have columns of their own beside those of every run.
    """
    known = {**settings, **choices}
    others = {key: key for key in typed if key in settings and is_result(key) and key not in COLUMNS.values()}
    return {name: shown(known.get(key, "")) for name, key in {**COLUMNS, **others}.items()}


def shown(value: Any) -> str | int | float:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value).lower()

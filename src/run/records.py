"""Reads the files of a run as data: types, numbers and sizes are checked, and nothing that a file names is run.

The folder of a run may come from anywhere. A damaged file is never repaired: a needed one is an error, an optional one
counts as missing.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypedDict

from src.errors import DataError
from src.files import in_one_line, printable, read_json, read_yaml, write_text
from src.metrics import METRICS

CHOICES_FILE = ".hydra/hydra.yaml"
METRICS_FILE = "metrics.json"
CURVES_FILE = "metrics.csv"
BEST_CHECKPOINT, LAST_CHECKPOINT = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
PREVIOUS_CHECKPOINT = "checkpoints/previous.ckpt"  # of the epoch before the last
LOCK_FILE = ".hydra/lock"
CONFIG_FILE = ".hydra/config.yaml"
OVERRIDES_FILE = ".hydra/overrides.yaml"
FIGURES = "figures"
EXAMPLES = "figures/examples"  # image files to try src.predict with

STRICT = ConfigDict(strict=True)
LONGEST_TEXT = 10_000  # letters
# The keys that metrics.json of a completed run must have.
RESULTS = (
    *(f"{split}/{name}" for split in ("val", "test") for name in (*METRICS, "loss")),
    *("best_epoch", "train_seconds"),
)

Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(printable)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]

OF_RESULT: dict[str, Any] = {
    **{"status": Literal["completed", "interrupted", "failed"], "reason": Text, "seed": Count},
    **{"overrides": list[Text], "versions": dict[Text, Text], "git_commit": Text | None, "git_dirty": bool | None},
    **dict.fromkeys(("best_epoch", "epochs", "num_parameters", "threads"), Count),
    **dict.fromkeys((*RESULTS[:-2], "train_seconds", "images_per_second"), FiniteFloat),
    "continued_from_commits": list[Text],
    **dict.fromkeys(("device", "data_source", "validation"), Text),
}


def type_of(name: str, fields: Mapping[str, Any], *, total: bool = True, **config: Any) -> TypeAdapter[Any]:
    """The type of a mapping with these keys, checked without converting values: `"1"` is not a number."""
    kind: Any = cast(Any, TypedDict)(name, fields, total=total)
    kind.__pydantic_config__ = cast(ConfigDict, {"strict": True, **config})
    return TypeAdapter(kind)


RESULT_TYPE = type_of("Result", OF_RESULT, total=False)
TEXTS: TypeAdapter[list[str]] = TypeAdapter(list[Text], config=STRICT)
SETTINGS: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, JsonValue], config=STRICT)


def read_result(run_dir: Path) -> dict[str, Any]:
    """The content of a run's metrics.json; empty if there is none, a failed result if the file is damaged."""
    path = run_dir / METRICS_FILE
    try:
        content = read_json(path)
        if content is None:
            return {}
        result = dict(checked(RESULT_TYPE, content, path))
    except DataError as error:
        return {"status": "failed", "reason": str(error)}
    needed = {"completed": {*RESULTS, "epochs"}, "failed": {"reason"}}.get(result.get("status", ""), {"status"})
    if missing := sorted(needed - result.keys()):
        return {"status": "failed", "reason": f"{METRICS_FILE} lacks {', '.join(missing)}"}
    return result


def typed_overrides(run_dir: Path) -> list[str]:
    """The typed overrides of a run, without Hydra's own; empty if their file is missing or damaged."""
    with suppress(DataError, FileNotFoundError):
        return list(checked(TEXTS, read_yaml(run_dir / OVERRIDES_FILE), run_dir / OVERRIDES_FILE))
    return []


def write_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings of a run. The caller has resolved all interpolations; reading never resolves any."""
    (run_dir / CONFIG_FILE).parent.mkdir(parents=True, exist_ok=True)
    write_text(run_dir / CONFIG_FILE, yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))


def saved_settings(run_dir: Path) -> dict[str, Any]:
    """The settings of a run: nested mappings and lists of text and numbers.

    Raises:
        DataError: the file is missing or damaged, or holds something else.
    """
    path = run_dir / CONFIG_FILE
    try:
        return dict(checked(SETTINGS, read_yaml(path), path))
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Use another folder.") from None


def saved_choices(run_dir: Path) -> dict[str, str]:
    """The choice of each group, such as `{"model": "mlp"}`; empty if their file is missing or damaged."""
    with suppress(DataError, FileNotFoundError, KeyError, TypeError, AttributeError):
        found = checked(SETTINGS, read_yaml(run_dir / CHOICES_FILE), run_dir / CHOICES_FILE)
        choices = found["hydra"]["runtime"]["choices"]
        return {name: printable(choice) for name, choice in choices.items() if isinstance(choice, str)}
    return {}


def checked(kind: TypeAdapter[Any], content: Any, path: Path) -> Any:
    """The content of a file, checked against a type.

    Raises:
        DataError: the content is of another type; the message names the first wrong key.
    """
    try:
        return kind.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = printable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": "))
        raise DataError(f"{path} is damaged, or of another version ({reason}).") from error
    except RecursionError as error:
        raise DataError(f"{path} is damaged ({in_one_line(error)}).") from error

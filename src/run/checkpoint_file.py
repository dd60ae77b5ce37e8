"""A checkpoint file: written atomically, and read as data, with every checksum and every value checked.

torch itself verifies no checksum, and `weights_only` limits what a file can run, not what it can contain.
"""

import io
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import lightning
import torch
from lightning.pytorch.plugins import TorchCheckpointIO
from pydantic import FiniteFloat, JsonValue
from torch import Tensor, nn

from src.errors import DataError
from src.files import in_one_line, open_regular, whole
from src.run.provenance import CODE_TYPE
from src.run.records import LAST_CHECKPOINT, Count, Text, checked, type_of

MOST_BYTES = 4 << 30
MOST_LEVELS = 12
MOST_VALUES = 1_000_000  # other than tensors
LONGEST_TEXT = 10_000  # letters
DTYPES = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.uint8, torch.bool),
}
ONLY_WEIGHTS = ("state_dict", "epoch", "global_step")
HISTORY = type_of(
    "History",
    {"rows": list[dict[str, int | float]], "train_seconds": FiniteFloat, "train_images": Count},
    extra="forbid",
)
OF_CHECKPOINT: dict[str, Any] = {
    **{"epoch": Count, "global_step": Count, "pytorch-lightning_version": Text, "settings": Text},
    **{"state_dict": dict[str, Tensor], "loops": dict[str, dict[str, JsonValue]]},
    **dict.fromkeys(("optimizer_states", "lr_schedulers"), list[dict[str, Any]]),
    **{"callbacks": dict[str, dict[str, Any]], "history": dict[str, Any], "code": dict[str, Any]},
}
CHECKPOINT_TYPE = type_of("Checkpoint", OF_CHECKPOINT, arbitrary_types_allowed=True, extra="allow")


class WholeFiles(TorchCheckpointIO):
    """Reads and writes Lightning's checkpoints. Training continues only from last.ckpt; other files give only weights.

    Lightning's own class first writes to the system's temporary folder. If that is on another file system, it then
    overwrites the checkpoint in place: a killed process leaves half a file, and hard links to it change too.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()  # torch would report a full disk as a RuntimeError
        torch.save(checkpoint, content)
        with whole(path) as part:
            part.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        found = load(Path(path), way_out="Train again, or use another run.")
        kept = found.keys() if Path(path).name == Path(LAST_CHECKPOINT).name else ONLY_WEIGHTS
        return {key: found[key] for key in kept} | {"pytorch-lightning_version": lightning.__version__}


def load(path: Path, *, way_out: str) -> dict[str, Any]:
    """Loads a checkpoint: tensors, numbers and text. Nothing in the file is executed.

    Raises:
        DataError: the file is missing or damaged, or is not a checkpoint of this project; the message ends with
            `way_out`.
    """
    try:
        with open_regular(path) as file:
            verify_archive(file)
            file.seek(0)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        Counted().verify(checkpoint)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. {way_out}") from None
    except DataError as error:
        raise DataError(f"{error} {way_out}") from error
    except OSError as error:
        raise DataError(f"could not read {path}: {error.strerror}. {way_out}") from error
    except Exception as error:  # zipfile and torch raise many kinds of errors
        raise DataError(f"{path} is damaged or not a checkpoint ({in_one_line(error)}). {way_out}") from error
    try:
        found = checked(CHECKPOINT_TYPE, checkpoint, path)
        inner = {"history": checked(HISTORY, found["history"], path), "code": checked(CODE_TYPE, found["code"], path)}
        check_numbers(found | inner, path)
        return dict(found | inner)
    except DataError as error:
        raise DataError(f"{error} {way_out}") from error


def check_numbers(found: dict[str, Any], path: Path) -> None:
    """Raises DataError if rows are not numbered by their epochs, or a counter of Lightning's loops is negative."""
    epochs = [row.get("epoch") for row in found["history"]["rows"]]
    if epochs != list(range(1, len(epochs) + 1)) or len(epochs) > found["epoch"] + 1:
        raise DataError(f"{path} is damaged: its rows do not match its epochs.")
    counters, waiting = list[int](), [found["loops"]]
    while waiting:
        value = waiting.pop()
        waiting += [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
        counters += [value] if isinstance(value, int) else []
    if min(counters, default=0) < 0:
        raise DataError(f"{path} is damaged: a counter of its loops is negative.")


def load_weights(module: nn.Module, path: Path, *, way_out: str) -> None:
    """Loads the weights of a checkpoint into a module.

    Lightning could do it too, but would also restore its loops from the checkpoint.

    Raises:
        DataError: the file is damaged, or its tensors have other names, shapes or types than the module's.
    """
    weights = load(path, way_out=way_out)["state_dict"]
    expected, found = (
        {name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (module.state_dict(), weights)
    )
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise DataError(
                f"{path} does not fit the network of its run: {name} is {found.get(name, 'missing')} in it, but "
                f"{expected.get(name, 'unknown')} by the settings of the run. {way_out}"
            )
    module.load_state_dict(weights)


def verify_archive(file: BinaryIO) -> None:
    """Verifies the checksum of every member of a checkpoint, which is a zip archive without compression.

    Raises:
        ValueError, zipfile.BadZipFile: the archive is damaged, or would need more memory than its size.
    """
    num_bytes = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        is_packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if is_packed or sum(member.file_size for member in members) > min(num_bytes, MOST_BYTES):
            raise ValueError("it is compressed or too large")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} is wrong")


class Counted:
    """Checks that a loaded checkpoint holds only numbers, text and ordinary tensors, and not too many of them."""

    def __init__(self) -> None:
        self.values = 0

    def verify(self, value: Any, levels: int = MOST_LEVELS) -> None:
        """Raises ValueError for anything else."""
        self.values += 1
        if levels == 0 or self.values > MOST_VALUES:
            raise ValueError("it has too many values or levels")
        if isinstance(value, dict):
            for key, inner in value.items():
                self.verify(key, levels - 1)
                self.verify(inner, levels - 1)
        elif isinstance(value, list | tuple):
            for inner in value:
                self.verify(inner, levels - 1)
        elif isinstance(value, Tensor):
            verify_tensor(value)
        elif isinstance(value, str):
            if len(value) > LONGEST_TEXT:
                raise ValueError("it has a text that is too long")
        elif not isinstance(value, bool | int | float | None) or (isinstance(value, int) and abs(value) >= 1 << 64):
            raise ValueError(f"it has a value of type {type(value).__name__}")


def verify_tensor(tensor: Tensor) -> None:
    """Raises ValueError if a tensor is not an ordinary one, or has more elements than are stored."""
    is_ordinary = type(tensor) is Tensor and tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_ordinary or tensor.dtype not in DTYPES or tensor.is_conj() or tensor.is_neg():
        raise ValueError(f"it has a tensor of another kind ({tensor.dtype}, {tensor.layout}, {tensor.device})")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError("it has a tensor with more elements than are stored")

"""Parses the arguments of a Hydra command, and passes them on to Hydra."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A helper process of a distributed run leaves no files of its own.
LEAVES_NO_FILES = ("hydra.output_subdir=null", "hydra/job_logging=disabled", "hydra/hydra_logging=disabled")


@dataclass(frozen=True)
class Typed:
    """The arguments of `python -m src.train`."""

    words: list[str]  # everything, as typed
    flags: dict[str, Any]  # all flags of Hydra, set or not, by their names in its parser
    overrides: list[str]  # everything else

    def asks(self, *names: str) -> bool:
        """Whether any of these flags is set."""
        return any(self.flags[name] for name in names)

    def for_hydra(self) -> list[str]:
        """The arguments for Hydra, flags first: Hydra does not accept flags between overrides."""
        set_flags = {name: value for name, value in self.flags.items() if value}
        words = []
        for name, value in set_flags.items():
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
        return [*words, *self.overrides]


def parse(words: Sequence[str]) -> Typed:
    """Separates Hydra's flags from the overrides; they may be typed in any order.

    A relative `--config-path` is relative to the current folder; for Hydra it is relative to the command's file. The
    folder in `resume=FOLDER` is quoted, because its name may have characters such as `=` and `,`.
    """
    flags = vars(hydra_parser().parse_intermixed_args(list(words)))
    overrides = [as_override(word) for word in flags.pop("overrides")]
    if flags["config_path"]:
        flags["config_path"] = str(Path(flags["config_path"]).resolve())
    return Typed(list(words), flags, overrides)


def hydra_parser() -> argparse.ArgumentParser:
    """The parser of Hydra's own flags.

    Private: `hydra._internal.utils.get_args_parser` of hydra 1.3.8. Hydra has no public list of its flags.
    """
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def as_override(word: str) -> str:
    """Turns a typed word into an override. `resume.force` becomes `force_resume`: `resume` has no inner keys."""
    if word.startswith("resume.force="):
        return word.replace("resume.force", "force_resume", 1)
    folder = Path(word.removeprefix("resume="))
    return folder_override("resume", folder) if word.startswith("resume=") and folder.is_dir() else word


def folder_override(key: str, folder: Path) -> str:
    """The override that sets a key to a folder, quoted if the name has special characters."""
    if all(letter.isalnum() or letter in "_./-" for letter in str(folder)):
        return f"{key}={folder}"
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def hand_over(main: Callable[[], Any], words: Sequence[str]) -> None:
    """Runs a function decorated by `hydra.main`, which reads its arguments from `sys.argv`."""
    sys.argv[1:] = words
    main()

"""What code makes a result: versions, git commit and a digest of each file of src/ that results depend on.

A run writes them when it starts, and into every checkpoint, so that another version does not continue it unnoticed.
"""

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from src.errors import BadInput, DataError
from src.files import read_json, typeable, write_json
from src.run.records import Text, checked, type_of

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy")
STARTS_FILE = ".hydra/starts.json"  # an entry for each start whose code differs from the start before
SRC = Path(__file__).resolve().parents[1]
MAKE_RESULTS = (
    *("networks.py", "task.py", "train.py", "schedulers.py", "metrics.py", "build.py", "datasets/*.py", "steps/*.py"),
    *("run/checkpoints.py", "run/epoch_logger.py", "run/fit_state.py", "run/history.py"),
)
MOST_SHOWN = 4
CODE = {"versions": dict[Text, Text], "git_commit": Text | None, "git_dirty": bool | None, "files": dict[Text, Text]}
CODE_TYPE = type_of("Code", CODE, extra="forbid")


@cache  # the code that a process runs does not change
def provenance() -> dict[str, Any]:
    """The provenance of a result: versions, git commit, and whether there were uncommitted changes."""
    commit = git("rev-parse", "HEAD")
    return {
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(git("status", "--porcelain")),
    }


@cache
def code() -> dict[str, Any]:
    """The provenance, with a digest of each file of src/ that results depend on."""
    files = sorted(path for pattern in MAKE_RESULTS for path in SRC.glob(pattern))
    digests = {str(path.relative_to(SRC)): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}
    return provenance() | {"files": digests}


def git(*arguments: str) -> str | None:
    """The output of a git command in this project's checkout; None without git or outside a checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=SRC, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def starts(run_dir: Path) -> list[dict[str, Any]]:
    """An entry for the first start of a run, and for each later start with changed code. Empty for a new run.

    Raises:
        DataError: the file is damaged.
    """
    path = run_dir / STARTS_FILE
    content = read_json(path) or []
    if not isinstance(content, list):
        raise DataError(f"{path} is damaged, or of another version (it is not a list).")
    return [dict(checked(CODE_TYPE, entry, path)) for entry in content]


def add_start(run_dir: Path) -> None:
    """Adds an entry for this start if its code differs from the last entry."""
    earlier = starts(run_dir)
    if not earlier or changes(earlier[-1]):
        (run_dir / STARTS_FILE).parent.mkdir(exist_ok=True)
        write_json(run_dir / STARTS_FILE, [*earlier, code()])


def check_same_code(run_dir: Path, *, force: bool) -> None:
    """Refuses to continue a run with other code, unless `force` is set.

    Raises:
        BadInput: a version, or a file that results depend on, is not what it was when the run last started.
    """
    earlier = starts(run_dir)
    if earlier and not force:
        refuse_changes(changes(earlier[-1]), typeable(run_dir))


def refuse_changes(found: list[str], what: str) -> None:
    if found:
        others = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        raise BadInput(
            f"resume would mix results: {what} was made by other code ({', '.join(found[:MOST_SHOWN])}{others}). "
            "Leave resume out to start a new run, or add resume.force=true."
        )


def changes(earlier: Mapping[str, Any]) -> list[str]:
    """What differs between earlier code and this code, such as `torch 2.14.1, now 2.15.0`."""
    found = []
    for part, prefix in (("versions", ""), ("files", "src/")):
        before, now = earlier[part], code()[part]
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                values = f" {before.get(name, 'none')}, now {now.get(name, 'none')}" if part == "versions" else ""
                found.append(f"{prefix}{name}{values}")
    return found


def mixed(run_dir: Path) -> dict[str, Any]:
    """For metrics.json: the commits of earlier starts by other code; empty if all starts had the same code."""
    earlier = starts(run_dir)[:-1]
    return {"continued_from_commits": [str(start["git_commit"]) for start in earlier]} if earlier else {}

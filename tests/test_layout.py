"""Data flows one way, and imports with it: the table of the style guide, held true."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {"src.train", "src.eval", "src.predict", "src.results", "src.data"}
AROUND_COMMANDS = {  # the part that all commands share, and Hydra's plugins
    *(
        "src.command.command_line",
        "src.command.compose",
        "src.command.jobs",
        "src.command.output_folder",
        "src.finished.reopen",
    ),
    *(
        "src.finished.reopen",
        "src.sweep.hydra_plugins.classifier_lab",
        "src.sweep.sweeper",
        "src.sweep.search",
        "src.sweep.space",
    ),
}
FILES = sorted((ROOT / "src").rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=module)
def test_parts_never_import_commands_and_only_commands_know_hydra(path: Path) -> None:
    if module(path) in COMMANDS:
        return
    assert not imports(path) & COMMANDS
    packages = {name.partition(".")[0] for name in imports(path)}
    if module(path) not in AROUND_COMMANDS:
        assert not packages & {"hydra", "omegaconf"}
        assert not imports(path) & AROUND_COMMANDS


def test_networks_know_torch_alone() -> None:
    packages = {name.partition(".")[0] for name in imports(ROOT / "src" / "networks.py")}
    assert packages <= {"torch", "abc", "collections", "math"}


def test_the_task_knows_no_concrete_network_and_no_data_set() -> None:
    found = imports(ROOT / "src" / "task.py")
    assert {name for name in found if name.startswith("src.networks.")} == {"src.networks.Classifier"}
    assert not {name for name in found if name.startswith("src.data")}


@pytest.mark.parametrize("name", ["src.train", "src.results", "src.rules", "src.run.result", "src.data", "src.data"])
def test_what_answers_before_training_does_not_wait_for_torch(name: str) -> None:
    code = f"import sys, {name}; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_command_is_checked_without_torch() -> None:
    check = (
        "from src.command.jobs import checked_jobs; checked_jobs(['model=mlp', 'optimizer.lr=0.1,1'], multirun=True)"
    )
    code = f"import sys; {check}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", FILES, ids=module)
def test_every_file_has_its_tests(path: Path) -> None:
    exceptions = {
        "errors",
        "catalog",
        "images",
        "synthetic",
        "classifier_lab",
    }  # facts and shapes, tested where they are used
    if path.stem not in exceptions | {"__init__"}:
        name = f"{path.parent.name}_command" if path.stem == "__main__" else path.stem
        assert (ROOT / "tests" / f"test_{name}.py").exists()

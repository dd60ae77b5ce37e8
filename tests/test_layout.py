"""The layout of src/: layers, sizes, and one place for each effect. Imports never go to a higher layer."""

import ast
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from tests.runs import ROOT
from tests.source import FILES, MODULES, functions, imported, module

# The layers from the lowest to the highest. Each may import from itself and from lower ones.
FLOORS = [
    {"errors", "files", "metrics", "settings", "tables", "build", "schedulers"},
    {"networks"},
    {"steps"},
    {"datasets", "task"},
    {"run", "rules"},
    {"sweep"},
    {"finished", "command"},
    {"train", "eval", "predict", "results", "data"},
]
ROOMS = {"command", "datasets", "finished", "run", "steps", "sweep"}
KNOW_HYDRA = {"src.build", "src.sweep.sweeper", "src.sweep.search"}  # besides the commands and command/
COMMANDS = {f"src.{name}" for name in FLOORS[-1]}
TESTED_ELSEWHERE = {  # by the tests of the modules that use them
    *("errors", "facts", "images", "synthetic", "metrics", "logs", "data_rules", "devices", "transfer", "image_data"),
    *("optimizer_steps", "grid_figure", "frame", "processes", "resume", "saved_runs"),
}


def arrows(name: str) -> set[str]:
    """The modules of src/ that a module imports."""
    return {target for target in imported(MODULES[name]) if target in MODULES and target != "src"}


def floor(name: str) -> int:
    return next(number for number, parts in enumerate(FLOORS) if name.split(".")[1] in parts)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "src"])
def test_nothing_imports_upwards(name: str) -> None:
    assert not {target for target in arrows(name) if floor(target) > floor(name)}


def test_imports_have_no_cycle() -> None:
    left = {name: arrows(name) for name in MODULES}
    while free := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize("name", MODULES)
def test_only_these_modules_import_hydra_or_omegaconf(name: str) -> None:
    if name not in COMMANDS | KNOW_HYDRA and not name.startswith("src.command."):
        assert not {target.partition(".")[0] for target in imported(MODULES[name])} & {"hydra", "omegaconf"}


def test_networks_import_only_torch_and_the_standard_library() -> None:
    packages = {name.partition(".")[0] for name in imported(MODULES["src.networks"])}
    assert packages <= {"torch", "abc", "collections", "math"}


def test_the_task_imports_no_concrete_network() -> None:
    found = imported(MODULES["src.task"])
    assert {name for name in found if name.startswith("src.networks.")} == {"src.networks.Classifier"}


def test_packages_files_and_functions_are_small() -> None:
    folders = {path.name for path in (ROOT / "src").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == ROOMS and len(list((ROOT / "src").glob("*.py"))) <= 16
    lengths = {name: node.end_lineno - node.lineno + 1 for name, node in functions()}  # type: ignore[operator]
    assert {name: lines for name, lines in lengths.items() if lines > 45} == {}
    assert sum(lines <= 20 for lines in lengths.values()) >= 0.9 * len(lengths)
    assert {path: lines for path in FILES if (lines := path.read_text().count("\n")) > 260} == {}


@pytest.mark.parametrize("path", [path for path in FILES if path.name != "__init__.py"], ids=module)
def test_every_file_has_a_test_file(path: Path) -> None:
    if path.stem not in TESTED_ELSEWHERE:
        tests = ROOT / "tests" / path.relative_to(ROOT / "src").parent / f"test_{path.name}"
        assert tests.exists()


def test_no_test_file_imports_another() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        names = imported(ast.parse(path.read_text()))
        assert not {name for name in names if name.startswith("tests.") and ".test_" in name}, path


@pytest.mark.parametrize("name", MODULES)
def test_importing_a_module_only_defines_names(name: str) -> None:
    for node in MODULES[name].body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert is_docstring or not isinstance(node, ast.Expr | ast.With | ast.For), ast.unparse(node)


def test_sys_argv_and_os_environ_are_each_used_in_one_module() -> None:
    uses = {"sys.argv": set[str](), "os.environ": set[str]()}
    for name, tree in MODULES.items():
        main = (node.body for node in tree.body if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test))
        in_main = {id(node) for part in chain(*main) for node in ast.walk(part)}
        for node in ast.walk(tree):
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if text in uses and id(node) not in in_main:
                uses[text].add(name)
    assert uses == {"sys.argv": {"src.command.argv"}, "os.environ": {"src.command.processes"}}


@pytest.mark.parametrize("name", ["src.train", "src.eval", "src.predict", "src.results", "src.data", "src.rules"])
def test_importing_a_command_does_not_import_torch(name: str) -> None:
    code = f"import sys, {name}; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_checking_a_command_does_not_import_torch() -> None:
    check = "checked_jobs(['model=mlp', 'optimizer.lr=0.1,1'], multirun=True)"
    code = f"import sys; from src.command.jobs import checked_jobs; {check}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

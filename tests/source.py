"""The source of src/, parsed: its modules, what they import, their functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.runs import ROOT

FILES = sorted((ROOT / "src").rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): ast.parse(path.read_text()) for path in FILES}


def imported(tree: ast.AST) -> set[str]:
    """The modules and names that a file imports: at its top, inside functions, or only for types."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for name, tree in MODULES.items():
        yield from ((f"{name}.{node.name}", node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))

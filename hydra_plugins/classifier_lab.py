"""The sweepers of this project. Hydra discovers plugins only in the namespace package `hydra_plugins`."""

from src.sweep.search import OptunaSweeper
from src.sweep.sweeper import GridSweeper

__all__ = ["GridSweeper", "OptunaSweeper"]

"""The sweepers of this project. Hydra discovers plugins only in the namespace package `hydra_plugins`."""

from src.sweep import search, sweeper


class GridSweeper(sweeper.GridSweeper):
    """Runs the jobs that were planned for this command."""


class OptunaSweeper(search.OptunaSweeper):
    """Searches the space that was planned for this command."""

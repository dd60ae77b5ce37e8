"""What Hydra finds: it takes plugins from the package `hydra_plugins` alone, wherever on the path parts of that are."""

from src.sweep import optuna_sweeper, sweeper


class GridSweeper(sweeper.GridSweeper):
    """Runs the jobs that were planned for this command."""


class OptunaSweeper(optuna_sweeper.OptunaSweeper):
    """Searches the space that was planned for this command."""

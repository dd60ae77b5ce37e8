"""Where the lines of a run go: other loggers than these write to stdout and train.log.

conf/hydra/job_logging/lab.yaml sets them up.

Attributes:
    details: to train.log alone.
    failure: to stderr and train.log.
"""

import logging
import warnings

details = logging.getLogger("details")
failure = logging.getLogger("failure")


def quiet_lightning() -> None:
    """Keeps Lightning's tips and notices out of the output; its warnings go where ours go.

    When Lightning is imported it adds handlers of its own to its loggers, beside those that Hydra has set up.

    Private: the names of the loggers and the texts of the warnings of lightning 2.6.6.
    """
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")  # lightning 2.6 with torch 2.14
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists")  # when a run is resumed

"""The loggers of a run, set up by conf/hydra/job_logging/lab.yaml. Other loggers write to stdout and train.log.

Attributes:
    details: writes only to train.log.
    failure: writes to stderr and train.log.
"""

import logging
import warnings

details = logging.getLogger("details")
failure = logging.getLogger("failure")


def quiet_lightning() -> None:
    """Silences Lightning's tips and notices, and sends its warnings to the handlers that Hydra has set up.

    Lightning adds its own handlers to its loggers when it is imported.

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

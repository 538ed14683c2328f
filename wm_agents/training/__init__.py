"""What surrounds a training loop: loggers, checkpoints, curriculum and seeding.

The names below load in milliseconds; `wm_agents.training.checkpoints` and
`wm_agents.training.seeding` load torch and are imported by their own names.
"""

from wm_agents.training.curriculum import Curriculum
from wm_agents.training.loggers import (
    ConsoleLogger,
    JSONLLogger,
    Logger,
    LoggerGroup,
    TensorBoardLogger,
    WandbLogger,
    read_jsonl,
    run_directory,
)
from wm_agents.training.progress import ProgressBar, progress

__all__ = [
    "ConsoleLogger",
    "Curriculum",
    "JSONLLogger",
    "Logger",
    "LoggerGroup",
    "ProgressBar",
    "TensorBoardLogger",
    "WandbLogger",
    "progress",
    "read_jsonl",
    "run_directory",
]

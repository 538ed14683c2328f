"""Allocation training: seven tendencies of a person calibrated by debate, validated on labels.

The guide's names of the configuration, the trainer and the loggers are aliases here.

>>> from wm_agents.domains.debate import TrainConfig, Trainer, create_world_model  # doctest: +SKIP
>>> model = create_world_model("Person", "observations.json")  # doctest: +SKIP
>>> trainer = Trainer(TrainConfig(max_epochs=5))  # doctest: +SKIP
>>> history, result = trainer.train(model.observations, model.agents)  # doctest: +SKIP
"""

from wm_agents.domains.debate.history import (
    DebateConfig,
    EpochMetrics,
    TrainHistory,
    plot_trajectories,
)
from wm_agents.domains.debate.loggers import (
    DebateConsoleLogger,
    DebateJSONLogger,
    DebateWandbLogger,
)
from wm_agents.domains.debate.model import DebateModel, Debater, Debaters
from wm_agents.domains.debate.trainer import DebateTrainer
from wm_agents.domains.debate.validation import ValidationResult, Validator
from wm_agents.training.loggers import TensorBoardLogger
from wm_envs.data.moved import renamed
from wm_envs.debate.observations import Observation, Observations
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, Tendency

# The training guide fixes these names; everywhere else things are called by the names above.
TrainConfig = DebateConfig
Trainer = DebateTrainer
create_world_model = DebateModel.create
load_world_model = DebateModel.load
ConsoleLogger = DebateConsoleLogger
JSONLogger = DebateJSONLogger
WandbLogger = DebateWandbLogger

# Until the next release.
__getattr__ = renamed(
    __name__,
    {
        "Agent": "wm_agents.domains.debate.model.Debater",
        "Agents": "wm_agents.domains.debate.model.Debaters",
    },
)

__all__ = [
    "DEFAULT_ALLOCATIONS",
    "ConsoleLogger",
    "DebateConfig",
    "DebateConsoleLogger",
    "DebateJSONLogger",
    "DebateModel",
    "DebateTrainer",
    "DebateWandbLogger",
    "Debater",
    "Debaters",
    "EpochMetrics",
    "JSONLogger",
    "Observation",
    "Observations",
    "Tendency",
    "TensorBoardLogger",
    "TrainConfig",
    "TrainHistory",
    "Trainer",
    "ValidationResult",
    "Validator",
    "WandbLogger",
    "create_world_model",
    "load_world_model",
    "plot_trajectories",
]

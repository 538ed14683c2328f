"""Allocation training: a person's seven tendencies calibrated by debate and validated against labels.

>>> from wm_agents.domains.debate import TrainConfig, Trainer, create_world_model  # doctest: +SKIP
>>> model = create_world_model("Person", "observations.json")  # doctest: +SKIP
>>> history, result = Trainer(TrainConfig(max_epochs=5)).train(model.observations, model.agents)  # doctest: +SKIP
"""

from wm_agents.domains.debate.loggers import (
    ConsoleLogger,
    JSONLogger,
    TensorBoardLogger,
    WandbLogger,
)
from wm_agents.domains.debate.model import (
    Agent,
    Agents,
    DebateModel,
    create_world_model,
    load_world_model,
)
from wm_agents.domains.debate.trainer import EpochMetrics, TrainConfig, Trainer, TrainHistory
from wm_agents.domains.debate.validation import ValidationResult, Validator
from wm_envs.debate.observations import Observation, Observations
from wm_envs.debate.tendencies import DEFAULT_ALLOCATIONS, Tendency

__all__ = [
    "DEFAULT_ALLOCATIONS",
    "Agent",
    "Agents",
    "ConsoleLogger",
    "DebateModel",
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
]

"""What all planners share: settings, the model that they are bound to, its actions and device."""

import copy
from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError, SpaceError
from wm_agents.networks import choose_device
from wm_agents.planning.objectives import DiscountedReturn
from wm_agents.planning.sampling import WarmStart
from wm_agents.protocols import ModelState, Objective, Plan, WorldModel
from wm_envs.data.spaces import ActionCodec

ConfigT = TypeVar("ConfigT")
RowSpace = spaces.Discrete | spaces.Box

CONTINUOUS_PLANNERS = "RandomShooting, CEM, ICEM or MPPI"
DISCRETE_PLANNERS = "RandomShooting, CategoricalCEM, BreadthFirstSearch, BestFirstSearch or MCTS"


class ModelPlanner(ABC, Generic[ConfigT]):
    """A planner as a function of a model and an objective.

    It is made from settings alone, `ICEM(horizon=20)` or `ICEM(ICEMConfig(horizon=20))`, and bound
    to a model by `PlanningAgent` or `bind`; or with its model at once, `ICEM(model, objective,
    config)`.

    Args:
        model: Imagines; None, or the configuration in its place, leaves the planner unbound.
        objective: What is maximized; `DiscountedReturn()` by default.
        config: Settings; the class's defaults where there are none.
        **settings: Single fields of the configuration, which replace those of `config`.

    Attributes:
        config: Settings.
        objective: What is maximized.
        is_bound: Whether the planner has its model.

    Raises:
        SpaceError: The model has actions that this planner does not serve.
        ConfigError: A setting that does not exist, or a value that cannot work.
    """

    config_class: ClassVar[type[Any]]
    action_kinds: ClassVar[tuple[type[gym.Space[Any]], ...]]
    """Rows of which action spaces it can choose from: Discrete, Box or both."""

    is_bound = False
    _warm_starts: tuple[WarmStart, ...] = ()
    _model: WorldModel
    _device: torch.device

    def __init__(
        self,
        model: WorldModel | ConfigT | None = None,
        objective: Objective | None = None,
        config: ConfigT | None = None,
        **settings: Any,
    ) -> None:
        # `CEM(CEMConfig(...))` is as good as `CEM(config=CEMConfig(...))`.
        if isinstance(model, self.config_class):
            config = model
            model = None
        self.config: ConfigT = self._configured(config, settings)
        self.objective: Objective = DiscountedReturn() if objective is None else objective
        if model is not None:
            self._attach(model)  # type: ignore[arg-type]

    def bind(self, model: WorldModel) -> Self:
        """A planner with the same settings on this model, with nothing carried over.

        The planner itself stays as it is, so that one may serve as the pattern of many.

        Raises:
            SpaceError: The model has actions that this planner does not serve.
        """
        # A shallow copy: settings are shared, everything that depends on the model is made anew by
        # `_attach`.
        bound = copy.copy(self)
        bound._attach(model)
        return bound

    def plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan for B environments at once.

        Raises:
            ConfigError: The planner has no model yet.
        """
        if not self.is_bound:
            raise ConfigError(
                f"this {type(self).__name__} has no model: give it to "
                "PlanningAgent(model, planner), or call planner.bind(model)"
            )
        # Planning needs no gradients, which a model in training would otherwise keep.
        with torch.no_grad():
            return self._plan(to_device(state, self._device), generator)

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget what is carried over for the masked environments [B], or for all.

        Raises:
            ConfigError: A mask of another length than the plans that are carried over.
        """
        for warm_start in self._warm_starts:
            warm_start.reset(mask)

    @abstractmethod
    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        """Plan from a state that lies on the planner's device; gradients are off."""

    @abstractmethod
    def _prepare(self, actions: Any) -> None:
        """Make anew all that depends on `_model`, `_device` and the actions that it takes."""

    @classmethod
    def _configured(cls, config: ConfigT | None, settings: dict[str, Any]) -> ConfigT:
        known = [field.name for field in fields(cls.config_class)]
        # Names of the first release pass, and warn where they are taken.
        earlier = getattr(cls.config_class, "earlier_names", {})
        unknown = [name for name in settings if name not in known and name not in earlier]
        if unknown:
            raise ConfigError(
                f"{cls.__name__} has no setting {unknown[0]!r}: it has {', '.join(known)}"
            )
        if config is None:
            made: ConfigT = cls.config_class(**settings)
            return made
        if not isinstance(config, cls.config_class):
            raise ConfigError(f"{cls.__name__} takes a {cls.config_class.__name__}, got {config!r}")
        return replace(config, **settings) if settings else config

    def _attach(self, model: WorldModel) -> None:
        # A common mistake is a space or an id in the first place.
        if not hasattr(model, "action_space"):
            raise ConfigError(
                f"{type(self).__name__} takes a world model or a {self.config_class.__name__} "
                f"first, got {model!r}"
            )
        # Spaces are checked first: a model that cannot be served is not moved to another device.
        actions = planned_actions(model.action_space, type(self).__name__, self.action_kinds)
        self._device = planning_device(model, self.config.device)  # type: ignore[attr-defined]
        self._model = model
        self.is_bound = True
        # Last: it uses all that was set above.
        self._prepare(actions)


def planned_actions(
    space: gym.Space[Any],
    planner: str,
    kinds: tuple[type[gym.Space[Any]], ...] = (spaces.Discrete, spaces.Box),
) -> RowSpace:
    """The actions that a planner chooses from: rows of an action space, see `ActionCodec`.

    Args:
        space: Of the model.
        planner: Its name, for messages.
        kinds: What it can choose from.

    Raises:
        SpaceError: Actions of another kind, or numbers without finite bounds.
    """
    rows = ActionCodec(space).row_space
    if not isinstance(rows, kinds):
        if isinstance(rows, spaces.Discrete):
            raise SpaceError(
                f"{planner} plans for Box actions, not for {space}: use {DISCRETE_PLANNERS}"
            )
        raise SpaceError(
            f"{planner} plans for Discrete actions, not for {space}: use {CONTINUOUS_PLANNERS}"
        )
    # Uniform draws and Gaussians of half the range need a range.
    if isinstance(rows, spaces.Box) and not np.isfinite([rows.low, rows.high]).all():
        raise SpaceError(
            f"{planner} draws actions between finite bounds, {space} has none: use RescaleAction"
        )
    return rows


def action_bounds(actions: spaces.Box, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """The lowest and the highest action [A] as float32."""
    low = torch.as_tensor(actions.low, dtype=torch.float32, device=device)
    return low, torch.as_tensor(actions.high, dtype=torch.float32, device=device)


def planning_device(model: WorldModel, device: str) -> torch.device:
    """The device to plan on; a module is moved there unless "auto" (see `SamplingConfig`).

    Raises:
        ConfigError: There is no such device here; the model stays where it is.
    """
    if device != "auto":
        selected = choose_device(device)
        if isinstance(model, torch.nn.Module):
            model.to(selected)
        return selected
    parameter = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def to_device(state: ModelState, device: torch.device) -> ModelState:
    """A model state whose tensors lie on the device."""
    if state.observations.device == device:
        return state
    hidden = tuple(tensor.to(device) for tensor in state.hidden)
    return ModelState(state.observations.to(device), hidden)

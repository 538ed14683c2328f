"""Our world models under other libraries' solvers.

Costs of candidate action sequences, as stable-worldmodel asks.
"""

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from wm_agents.errors import ConfigError
from wm_agents.protocols import ModelState, Objective, WorldModel
from wm_envs.data.spaces import ActionCodec


class PlanningCosts:
    """A world model and an objective as one function from candidates to costs.

    It is what the solvers of stable-worldmodel call a model: `CEMSolver(PlanningCosts(model,
    objective))`. They hand over the situation repeated for each of N candidates, [B, N, O] under
    `key`; memory, where a model has one, comes under "hidden_0", "hidden_1" and so on.

    Args:
        model: The world model.
        objective: What is to be maximized; the cost is its negative.
        key: Under which entry of the situation the newest observations are.

    Raises:
        SpaceError: Actions that no codec serves.
    """

    def __init__(self, model: WorldModel, objective: Objective, key: str = "state") -> None:
        self._action_rows = ActionCodec(model.action_space).row_space
        self.model = model
        self.objective = objective
        self.key = key

    def parameters(self) -> Any:
        """The model's parameters, whose type and device a solver takes over.

        None for models without.
        """
        # An iterator without entries for models that are no torch modules.
        return self.model.parameters() if isinstance(self.model, nn.Module) else iter(())

    def get_cost(self, info_dict: Mapping[str, Any], action_candidates: Tensor) -> Tensor:
        """The cost [B, N] of each candidate.

        Args:
            info_dict: The situation, see the class; other entries are ignored.
            action_candidates: [B, N, H, A]; scores of the A actions where they are discrete, of
                which the largest is taken. Box actions outside the space are clipped, as the
                environment could not take them.

        Raises:
            ConfigError: The situation lacks the observations, or the candidates have another number
                of actions.
        """
        if self.key not in info_dict:
            raise ConfigError(
                f"the situation has {sorted(info_dict)} and no {self.key!r}: name the entry with "
                "key="
            )
        num_rows, num_candidates = action_candidates.shape[:2]
        actions = self._actions(action_candidates.flatten(0, 1))
        hidden = sorted(
            (name for name in info_dict if name.startswith("hidden_")),
            # By number and not by name: hidden_10 comes after hidden_9.
            key=lambda name: int(name[7:]),
        )
        memory = tuple(torch.as_tensor(info_dict[name]).flatten(0, 1) for name in hidden)
        observations = (
            torch.as_tensor(info_dict[self.key]).to(torch.float32).flatten(0, 1).flatten(1)
        )
        rollout = self.model.rollout(ModelState(observations, memory), actions)
        # Solvers minimize.
        return -self.objective(rollout, actions).view(num_rows, num_candidates)

    criterion = get_cost

    def _actions(self, candidates: Tensor) -> Tensor:
        """Rows [R, H, A] as the model takes actions."""
        space = self._action_rows
        size = int(space.n) if isinstance(space, spaces.Discrete) else int(space.shape[0])
        if candidates.shape[-1] != size:
            raise ConfigError(
                f"candidates have {candidates.shape[-1]} numbers per step, and "
                f"{self.model.action_space} asks for {size}"
            )
        if isinstance(space, spaces.Discrete):
            return candidates.argmax(-1) + int(space.start)
        # Solvers know of no bounds.
        low = torch.as_tensor(space.low, dtype=candidates.dtype, device=candidates.device)
        high = torch.as_tensor(space.high, dtype=candidates.dtype, device=candidates.device)
        return candidates.clamp(low, high)

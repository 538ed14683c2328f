"""Random shooting: draw action sequences uniformly, execute the first action of the best."""

import torch
from gymnasium import spaces
from torch import Tensor

from wm_agents.planning.planner import ModelPlanner, RowSpace, action_bounds
from wm_agents.planning.sampling import Buffer, SamplingConfig, Scorer, fill_uniform
from wm_agents.protocols import ModelState, Plan

# Random shooting has no settings but those of all sampling planners.
RandomShootingConfig = SamplingConfig


class RandomShooting(ModelPlanner[SamplingConfig]):
    """Uniform candidates, of which the best is the plan; nothing is carried over.

    Serves Box and Discrete actions. It is made as every planner is, see `ModelPlanner`.
    """

    config_class = SamplingConfig
    action_kinds = (spaces.Discrete, spaces.Box)

    def _prepare(self, actions: RowSpace) -> None:
        self._scorer = Scorer(self._model, self.objective, self._device, self.config.precision)
        self._actions = actions
        if isinstance(actions, spaces.Box):
            self._low, self._high = action_bounds(actions, self._device)
        self._noise = Buffer(self._device)

    def _plan(self, state: ModelState, generator: torch.Generator) -> Plan:
        config = self.config
        candidates = self._draw(len(state.observations), generator)
        values = self._scorer.values(state, candidates)
        best_values, best = values.max(1)
        num_rows = len(best)
        actions = candidates[torch.arange(num_rows, device=self._device), best]
        return Plan(actions, best_values, num_rows * config.num_samples * config.horizon)

    def _draw(self, num_rows: int, generator: torch.Generator) -> Tensor:
        """Candidates [B, N, H] or [B, N, H, A]."""
        shape = (num_rows, self.config.num_samples, self.config.horizon)
        if isinstance(self._actions, spaces.Discrete):
            uniform = fill_uniform(self._noise.of_shape(*shape), generator)
            # A uniform number times n, rounded down, is a uniform action.
            return (uniform * int(self._actions.n)).long() + int(self._actions.start)
        uniform = fill_uniform(self._noise.of_shape(*shape, len(self._low)), generator)
        return torch.addcmul(self._low, uniform, self._high - self._low)

"""The learner's side of adversarial IRL.

Environments that pay the present reward, and the steps taken in them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor

from wm_agents.errors import MixedHorizonError
from wm_agents.training.finite import require_finite

if TYPE_CHECKING:
    from wm_agents.irl.adversarial import AdversarialIRL


@dataclass(frozen=True)
class Transitions:
    """N steps.

    Observations [N, O], actions [N] or [N, A], next observations [N, O], terminations [N].
    """

    observations: Tensor
    actions: Tensor
    next_observations: Tensor
    terminations: Tensor

    def __len__(self) -> int:
        return len(self.observations)

    def sample(self, num: int, generator: torch.Generator) -> "Transitions":
        """Steps drawn with replacement."""
        rows = torch.randint(len(self), (num,), generator=generator)
        return Transitions(
            self.observations[rows],
            self.actions[rows],
            self.next_observations[rows],
            self.terminations[rows],
        )

    @classmethod
    def concatenate(cls, *parts: "Transitions") -> "Transitions":
        """All steps of several parts."""
        names = ("observations", "actions", "next_observations", "terminations")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class PaidEnvironments(VecEnvWrapper):
    """Environments that pay f - log pi, and remember what was done since the last round.

    Attributes:
        length: Of the learner's episodes, None before the first has ended.
    """

    def __init__(self, envs: VecEnv, owner: "AdversarialIRL") -> None:
        super().__init__(envs)
        self._owner = owner
        self._steps: list[Transitions] = []
        self._ages = np.zeros(envs.num_envs, np.int64)
        self.length: int | None = None
        self._before: NDArray[Any] = np.zeros(0)

    def reset(self) -> Any:
        """Begin new episodes everywhere; raises NonFiniteError."""
        self._ages[:] = 0
        self._before = np.asarray(self.venv.reset())
        self._check_observations(self._before)
        return self._before

    def step_async(self, actions: NDArray[Any]) -> None:
        """Begin a step."""
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        """End it; raises NonFiniteError, and MixedHorizonError where lengths may not differ."""
        observations, _, dones, infos = self.venv.step_wait()
        observations = np.asarray(observations)
        self._check_observations(observations)
        following = observations.copy()
        truncated = np.zeros(self.num_envs, np.bool_)
        for row in np.flatnonzero(dones):
            following[row] = infos[row]["terminal_observation"]
            truncated[row] = infos[row].get("TimeLimit.truncated", False)
        self._check_lengths(dones)
        steps = self._packed(following, dones & ~truncated)
        with torch.no_grad():
            paid = self._owner.logits(steps) - self._owner.log_policy(steps)
        require_finite(
            {"the reward f - log pi": paid}, f"after {self._owner.learner.num_timesteps} steps"
        )
        self._steps.append(steps)
        self._before = observations
        return observations, paid.numpy(), dones, infos

    def take(self) -> Transitions:
        """The steps since the last round, which are then forgotten."""
        steps, self._steps = Transitions.concatenate(*self._steps), []
        return steps

    def _packed(self, following: NDArray[Any], terminations: NDArray[np.bool_]) -> Transitions:
        before, after = (
            torch.as_tensor(rows.reshape(self.num_envs, -1), dtype=torch.float32)
            for rows in (self._before, following)
        )
        return Transitions(
            before, torch.as_tensor(self._actions), after, torch.as_tensor(terminations)
        )

    def _check_observations(self, observations: NDArray[Any]) -> None:
        place = f"after {self._owner.learner.num_timesteps} steps"
        require_finite({"an observation": torch.as_tensor(observations)}, place)

    def _check_lengths(self, dones: NDArray[np.bool_]) -> None:
        self._ages += 1
        if not self._owner.config.may_vary_in_length:
            for length in self._ages[dones]:
                if self.length is not None and length != self.length:
                    raise MixedHorizonError(
                        f"the learner's episodes last {self.length} and {length} steps: their length would tell who "
                        "acted; use an environment that only ends by its time limit, or permit it with "
                        "may_vary_in_length=True"
                    )
                self.length = int(length)
        self._ages[dones] = 0

"""Rollouts of an on-policy agent: T steps of B environments side by side, in any autoreset mode."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import NonFiniteError
from wm_agents.policy_gradient.spaces import PolicySpaces


class PolicyStep(NamedTuple):
    """What a policy does at one step of B environments.

    Attributes:
        actions: Indices [B] that count from 0, or vectors [B, A] as drawn.
        log_probs: Of the actions [B].
        features: What policy and value read [B, F].
        memory: After the observation [B, M].
    """

    actions: Tensor
    log_probs: Tensor
    features: Tensor
    memory: Tensor


Policy = Callable[[Tensor, Tensor, Tensor], PolicyStep]
"""(observations [B, O], memory [B, M], is_start [B]) -> the step."""
Critic = Callable[[PolicyStep, Tensor], tuple[Tensor, Tensor]]
"""(the step, next observations [B, O]) -> values before and after it, each [B]."""


@dataclass(frozen=True)
class RolloutBuffer:
    """T steps of B environments.

    Attributes:
        observations: [T, B, O].
        actions: [T, B] or [T, B, A].
        log_probs: [T, B].
        values: [T, B].
        rewards: [T, B].
        next_values: [T, B], 0 after a termination, the value of the last observation after a
            truncation.
        ended: [T, B], whether the episode ended with this step.
        next_observations: [T, B, O], what each step led to, at an end the episode's last one.
        is_start: [T, B], whether the episode began with this step's observation.
        mask: [T, B], False where the step only reset its environment.
        memory: [B, M], before the first step.
        returns: Of the episodes that ended.
        successes: Of the episodes that ended, where the environment reports them.
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    next_values: Tensor
    ended: Tensor
    next_observations: Tensor
    is_start: Tensor
    mask: Tensor
    memory: Tensor
    returns: list[float]
    successes: list[float]

    def require_finite(self, place: str) -> None:
        """Raise NonFiniteError for an observation or reward that is not finite."""
        checked = {"an observation": self.observations, "a reward": self.rewards}
        for name, values in checked.items():
            if not bool(values.isfinite().all()):
                raise NonFiniteError(
                    f"{name} is not finite {place}: nothing was updated; repair the environment"
                )


class RolloutCollector:
    """Steps one vector environment, rollout after rollout.

    Args:
        env: In any autoreset mode.
        spaces: Of a single environment.
        memory_width: Size M of the policy's memory.
        seed: Of the first reset.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        spaces: PolicySpaces,
        memory_width: int,
        seed: int,
    ) -> None:
        self.env = env
        self.spaces = spaces
        self.mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._obs = spaces.encode_observations(env.reset(seed=seed)[0])
        self._memory = torch.zeros(env.num_envs, memory_width)
        self._is_start = np.ones(env.num_envs, np.bool_)
        # In next-step mode: the rows whose next step ignores its action and only resets.
        self._is_reset = np.zeros(env.num_envs, np.bool_)
        self._returns = np.zeros(env.num_envs)

    @torch.no_grad()
    def collect(self, num_steps: int, policy: Policy, critic: Critic) -> RolloutBuffer:
        """The next `num_steps` steps of every environment."""
        first_memory = self._memory
        returns: list[float] = []
        successes: list[float] = []
        steps = []
        for _ in range(num_steps):
            is_start = torch.from_numpy(self._is_start)
            chosen = policy(self._obs, self._memory, is_start)
            following, rewards, terminated, truncated, infos = self.env.step(
                self.spaces.decode_actions(chosen.actions)
            )
            ended = terminated | truncated
            next_obs = self.spaces.encode_observations(following)
            following_obs = next_obs
            if self.mode == AutoresetMode.SAME_STEP:
                next_obs = self.spaces.with_final(next_obs, ended, infos)
            values, next_values = critic(chosen, next_obs)
            steps.append(
                (
                    self._obs,
                    chosen.actions,
                    chosen.log_probs,
                    values,
                    torch.as_tensor(rewards, dtype=torch.float32),
                    # What follows a truncation still has its value, what follows a termination
                    # has none.
                    next_values * torch.from_numpy(~terminated),
                    torch.from_numpy(ended),
                    next_obs,
                    is_start,
                    torch.from_numpy(~self._is_reset),
                )
            )
            self._count(rewards, ended, infos, returns, successes)
            if self.mode == AutoresetMode.DISABLED and ended.any():
                options = {"reset_mask": ended.copy()}
                following_obs = self.spaces.encode_observations(self.env.reset(options=options)[0])
            self._obs = following_obs
            self._memory = chosen.memory
            if self.mode == AutoresetMode.NEXT_STEP:
                self._is_start = self._is_reset
                self._is_reset = ended
            else:
                self._is_start = ended
        columns: list[Any] = [torch.stack(column) for column in zip(*steps, strict=True)]
        columns += [first_memory, returns, successes]
        return RolloutBuffer(*columns)

    def _count(
        self,
        rewards: NDArray[Any],
        ended: NDArray[np.bool_],
        infos: dict[str, Any],
        returns: list[float],
        successes: list[float],
    ) -> None:
        """Return and success of the episodes that end with this step."""
        self._returns += rewards
        rows = np.flatnonzero(ended)
        if not len(rows):
            return
        returns += self._returns[rows].tolist()
        self._returns[rows] = 0.0
        # A reset within the step has its own info; the last step's is put aside.
        last = infos.get("final_info", infos) if self.mode == AutoresetMode.SAME_STEP else infos
        if isinstance(last, dict) and "is_success" in last:
            successes += np.asarray(last["is_success"], np.float64)[rows].tolist()


def advantage_estimates(rollout: RolloutBuffer, gamma: float, gae_lambda: float) -> Tensor:
    """Generalized advantage estimates [T, B] (Schulman et al. 2016, eq. 16)."""
    errors = rollout.rewards + gamma * rollout.next_values - rollout.values
    advantages = torch.zeros_like(errors)
    running = torch.zeros_like(errors[0])
    for step in range(len(errors) - 1, -1, -1):
        running = errors[step] + gamma * gae_lambda * running * ~rollout.ended[step]
        advantages[step] = running
    return advantages


@torch.no_grad()
def lambda_returns(rewards: Tensor, values: Tensor, discounts: Tensor, gae_lambda: float) -> Tensor:
    """Returns [H, B] that mix all numbers of steps before a value (Sutton & Barto 2018, eq. 12.18).

    Args:
        rewards: [H, B].
        values: Of where each step began and where the last one led [H + 1, B].
        discounts: [H, B], 0 where a step ended its episode.
        gae_lambda: 0 asks the value after one step, 1 only after the last.
    """
    returns = torch.empty_like(rewards)
    following = values[-1]
    for step in reversed(range(len(rewards))):
        mixed = (1 - gae_lambda) * values[step + 1] + gae_lambda * following
        following = rewards[step] + discounts[step] * mixed
        returns[step] = following
    return returns

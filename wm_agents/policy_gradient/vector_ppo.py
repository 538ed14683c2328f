"""`VectorPPO` for one release: `wm_agents.policy_gradient.ppo.PPO` by its earlier arguments."""

import os
import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from wm_agents.policy_gradient.actor_critic import PPOConfig
from wm_agents.policy_gradient.ppo import PPO, current_names
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.config_checks import require_integers


@dataclass(frozen=True)
class VectorPPOConfig:
    """Settings of `VectorPPO`; those of `PPOConfig` by their earlier names."""

    widths: tuple[int, ...] = (96, 96)
    activation: str = "relu"
    num_steps: int = 64
    num_epochs: int = 3
    minibatch_size: int = 2048
    discount: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    value_coefficient: float = 0.5
    max_gradient_norm: float = 0.5
    normalize_observations: bool = True

    def __post_init__(self) -> None:
        self.current()

    def current(self) -> PPOConfig:
        """The same as `PPOConfig`."""
        return PPOConfig(**current_names(asdict(self)))


class VectorPPO(PPO):
    """`PPO` with the arguments of `VectorPPO`.

    Args:
        observation_space: Of a single row.
        action_space: Likewise.
        config: None takes `VectorPPOConfig()`.
        seed: Draws weights, actions and minibatches.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any] | tuple[gym.Space[Any], gym.Space[Any]],
        action_space: gym.Space[Any] | PPOConfig | None = None,
        config: VectorPPOConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        if isinstance(observation_space, tuple):  # as `PPO.load` calls it
            assert isinstance(action_space, PPOConfig)
            super().__init__(observation_space, action_space, seed=seed)
            return
        warnings.warn(
            "VectorPPO is deprecated: use PPO((observation_space, action_space), PPOConfig(...))",
            DeprecationWarning,
            stacklevel=2,
        )
        current = (config or VectorPPOConfig()).current()
        super().__init__((observation_space, action_space), current, seed=seed)

    def learn(  # type: ignore[override]
        self,
        env: VectorEnv[Any, Any, Any],
        num_updates: int,
        *,
        learning_rate: tuple[float, float],
        entropy: tuple[float, float],
        checkpoints: CheckpointManager | None = None,
        checkpoint_every: int = 50,
    ) -> dict[str, float]:
        """`PPO.learn` for a number of updates; gives means over the last half."""
        require_integers(1, num_updates=num_updates)
        self.config = replace(self.config, learning_rate=learning_rate, ent_coef=entropy)
        self.set_env(env)
        total = num_updates * self.config.n_steps * env.num_envs
        super().learn(total, checkpoints=checkpoints, checkpoint_every=checkpoint_every)
        assert self.report is not None
        half = self.report.history[len(self.report.history) // 2 :]
        names = ("reward", "entropy", "ended_share", "won_share")
        return {name: float(np.mean([row[name] for row in half])) for name in names}

    @classmethod
    def load(  # type: ignore[override]
        cls, path: str | os.PathLike[str], *, seed: int = 0, device: str = "auto"
    ) -> Self:
        """`PPO.load` with a seed of its own."""
        return cls._read(path, device, seed)

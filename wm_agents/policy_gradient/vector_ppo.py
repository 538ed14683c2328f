"""`VectorPPO` for one release: functions that make a `PPO` from the earlier arguments."""

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from wm_agents.policy_gradient.actor_critic import PPOConfig
from wm_agents.policy_gradient.ppo import PPO, current_names
from wm_agents.training.checkpoints import CheckpointManager
from wm_agents.training.config_checks import require_integers

_DEFAULTS = {
    "widths": (96, 96),
    "activation": "relu",
    "num_epochs": 3,
    "minibatch_size": 2048,
    "normalize_observations": True,
}


def VectorPPOConfig(**settings: Any) -> PPOConfig:  # noqa: N802 - it was a class
    """A `PPOConfig` from settings by their earlier names, with the earlier defaults."""
    return PPOConfig(**current_names({**_DEFAULTS, **settings}))


def VectorPPO(  # noqa: N802 - it was a class
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    config: PPOConfig | None = None,
    *,
    seed: int = 0,
) -> PPO:
    """A `PPO` whose `learn` takes the earlier arguments.

    Args:
        observation_space: Of a single row.
        action_space: Likewise.
        config: None takes `VectorPPOConfig()`.
        seed: Draws weights, actions and minibatches.
    """
    warnings.warn(
        "VectorPPO is deprecated: use PPO((observation_space, action_space), PPOConfig(...))",
        DeprecationWarning,
        stacklevel=2,
    )
    agent = PPO((observation_space, action_space), config or VectorPPOConfig(), seed=seed)
    agent.learn = partial(_learn, agent)  # type: ignore[method-assign, assignment]
    return agent


VectorPPO.load = PPO.load  # type: ignore[attr-defined]


def _learn(
    agent: PPO,
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
    agent.config = replace(agent.config, learning_rate=learning_rate, ent_coef=entropy)
    agent.set_env(env)
    total = num_updates * agent.config.n_steps * env.num_envs
    PPO.learn(agent, total, checkpoints=checkpoints, checkpoint_every=checkpoint_every)
    assert agent.report is not None
    half = agent.report.history[len(agent.report.history) // 2 :]
    names = ("reward", "entropy", "ended_share", "won_share")
    return {name: float(np.mean([row[name] for row in half])) for name in names}

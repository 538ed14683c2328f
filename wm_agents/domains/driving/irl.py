"""Laps as demonstrations for inverse reinforcement learning: states, plans and features."""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import wm_envs  # noqa: F401  (registers the ids)
from wm_agents.domains.driving.recording import within_bounds
from wm_envs import oracle
from wm_envs.driving.columns import DrivingColumn as Column

Array = NDArray[Any]

ENV_ID = "wm/Driving-v0"
MIN_AGE, MAX_AGE = 50, 250  # steps that a car has driven before it is looked at


class DrivingTask:
    """Moments of the expert's laps on the oval, with the environment's own dynamics.

    Args:
        grip_scale: Of the tyres, see `wm/Driving-v0`.

    Attributes:
        names: Of the features, F.
        scaled_weights: Of a driver whose reward is to be found [F], per standard deviation of each
            feature's sum among plans.
        noise_std: Of plans around the expert's actions [A].
    """

    names = ("speed", "centering", "heading", "smoothness")
    scaled_weights = np.array([1.5, -1.5, -0.7, -1.0])
    noise_std: tuple[float, ...] = (0.1, 0.4, 0.4)

    def __init__(self, grip_scale: float = 1.0) -> None:
        self.options: dict[str, Any] = {"grip_scale": grip_scale}

    def starts(self, num: int, seed: int) -> Array:
        """States [num] to plan from.

        Every row of a batch drives on by itself for a random while.
        """
        envs: Any = gym.make_vec(ENV_ID, num_envs=num, **self.options)
        envs.reset(seed=seed)
        ages = np.random.default_rng(seed).integers(MIN_AGE, MAX_AGE, num)
        states = envs.clone_state().copy()
        for age in range(MAX_AGE):
            rows = ages == age
            states[rows] = envs.clone_state()[rows]
            envs.step(envs.expert_actions())
        return states

    def adopt(self, states: Array) -> Array:
        """The same cars on this road: states [B] of another one, which differs in grip alone."""
        envs: Any = gym.make_vec(ENV_ID, num_envs=1, **self.options)
        envs.reset(seed=0)
        adopted = states.copy()
        # States say which options they belong to; grip is none of what their columns depend on.
        adopted["fingerprint"] = envs.clone_state()["fingerprint"]
        return adopted

    def center(self, states: Array, horizon: int) -> Array:
        """What the expert would do from states [B]: actions [B, H, 3]."""
        envs: Any = gym.make_vec(ENV_ID, num_envs=len(states), **self.options)
        envs.reset(seed=0)
        envs.restore_state(states)
        actions = []
        for _ in range(horizon):
            actions.append(np.array(envs.expert_actions()))
            envs.step(actions[-1])
        return np.stack(actions, 1)

    def roll(self, states: Array, actions: Array) -> Array:
        """Observations [B, H + 1, 34] from states [B] under actions [B, H, 3]."""
        bounded = within_bounds(actions)
        return oracle.rollout(ENV_ID, states, bounded, env_kwargs=self.options)[0]

    def features(self, observations: Array, actions: Array) -> Array:
        """Features [B, H, 4] of observations [B, H + 1, 34] and actions [B, H, 3].

        Forward speed, squared offset and heading error after each step, squared change of the
        action.
        """
        after = observations[:, 1:].astype(np.float64)
        changes = np.diff(actions, axis=1, prepend=actions[:, :1])
        columns = [
            after[..., Column.VELOCITY_X],
            after[..., Column.OFFSET] ** 2,
            after[..., Column.HEADING_ERROR] ** 2,
            (changes**2).sum(2),
        ]
        return np.stack(columns, 2)

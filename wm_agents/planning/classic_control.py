"""The exact dynamics of Gymnasium's classic control tasks as world models, and scripted experts.

They are the reference of the learned ones. Each function is batched, keeps the dtype of its
observations and is compared with Gymnasium's own `step` in the tests. `true_model(env_id)` makes
the world model on which every planner runs as on a learned one.
"""

import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.errors import ConfigError
from wm_agents.protocols import ModelState, Prediction, Rollout

Dynamics = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Next observations [B, O], rewards [B] and terminations [B].

Of observations [B, O] and actions [B] or [B, A].
"""


def pendulum(observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pendulum-v1: [cos angle, sin angle, angular velocity in rad/s], torque in N m.

    20 steps a second.
    """
    cosine, sine, velocity = observations.unbind(1)
    angle, torque = torch.atan2(sine, cosine), actions[:, 0].clamp(-2.0, 2.0)
    # The reward is of the state and torque before the step, as in Gymnasium.
    rewards = -(angle**2 + 0.1 * velocity**2 + 0.001 * torque**2)
    # Semi-implicit Euler: the new speed moves the angle.
    velocity = (velocity + (15.0 * sine + 3.0 * torque) * 0.05).clamp(-8.0, 8.0)
    angle = angle + velocity * 0.05
    return torch.stack([angle.cos(), angle.sin(), velocity], 1), rewards, torch.zeros_like(rewards)


def cart_pole(observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """CartPole-v1: [cart position in m, velocity in m/s, pole angle in rad, angular velocity].

    50 steps a second.
    """
    position, velocity, angle, turn = observations.unbind(1)
    force = torch.where(actions == 1, 10.0, -10.0).to(observations.dtype)
    cosine, sine = angle.cos(), angle.sin()
    # The names of Barto, Sutton and Anderson 1983: masses 1 and 0.1, half a pole of 0.5.
    pushed = (force + 0.05 * turn**2 * sine) / 1.1
    turn_rate = (9.8 * sine - cosine * pushed) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    acceleration = pushed - 0.05 * turn_rate * cosine / 1.1
    # Explicit Euler: positions move by the speeds before the step.
    position, velocity = position + 0.02 * velocity, velocity + 0.02 * acceleration
    angle, turn = angle + 0.02 * turn, turn + 0.02 * turn_rate
    # Twelve degrees, written as Gymnasium rounds them.
    terminations = (position.abs() > 2.4) | (angle.abs() > 12 * 2 * math.pi / 360)
    after = torch.stack([position, velocity, angle, turn], 1)
    return after, torch.ones_like(position), terminations.to(observations.dtype)


def acrobot(observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Acrobot-v1: cosine and sine of both joint angles, their velocities in rad/s.

    One Runge-Kutta step of 0.2 s.
    """
    cosine1, sine1, cosine2, sine2, velocity1, velocity2 = observations.unbind(1)
    start = torch.stack(
        [torch.atan2(sine1, cosine1), torch.atan2(sine2, cosine2), velocity1, velocity2], 1
    )
    torque = actions.to(observations.dtype) - 1.0
    # Runge and Kutta's fourth order, one step of 0.2 s.
    k1 = acrobot_derivative(start, torque)
    k2 = acrobot_derivative(start + 0.1 * k1, torque)
    k3 = acrobot_derivative(start + 0.1 * k2, torque)
    k4 = acrobot_derivative(start + 0.2 * k3, torque)
    angle1, angle2, velocity1, velocity2 = (start + 0.2 / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)).unbind(
        1
    )
    velocity1 = velocity1.clamp(-4 * math.pi, 4 * math.pi)
    velocity2 = velocity2.clamp(-9 * math.pi, 9 * math.pi)
    # The tip is one link's length above the pivot.
    is_up = -angle1.cos() - (angle1 + angle2).cos() > 1.0
    after = torch.stack(
        [angle1.cos(), angle1.sin(), angle2.cos(), angle2.sin(), velocity1, velocity2], 1
    )
    return after, torch.where(is_up, 0.0, -1.0).to(after.dtype), is_up.to(after.dtype)


def acrobot_derivative(state: Tensor, torque: Tensor) -> Tensor:
    """Velocities and accelerations [B, 4] (Sutton & Barto 2018, section 11.3.

    Unit masses, lengths and inertias).
    """
    angle1, angle2, velocity1, velocity2 = state.unbind(1)
    gravity = 9.8
    d1 = 0.25 + (1.25 + angle2.cos()) + 2.0
    d2 = 0.25 + 0.5 * angle2.cos() + 1.0
    phi2 = 0.5 * gravity * (angle1 + angle2).sin()
    phi1 = (
        -0.5 * velocity2**2 * angle2.sin()
        - velocity2 * velocity1 * angle2.sin()
        + 1.5 * gravity * angle1.sin()
        + phi2
    )
    acceleration2 = torque + d2 / d1 * phi1 - 0.5 * velocity1**2 * angle2.sin() - phi2
    acceleration2 = acceleration2 / (1.25 - d2**2 / d1)
    acceleration1 = -(d2 * acceleration2 + phi1) / d1
    return torch.stack([velocity1, velocity2, acceleration1, acceleration2], 1)


def mountain_car(observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MountainCar-v0: [position, velocity], the push is action - 1."""
    after, is_goal = _roll_downhill(
        observations, (actions.to(observations.dtype) - 1.0) * 0.001, 0.5
    )
    return after, torch.full_like(is_goal, -1.0), is_goal


def mountain_car_continuous(observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MountainCarContinuous-v0: as MountainCar with a push in [-1, 1] that costs its square."""
    push = actions[:, 0].clamp(-1.0, 1.0)
    after, is_goal = _roll_downhill(observations, push * 0.0015, 0.45)
    return after, 100.0 * is_goal - 0.1 * actions[:, 0] ** 2, is_goal


def _roll_downhill(observations: Tensor, push: Tensor, goal: float) -> tuple[Tensor, Tensor]:
    position, velocity = observations.unbind(1)
    velocity = (velocity + push - 0.0025 * (3 * position).cos()).clamp(-0.07, 0.07)
    position = (position + velocity).clamp(-1.2, 0.6)
    # The wall on the left stops the car and does not throw it back.
    velocity = torch.where((position <= -1.2) & (velocity < 0), 0.0, velocity)
    is_goal = (position >= goal) & (velocity >= 0.0)
    return torch.stack([position, velocity], 1), is_goal.to(position.dtype)


def balance_pole(observations: NDArray[Any]) -> NDArray[np.int64]:
    """An expert on CartPole-v1: actions [B] of observations [B, 4].

    It pushes towards where the pole falls, drifting back to the middle.
    """
    position, velocity, angle, turn = np.asarray(observations).T
    return (0.05 * position + 0.1 * velocity + angle + 0.3 * turn > 0).astype(np.int64)


def swing_up(observations: NDArray[Any]) -> NDArray[np.float32]:
    """An expert on Pendulum-v1: torques [B, 1] of observations [B, 3].

    It pumps energy until the top is in reach, then holds it (Astrom and Furuta 2000, "Swinging up a
    pendulum by energy control").
    """
    cosine, sine, velocity = np.asarray(observations, np.float64).T
    angle = np.arctan2(sine, cosine)
    # Energy of a rod of length 1, mass 1 and gravity 10, less that at rest on top.
    energy = velocity**2 / 6 + 5 * (cosine - 1)
    pump = np.clip(-np.tanh(velocity) * energy, -2, 2)
    hold = -12 * angle - 3 * velocity
    # Smooth in between, so that it can be learned from what it does.
    share = 1 / (1 + np.exp(12 * (np.abs(angle) - 0.6)))
    return np.clip(share * hold + (1 - share) * pump, -2, 2)[:, None].astype(np.float32)


DYNAMICS: dict[str, Dynamics] = {
    "Pendulum-v1": pendulum,
    "CartPole-v1": cart_pole,
    "Acrobot-v1": acrobot,
    "MountainCar-v0": mountain_car,
    "MountainCarContinuous-v0": mountain_car_continuous,
}


class _TrueModel:
    """Exact dynamics whose observations tell the whole state, as a world model.

    Args:
        dynamics: One step.
        observation_space: Of the environment.
        action_space: Of the environment.
    """

    def __init__(
        self, dynamics: Dynamics, observation_space: gym.Space[Any], action_space: gym.Space[Any]
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self._dynamics = dynamics

    def start(self, observations: Tensor, hidden: tuple[Tensor, ...] = ()) -> ModelState:
        """The observation is the state."""
        return ModelState(observations, hidden)

    def step(
        self, state: ModelState, actions: Tensor, generator: torch.Generator | None = None
    ) -> tuple[ModelState, Prediction]:
        """One exact step."""
        prediction = self.predict(state.observations, actions, generator)
        return ModelState(prediction.observations, state.hidden), prediction

    def predict(
        self,
        observations: Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Prediction:
        """One exact step from observations [B, O]."""
        return Prediction(*self._dynamics(observations, actions))

    def rollout(
        self,
        start: ModelState | Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Rollout:
        """Exact futures for actions [B, H] or [B, H, A].

        Time comes first in memory, as it is written.
        """
        first = start if isinstance(start, Tensor) else start.observations
        num_rows, horizon = actions.shape[:2]
        observations = first.new_empty((horizon + 1, *first.shape))
        rewards, terminations = first.new_empty((2, horizon, num_rows))
        observations[0] = first
        for step in range(horizon):
            after, rewards[step], terminations[step] = self._dynamics(
                observations[step], actions[:, step]
            )
            observations[step + 1] = after
        return Rollout(observations.transpose(0, 1), rewards.T, terminations.T)


def true_model(env_id: str) -> _TrueModel:
    """The exact dynamics of a classic control task.

    Raises:
        ConfigError: No exact dynamics are written down for this id.
    """
    if env_id not in DYNAMICS:
        raise ConfigError(f"no exact dynamics for {env_id!r}: known are {', '.join(DYNAMICS)}")
    env = gym.make(env_id)
    return _TrueModel(DYNAMICS[env_id], env.observation_space, env.action_space)

"""The tasks of `warm_start`: Pendulum, a cart-pole that swings up, and a car, on true dynamics."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wm_agents.domains.driving import task as driving
from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.planning.classic_control import _TrueModel, true_model
from wm_agents.planning.oracle import OracleModel
from wm_agents.protocols import ModelState
from wm_envs import oracle
from wm_envs.driving.env import DrivingVectorEnv

RAIL = 2.4  # m from the middle to either end of the cart-pole's rail
CART_POLE_STEP = 0.05  # s


@dataclass(frozen=True)
class PlanningTask:
    """Starts and exact dynamics of many environments at once.

    Attributes:
        name: A plain word.
        horizon: Decisions that a plan looks ahead.
        num_decisions: Of an episode.
        model: The true dynamics as a world model; its `step` is the environment.
        start: From seeds to where their episodes begin, one row each.
    """

    name: str
    horizon: int
    num_decisions: int
    model: Any
    start: Callable[[Sequence[int]], ModelState]


def uniform_starts(low: Sequence[float], high: Sequence[float], seeds: Sequence[int]) -> Tensor:
    """Numbers [B, N] between bounds, a row for each seed."""
    draws = [np.random.default_rng(seed).uniform(low, high) for seed in seeds]
    return torch.as_tensor(np.array(draws), dtype=torch.float32)


def pendulum_starts(seeds: Sequence[int]) -> ModelState:
    """Any angle and a small velocity, as Pendulum-v1 is reset."""
    angle, velocity = uniform_starts([-math.pi, -1.0], [math.pi, 1.0], seeds).unbind(1)
    return ModelState(torch.stack([angle.cos(), angle.sin(), velocity], 1))


def cart_pole_swing_up(observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A cart-pole that begins hanging: the equations of CartPole-v1 with a force in [-10, 10] N.

    Observations [B, 5] are cart position in m and velocity, cosine and sine of the pole's angle
    from upright, and its velocity in rad/s; actions [B, 1] are the force in tens of newtons; 20
    steps a second. The cart stops at the ends of its rail. The reward is 1 for an upright pole in
    the middle, less with the cosine and the squared position; nothing ends an episode.
    """
    position, velocity, cosine, sine, turn = observations.unbind(1)
    force = 10.0 * actions[:, 0].clamp(-1.0, 1.0)
    pushed = (force + 0.05 * turn**2 * sine) / 1.1
    turn_rate = (9.8 * sine - cosine * pushed) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    acceleration = pushed - 0.05 * turn_rate * cosine / 1.1
    velocity = velocity + CART_POLE_STEP * acceleration
    moved = position + CART_POLE_STEP * velocity
    is_stopped = moved.abs() > RAIL
    velocity = torch.where(is_stopped, 0.0, velocity)
    position = moved.clamp(-RAIL, RAIL)
    turn = turn + CART_POLE_STEP * turn_rate
    angle = torch.atan2(sine, cosine) + CART_POLE_STEP * turn
    cosine = angle.cos()
    rewards = 0.5 * (1.0 + cosine) * (1.0 - (position / RAIL) ** 2)
    after = torch.stack([position, velocity, cosine, angle.sin(), turn], 1)
    return after, rewards, torch.zeros_like(rewards)


def cart_pole_starts(seeds: Sequence[int]) -> ModelState:
    """Hanging, nearly still, near the middle."""
    bound = np.array([0.5, 0.1, 0.1, 0.1])
    position, velocity, angle, turn = uniform_starts(-bound, bound, seeds).unbind(1)
    return ModelState(
        torch.stack([position, velocity, -angle.cos(), -angle.sin(), turn], 1)  # pi + angle
    )


DRIVING_OPTIONS: dict[str, Any] = {
    "track": "oval",
    "time_limit": 100_000,
    "start_speed": driving.START_SPEED,
    "reward_weights": driving.REWARD_WEIGHTS,
    "num_substeps": 1,
    **ENV_OPTIONS,
}


def drive(
    states: NDArray[Any], decisions: NDArray[np.float32], *, return_states: bool = False
) -> tuple[NDArray[Any], ...]:
    """The car's future for decisions [B, H, 2], each repeated for `ACTION_REPEAT` steps."""
    num_rows, horizon = decisions.shape[:2]
    actions = driving.to_action(torch.from_numpy(decisions.reshape(-1, 2))).numpy()
    actions = actions.reshape(num_rows, horizon, 3).repeat(driving.ACTION_REPEAT, 1)
    outcome = oracle.rollout(
        "wm/Driving-v0", states, actions, env_kwargs=DRIVING_OPTIONS, return_states=True
    )
    observations, rewards, terminations, after = outcome
    result = (
        observations[:, :: driving.ACTION_REPEAT],
        rewards.reshape(num_rows, horizon, -1).sum(-1),
        terminations[:, driving.ACTION_REPEAT - 1 :: driving.ACTION_REPEAT],
    )
    return (*result, after) if return_states else result


@functools.cache
def driving_model() -> OracleModel:
    """The car's true rules, decided about 12.5 times a second."""
    envs = DrivingVectorEnv(1, **DRIVING_OPTIONS)
    return OracleModel(drive, envs.single_observation_space, driving.ACTION_SPACE)


def driving_starts(seeds: Sequence[int]) -> ModelState:
    """Anywhere on the oval at 20 to 30 m/s."""
    envs = DrivingVectorEnv(len(seeds), **DRIVING_OPTIONS)
    observations, _ = envs.reset(seed=list(seeds))
    model = driving_model()
    return model.start(torch.as_tensor(observations), model.hidden_of(envs.clone_state()))


def box(low: Sequence[float], high: Sequence[float]) -> gym.spaces.Box:
    """Numbers between bounds."""
    return gym.spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


def tasks() -> dict[str, PlanningTask]:
    """The three tasks by name."""
    swing_up = _TrueModel(
        cart_pole_swing_up,
        box([-RAIL, -np.inf, -1.0, -1.0, -np.inf], [RAIL, np.inf, 1.0, 1.0, np.inf]),
        box([-1.0], [1.0]),
    )
    found = (
        PlanningTask("pendulum", 16, 200, true_model("Pendulum-v1"), pendulum_starts),
        PlanningTask("cart_pole_swing_up", 24, 200, swing_up, cart_pole_starts),
        PlanningTask("driving", 16, 150, driving_model(), driving_starts),
    )
    return {task.name: task for task in found}

"""Demonstrators with known rewards: choices among plans, on which inferred weights are tried."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import ConfigError
from wm_agents.irl.importance_sampling import held_noise

Array = NDArray[Any]


class PlannedTask(Protocol):
    """Moments from which plans are rolled out on the true dynamics.

    Attributes:
        names: Of the features, F.
        scaled_weights: Of the reward that is to be found [F], per standard deviation of each
            feature's sum among plans.
        noise_std: Of plans around a routine's actions [A].
    """

    names: tuple[str, ...]
    scaled_weights: Array
    noise_std: tuple[float, ...]

    def starts(self, num: int, seed: int) -> Array:
        """States [num, ...] to plan from."""

    def adopt(self, states: Array) -> Array:
        """States [B, ...] of the same task with other dynamics, as states of this one."""

    def center(self, states: Array, horizon: int) -> Array:
        """What a routine would do from states [B, ...]: actions [B, H, A]."""

    def roll(self, states: Array, actions: Array) -> Array:
        """Observations [B, H + 1, O] from states [B, ...] under actions [B, H, A]."""

    def features(self, observations: Array, actions: Array) -> Array:
        """Features [B, H, F] of observations [B, H + 1, O] and actions [B, H, A]."""


class PendulumTask:
    """Pendulum-v1 in a batch: states [B, 2] of angle in rad from the top and speed in rad/s.

    Args:
        mass: In kg, Gymnasium's is 1.

    Raises:
        ConfigError: A mass that is not positive and finite.
    """

    names = ("angle", "speed", "torque")
    scaled_weights = np.array([-2.0, -0.7, -0.7])
    noise_std: tuple[float, ...] = (1.0,)

    def __init__(self, mass: float = 1.0) -> None:
        if not 0 < mass < np.inf:
            raise ConfigError(f"mass={mass}: give a positive one, such as 1.5")
        self.mass = mass

    def starts(self, num: int, seed: int) -> Array:
        """Anywhere, at up to 3 rad/s."""
        generator = np.random.default_rng(seed)
        return np.stack([generator.uniform(-np.pi, np.pi, num), generator.uniform(-3, 3, num)], 1)

    def adopt(self, states: Array) -> Array:
        """Angles and speeds are the same whatever the mass."""
        return states

    def center(self, states: Array, horizon: int) -> Array:
        """No torque."""
        return np.zeros((len(states), horizon, 1))

    def roll(self, states: Array, actions: Array) -> Array:
        """By the equations of Gymnasium's environment; the angle is not wrapped."""
        path = [states]
        for torque in np.moveaxis(np.clip(actions[..., 0], -2, 2), 1, 0):
            angle, speed = path[-1].T
            speed = np.clip(speed + (15 * np.sin(angle) + 3 / self.mass * torque) * 0.05, -8, 8)
            path.append(np.stack([angle + speed * 0.05, speed], 1))
        return np.stack(path, 1)

    def features(self, observations: Array, actions: Array) -> Array:
        """Squares of the angle from the top, the speed and the torque.

        The terms of the task's cost.
        """
        angle, speed = observations[:, :-1, 0], observations[:, :-1, 1]
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        return np.stack([wrapped**2, speed**2, actions[..., 0] ** 2], 2)


def plan_sums(task: PlannedTask, states: Array, plans: Array) -> Array:
    """Sums of features [K, M, F] over plans [K, M, H, A] from states [K, ...]."""
    sums = []
    # One state at a time: the observations of all plans together would be large.
    for state, candidates in zip(states, plans, strict=True):
        starts = np.repeat(state[None], len(candidates), 0)
        sums.append(task.features(task.roll(starts, candidates), candidates).sum(1))
    return np.stack(sums)


def choose_plans(
    task: PlannedTask,
    states: Array,
    scaled_weights: Array,
    *,
    horizon: int,
    hold: int,
    num_plans: int,
    seed: int,
) -> tuple[Array, Array]:
    """Actions [K, H, A] that a demonstrator takes, and its weights [F] per unit of each feature.

    It draws plans around those of a routine and takes one by importance: by the exponential of its
    return over the density that it was drawn with, so that what it does depends on its reward alone
    and not on the routine.

    Args:
        task: Dynamics and features.
        states: [K, ...].
        scaled_weights: [F], per standard deviation of each feature's sum among plans.
        horizon: H.
        hold: Steps over which a plan departs from the routine in the same way.
        num_plans: From which one is taken.
        seed: Of plans and choices.
    """
    generator = np.random.default_rng([seed, 1])
    center = task.center(states, horizon)
    plans, density = held_noise(center, num_plans, task.noise_std, hold, generator)
    sums = plan_sums(task, states, plans)
    scale = (sums - sums.mean(1, keepdims=True)).std((0, 1))
    logits = sums @ (scaled_weights / scale) - density
    # The largest of logits with Gumbel noise is a draw from their softmax.
    selected = (logits + generator.gumbel(size=logits.shape)).argmax(1)
    return plans[np.arange(len(plans)), selected], scaled_weights / scale


def plan_shares(
    home: PlannedTask,
    changed: PlannedTask,
    weights: Array,
    inferred: Array,
    *,
    num_starts: int,
    horizon: int,
    hold: int,
    num_plans: int,
    seed: int,
) -> dict[str, float]:
    """What inferred weights are worth where the dynamics have changed.

    From states of the changed world plans around the routine of home are rolled out. Returns are by
    the true weights there, as shares of the way from any plan to the plan that is best by them.

    Args:
        home: Where the weights were inferred.
        changed: The same features with other dynamics.
        weights: The true ones [F], per unit of each feature.
        inferred: The inferred ones [F], in the same units.
        num_starts: K.
        horizon: H.
        hold: Steps over which a plan departs from the routine in the same way.
        num_plans: M for each state.
        seed: Of states and plans.

    Returns:
        "inferred_reward", of the plan that is best by the inferred weights in the changed world, and
        "copied_plan", of the one that would have been best by the true weights at home.
    """
    generator = np.random.default_rng([seed, 2])
    states = changed.starts(num_starts, seed)
    at_home = home.adopt(states)
    center = home.center(at_home, horizon)
    plans, _ = held_noise(center, num_plans, home.noise_std, hold, generator)
    sums = plan_sums(changed, states, plans)
    returns = sums @ weights  # [K, M + 1]
    rows = np.arange(len(plans))
    span = (returns.max(1) - returns.mean(1)).mean()
    taken = {
        "inferred_reward": (sums @ inferred).argmax(1),
        "copied_plan": (plan_sums(home, at_home, plans) @ weights).argmax(1),
    }
    return {
        name: float((returns[rows, plan] - returns.mean(1)).mean() / span)
        for name, plan in taken.items()
    }

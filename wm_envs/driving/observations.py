"""The columns of a car's observation by name, and the reward and the end that follow from them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_envs.driving import dynamics
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.kernel import empty_rows, kernel
from wm_envs.rules import Array

TEMPERATURES = slice(Column.TEMPERATURE_FL, Column.TEMPERATURE_RR + 1)
WEAR = slice(Column.WEAR_FL, Column.WEAR_RR + 1)
CURVATURES_AHEAD = slice(Column.CURVATURE_10M, Column.CURVATURE_180M + 1)


def step_rewards(
    parameters: Array,
    before: NDArray[np.floating[Any]],
    after: NDArray[np.floating[Any]],
    actions: NDArray[np.floating[Any]],
    last_actions: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The environment's reward [B] of steps between two observations, and terminations [B].

    The environment computes both with the same compiled functions from its states. Standstill ends
    an episode after two seconds only, which one step does not show, so that it is no end here.

    Args:
        parameters: The parameter row [1] of the environment, with the weights of the reward.
        before: Extended observations [B, 37 or more] in SI units.
        after: The same one step later.
        actions: Steering, throttle and brake [B, 3] of the step.
        last_actions: Those of the step before [B, 3]; the same again for a first step, which has
            nothing to differ from.
    """
    outcomes = empty_rows(len(after), dynamics.OUTCOME)
    reward_rows(
        parameters,
        np.ascontiguousarray(before, np.float64),
        np.ascontiguousarray(after, np.float64),
        np.ascontiguousarray(actions, np.float64),
        np.ascontiguousarray(last_actions, np.float64),
        outcomes,
    )
    return outcomes["reward"].copy(), outcomes["terminated"].copy()


def has_left_or_spun(observations: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether the environment ends an episode at extended observations [B, 37 or more] in SI units.

    Standstill, which one observation does not show, is left out.
    """
    causes = np.empty(len(observations), np.int64)
    write_causes(np.ascontiguousarray(observations, np.float64), causes)
    return causes != dynamics.RUNNING


@kernel
def cause_at(seen: Array) -> int:
    """`dynamics.cause_of_end` of one observation."""
    return dynamics.cause_of_end(
        seen[Column.VELOCITY_X.value],
        seen[Column.VELOCITY_Y.value],
        seen[Column.OFFSET.value],
        seen[Column.HEADING_ERROR.value],
        seen[Column.LEFT_WIDTH.value],
        seen[Column.RIGHT_WIDTH.value],
        0,
    )


@kernel
def write_causes(observations: Array, causes: Array) -> None:
    """Why each row has ended, if it has."""
    for row in range(len(observations)):
        causes[row] = cause_at(observations[row])


@kernel
def reward_rows(
    parameters: Array,
    before: Array,
    after: Array,
    actions: Array,
    last_actions: Array,
    outcomes: Array,
) -> None:
    """Write reward, its components and termination of each row."""
    for row in range(len(after)):
        first, seen, outcome = before[row], after[row], outcomes[row]
        cause = cause_at(seen)
        progress = seen[Column.TRACK_POSITION.value] - first[Column.TRACK_POSITION.value]
        progress -= np.floor(progress + 0.5)  # across the line, where the position jumps
        action_change = 0.0
        for i in range(3):
            action_change += (actions[row, i] - last_actions[row, i]) ** 2
        wear = 0.0
        for i in range(Column.WEAR_FL.value, Column.WEAR_RR.value + 1):
            wear += seen[i] - first[i]
        dynamics.write_reward_components(
            outcome,
            progress,
            seen[Column.VELOCITY_X.value],
            seen[Column.VELOCITY_Y.value],
            seen[Column.OFFSET.value],
            seen[Column.HEADING_ERROR.value],
            seen[Column.LEFT_WIDTH.value],
            seen[Column.RIGHT_WIDTH.value],
            action_change,
            cause == dynamics.LEFT_ROAD,
        )
        outcome.tyre = 25.0 * wear
        outcome.fuel = 100.0 * (seen[Column.FUEL.value] - first[Column.FUEL.value])
        outcome.reward = dynamics.weigh_rewards(parameters[0], outcome)
        outcome.terminated = cause != dynamics.RUNNING

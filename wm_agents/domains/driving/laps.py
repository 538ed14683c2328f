"""Timed laps of one car: planned, of the policies that plans choose from, and of the expert."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wm_agents.domains.driving.observations import ENV_OPTIONS
from wm_agents.domains.driving.planner import POLICY_GRIP, DrivingPlanner
from wm_agents.domains.driving.racer import Racer
from wm_agents.domains.driving.rollouts import PathModel, TruePaths
from wm_agents.protocols import ModelState, Plan
from wm_envs.driving.columns import DrivingColumn as Column
from wm_envs.driving.dynamics import HALF_WIDTH
from wm_envs.driving.env import DrivingEnv, DrivingVectorEnv
from wm_envs.driving.expert import Expert

OnPlan = Callable[[int, NDArray[np.float32], Plan, Any], None]
"""(step, observation [37], plan, state row of the environment) -> nothing."""

TIME_LIMIT = 100_000  # steps; nobody needs as many for the laps that are asked for


def timed_env(track: str | Path, *, is_random_start: bool = False) -> DrivingEnv:
    """The environment of a timed run, from a rolling start on the line or anywhere on the lap."""
    return DrivingEnv(
        track=track, random_start=is_random_start, time_limit=TIME_LIMIT, **ENV_OPTIONS
    )


def planning_state(
    model: PathModel, env: DrivingEnv, observation: NDArray[np.float32]
) -> ModelState:
    """Where an environment stands, as a planner's model takes it; one row."""
    states = np.atleast_1d(env.clone_state())
    observations = torch.as_tensor(observation[None])
    if isinstance(model, TruePaths):
        return model.start(observations, model.hidden_of(states))
    # The distance in float64: an observation's float32 share of the lap is off by a millimetre.
    return model.start(observations, (torch.from_numpy(states["distance"].copy()),))


def drive_laps(
    env: DrivingEnv,
    planner: DrivingPlanner,
    num_laps: int,
    on_plan: OnPlan | None = None,
    *,
    seed: int = 0,
    max_decisions: int = TIME_LIMIT,
) -> dict[str, Any]:
    """Drive from the start until the laps are done or the car is off.

    Args:
        env: Extended observations in SI units, not wrapped.
        planner: Plans for its circuit.
        num_laps: Laps.
        on_plan: Called at each step, see `OnPlan`.
        seed: Of the start, where the environment has random ones, and of draws that the planner
            leaves to its generator.
        max_decisions: After which the drive is given up.

    Returns:
        Figures by name: is_clean, lap_times (s), decisions_per_second, num_decisions,
        driven_metres, least_room (m between the car's side and the nearer edge of the road,
        negative beyond it), cause (of the end, 0 for none).
    """
    observation, info = env.reset(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    lap_times: list[float] = []
    seconds, num_decisions, num_steps, has_ended = 0.0, 0, 0, False
    room = np.inf
    while len(lap_times) < num_laps and num_decisions < max_decisions and not has_ended:
        state_row = env.clone_state()
        began = time.process_time()
        plan = planner.plan(planning_state(planner.model, env, observation), generator)
        seconds += time.process_time() - began
        if on_plan is not None:
            on_plan(num_steps, observation, plan, state_row)
        num_decisions += 1
        for action in plan.actions[0, : planner.config.steps_per_plan].numpy():
            observation, _, terminated, truncated, info = env.step(action)
            num_steps += 1
            room = min(room, room_beside(observation))
            has_ended = terminated or truncated
            if info["lap_time"] > 0:
                lap_times.append(float(info["lap_time"]))
            if has_ended:
                break
    return {
        "is_clean": len(lap_times) == num_laps,
        "lap_times": lap_times,
        "decisions_per_second": num_decisions / max(seconds, 1e-9),
        "num_decisions": num_decisions,
        "driven_metres": float(env.clone_state()["driven"]),
        "least_room": float(room),
        "cause": int(info["cause"]),
    }


def room_beside(observation: NDArray[np.float32]) -> float:
    """Metres between the car's side and the nearer edge of the road, by an observation [37]."""
    offset = observation[Column.OFFSET]
    left, right = observation[Column.LEFT_WIDTH] - offset, observation[Column.RIGHT_WIDTH] + offset
    return float(min(left, right)) - HALF_WIDTH


def expert_laps(track: str | Path, num_laps: int, start_seed: int | None = None) -> list[float]:
    """The expert's lap times from the line, or from the random start of a seed."""
    is_random = start_seed is not None
    env = DrivingVectorEnv(
        1, track=track, random_start=is_random, laps=num_laps, time_limit=TIME_LIMIT
    )
    env.reset(seed=start_seed if is_random else 0)
    times: list[float] = []
    while True:
        _, _, terminated, truncated, info = env.step(env.expert_actions())
        if info["lap_time"][0] > 0:
            times.append(float(info["lap_time"][0]))
        if terminated[0] or truncated[0]:
            return times


def policy_laps(
    track: str | Path,
    num_laps: int,
    start_seed: int,
    max_decisions: int = TIME_LIMIT,
    *,
    is_racer: bool = False,
) -> list[float]:
    """Lap times of a bare policy, from the random start of a seed.

    The careful one, at 0.90 of the grip, or the racer, which plans disturb.
    """
    env = timed_env(track, is_random_start=True)
    policy = Racer(env.parameters) if is_racer else Expert(env.parameters, POLICY_GRIP)
    observation, _ = env.reset(seed=start_seed)
    times: list[float] = []
    for _ in range(max_decisions):
        observation, _, terminated, _, info = env.step(policy.actions_on(observation[None])[0])
        if info["lap_time"] > 0:
            times.append(float(info["lap_time"]))
        if terminated or len(times) == num_laps:
            break
    return times
